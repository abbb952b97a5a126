import { type KeyReportFields, keyReport } from "@berth/protocol";
import type { HardhatEthers } from "@nomicfoundation/hardhat-ethers/types";
import type { BaseContract, BaseContractMethod, BigNumberish, ContractRunner, Wallet } from "ethers";
import { ethers } from "../support/actors.ts";
import { packEvidence, softTpm, type Tpm } from "./tpm.ts";

/** A contract whose methods are named here, because no ABI is generated for it. */
export type Named<N extends string> = Omit<BaseContract, "connect"> &
  Record<N, BaseContractMethod> & { connect(runner: ContractRunner | null): Named<N> };
type RoleMethods = "offerRole" | "takeRole" | "holderOf" | "nomineeOf";
type Registry = Named<
  | RoleMethods
  | "register"
  | "revokeKey"
  | "allowVerifier"
  | "revokeVerifier"
  | "allowMeasurement"
  | "revokeMeasurement"
  | "revokePlatform"
  | "reinstatePlatform"
  | "keyOf"
  | "statusOf"
  | "challengeOf"
  | "verifierAllowed"
  | "measurementAllowed"
  | "platformRevoked"
  | "MAX_AGE"
>;
export type CommitteeContract = Named<
  | RoleMethods
  | "addMember"
  | "removeMember"
  | "replaceMember"
  | "setThreshold"
  | "requireVerdict"
  | "isMember"
  | "threshold"
  | "memberCount"
>;
export type Verifier = Named<"verify">;
export type TpmVerifier = Named<"verify" | "enrol" | "enrolmentOf" | "measuredPcrs" | "committee">;

/** What a test runs on; a fixture is given one. */
interface Chain {
  ethers: HardhatEthers;
}

/** What a quote proves, as Solidity's struct. */
export interface QuoteFields {
  reportData: string;
  measurement: string;
  platform: string;
  validTo: BigNumberish;
  tier: BigNumberish;
}

export interface Claim {
  operator: string;
  nodeIndex: number;
  key: string;
  wgKey: string;
  challengeBlock: BigNumberish;
}

export interface Enrolment {
  x: string;
  y: string;
  platform: string;
  issuedAt: BigNumberish;
  validTo: BigNumberish;
  tier: BigNumberish;
}

/** The order of KeyStatus in Solidity. */
export const STATUS = {
  Unknown: 0n,
  Good: 1n,
  KeyRevoked: 2n,
  Expired: 3n,
  VerifierRevoked: 4n,
  MeasurementRevoked: 5n,
  PlatformRevoked: 6n,
};
export const DAY = 86_400;
/** Registers 0 to 7: what the firmware and the boot loader measured. */
export const BOOT_PCRS = [0, 1, 2, 3, 4, 5, 6, 7];
export const BOOT_MASK = 0xff;
/** The registers that a node quotes: those, and the one of its event log. */
export const QUOTED_PCRS = [...BOOT_PCRS, 14];
/** A TPM's platform id has 20 bytes, filled up with zeros. */
export const PLATFORM = ethers.zeroPadBytes(ethers.dataSlice(ethers.id("platform"), 0, 20), 32);
export const MEASUREMENT = ethers.id("measurement");
export const NO_KEY = [ethers.ZeroAddress, 0n, 0n, ethers.ZeroHash, ethers.ZeroHash];

const coder = ethers.AbiCoder.defaultAbiCoder();
const QUOTE = "tuple(bytes32 reportData, bytes32 measurement, bytes32 platform, uint40 validTo, uint8 tier)";

export function named<C>(contract: BaseContract): C {
  return contract as unknown as C;
}

/** Wallets made from names, ascending by address, as a verdict lists its signers. */
export function wallets(count: number, name = "member"): Wallet[] {
  return Array.from({ length: count }, (_, i) => new ethers.Wallet(ethers.id(`${name} ${i}`))).sort((a, b) =>
    BigInt(a.address) < BigInt(b.address) ? -1 : 1,
  );
}

/** Every contract of the attestation, a committee of three of five, and who holds the roles. */
export async function deployAttestation({ ethers: on }: Chain = { ethers }) {
  const signers = await on.getSigners();
  const role = (index: number) => {
    const signer = signers[index];
    if (signer === undefined) throw new Error(`There is no account ${index}.`);
    return signer;
  };
  const actors = {
    operator: role(3),
    stranger: role(8),
    heir: role(10),
    verifiersHolder: role(12),
    measurementsHolder: role(13),
    platformsHolder: role(14),
    keysHolder: role(15),
    membersHolder: role(16),
    thresholdHolder: role(17),
  };
  const { verifiersHolder, measurementsHolder, platformsHolder, keysHolder, membersHolder, thresholdHolder } = actors;
  const members = wallets(5);
  const committee = await on.deployContract("Committee", [
    members.map(({ address }) => address),
    3,
    membersHolder,
    thresholdHolder,
  ]);
  const registry = await on.deployContract("AttestationRegistry", [
    verifiersHolder,
    measurementsHolder,
    platformsHolder,
    keysHolder,
  ]);
  const tpmVerifier = await on.deployContract("TpmQuoteVerifier", [committee, BOOT_MASK]);
  const committeeVerifier = await on.deployContract("CommitteeQuoteVerifier", [committee]);
  const believer = await on.deployContract("AttestQuoteDouble");
  const { chainId } = await on.provider.getNetwork();
  return {
    ...actors,
    on,
    chainId,
    members,
    committee: named<CommitteeContract>(committee),
    registry: named<Registry>(registry),
    tpmVerifier: named<TpmVerifier>(tpmVerifier),
    committeeVerifier: named<Verifier>(committeeVerifier),
    believer: named<Named<"verify" | "callFirst">>(believer),
    addresses: {
      registry: await registry.getAddress(),
      tpmVerifier: await tpmVerifier.getAddress(),
      committeeVerifier: await committeeVerifier.getAddress(),
      believer: await believer.getAddress(),
    },
  };
}
export type World = Awaited<ReturnType<typeof deployAttestation>>;

/** The world with a verifier that believes everything, and one measurement, allowed. */
export async function openRegistry() {
  const world = await deployAttestation();
  await world.registry.connect(world.verifiersHolder).allowVerifier(world.believer);
  await world.registry.connect(world.measurementsHolder).allowMeasurement(MEASUREMENT);
  return world;
}

/** What `key` claims, for the newest block unless told otherwise, and what a quote must then carry. */
export async function claimOf(world: World, key: Wallet, challengeBlock?: number) {
  const number = challengeBlock ?? (await world.on.provider.getBlockNumber());
  const block = await world.on.provider.getBlock(number);
  const claim: Claim = {
    operator: world.operator.address,
    nodeIndex: 7,
    key: key.address,
    wgKey: ethers.id("wireguard key"),
    challengeBlock: number,
  };
  const { registry } = world.addresses;
  const nonce = block?.hash ?? ethers.ZeroHash;
  return { claim, reportData: keyReport({ ...claim, chainId: world.chainId, registry, nonce } as KeyReportFields) };
}

/** The key's signature under what will be recorded about it. */
export function consentOf(
  { chainId, addresses }: World,
  key: Wallet,
  verifier: string,
  { reportData, measurement, platform }: QuoteFields,
): Promise<string> {
  return key.signTypedData(
    { name: "Berth Attestation", version: "1", chainId, verifyingContract: addresses.registry },
    {
      KeyConsent: [
        { name: "reportData", type: "bytes32" },
        { name: "verifier", type: "address" },
        { name: "measurement", type: "bytes32" },
        { name: "platform", type: "bytes32" },
      ],
    },
    { reportData, verifier, measurement, platform },
  );
}

/** Everything that `register` takes for a verifier that believes the evidence. */
export async function believed(world: World, key: Wallet, over: Partial<QuoteFields> = {}, challengeBlock?: number) {
  const { claim, reportData } = await claimOf(world, key, challengeBlock);
  const validTo = (await now(world)) + 30 * DAY;
  const quote = { reportData, measurement: MEASUREMENT, platform: PLATFORM, validTo, tier: 3, ...over };
  const consent = await consentOf(world, key, world.addresses.believer, quote);
  return { claim, quote, evidence: coder.encode([QUOTE], [quote]), consent };
}

/** Registers `key` on the word of the believing verifier. */
export async function registerBelieved(world: World, key: Wallet, over: Partial<QuoteFields> = {}) {
  const { claim, quote, evidence, consent } = await believed(world, key, over);
  await world.registry.connect(world.stranger).register(world.believer, evidence, claim, consent);
  return { claim, quote };
}

/** The newest block's time. */
export async function now({ on }: World): Promise<number> {
  return (await on.provider.getBlock("latest"))?.timestamp ?? 0;
}

/** Signatures of `signers` under a struct, one after the other. */
export async function verdict(
  domain: { name: string; verifyingContract: string; chainId: bigint },
  type: string,
  fields: string,
  value: object,
  signers: readonly Wallet[],
): Promise<string> {
  const members = fields.split(",").map((field) => {
    const [kind = "", name = ""] = field.split(" ");
    return { type: kind, name };
  });
  const signed = signers.map((s) => s.signTypedData({ ...domain, version: "1" }, { [type]: members }, value));
  return ethers.concat(await Promise.all(signed));
}

export function enrolmentVerdict(world: World, enrolment: Enrolment, signers: readonly Wallet[]): Promise<string> {
  return verdict(
    { name: "Berth TPM Quotes", verifyingContract: world.addresses.tpmVerifier, chainId: world.chainId },
    "TpmEnrolment",
    "bytes32 x,bytes32 y,bytes20 platform,uint40 issuedAt,uint40 validTo,uint8 tier",
    enrolment,
    signers,
  );
}

/** Enrols a TPM's key by a verdict of three members, for thirty days. */
export async function enrolTpm(world: World, tpm: Tpm, over: Partial<Enrolment> = {}): Promise<Enrolment> {
  const issuedAt = await now(world);
  const enrolment = {
    ...{
      x: tpm.x,
      y: tpm.y,
      platform: ethers.dataSlice(PLATFORM, 0, 20),
      issuedAt,
      validTo: issuedAt + 30 * DAY,
      tier: 1,
    },
    ...over,
  };
  const signatures = await enrolmentVerdict(world, enrolment, world.members.slice(0, 3));
  await world.tpmVerifier.connect(world.stranger).enrol(enrolment, signatures);
  return enrolment;
}

/** The measurement that `TpmQuoteVerifier` gives registers of these values, ascending. */
export function tpmMeasurement(values: readonly Buffer[], mask = BOOT_MASK): string {
  const words = [ethers.toBeHex(mask, 32), ...values];
  return words.reduce<string>(
    (chain, word) => ethers.keccak256(ethers.concat([chain, word])),
    ethers.id("berth/measurement/tpm2/v1"),
  );
}

/** A registry that takes quotes of `tpm` in the state that it is in now. */
export async function tpmRegistry(tpm: Tpm, chain?: Chain) {
  const world = await deployAttestation(chain);
  await world.registry.connect(world.verifiersHolder).allowVerifier(world.tpmVerifier);
  const { values } = await tpm.quote(ethers.ZeroHash, BOOT_PCRS);
  const measurement = tpmMeasurement(values);
  await world.registry.connect(world.measurementsHolder).allowMeasurement(measurement);
  const enrolment = await enrolTpm(world, tpm);
  return { ...world, tpm, measurement, enrolment };
}

/** Everything that `register` takes to have `key` attested by a fresh quote of `tpm`. */
export async function tpmRegistration(world: World, tpm: Tpm, key: Wallet, pcrs: readonly number[] = QUOTED_PCRS) {
  const { claim, reportData } = await claimOf(world, key);
  const quote = await tpm.quote(reportData, pcrs);
  const measurement = tpmMeasurement(quote.values.filter((_, i) => BOOT_PCRS.includes(pcrs[i] ?? -1)));
  const fields = { reportData, measurement, platform: PLATFORM, validTo: 0, tier: 0 };
  const consent = await consentOf(world, key, world.addresses.tpmVerifier, fields);
  return { claim, quote, measurement, evidence: packEvidence(tpm, quote), consent };
}

/** One key attested by a TPM's quote, the first or a later one of the same TPM; gives the gas that it took in all. */
export async function registeredTpmQuote(
  { again }: { again: boolean },
  tpm: Tpm = softTpm(),
): Promise<{ gasUsed: number }> {
  const world = await tpmRegistry(tpm);
  const key = new ethers.Wallet(ethers.id("result key"));
  let gasUsed = 0;
  for (let i = 0; i < (again ? 2 : 1); i++) {
    const { claim, evidence, consent } = await tpmRegistration(world, tpm, key);
    const sent = await world.registry.connect(world.stranger).register(world.tpmVerifier, evidence, claim, consent);
    const receipt = await sent.wait();
    if ((await world.registry.statusOf(key.address)) !== STATUS.Good) throw new Error("The key was not registered.");
    gasUsed = Number(receipt.gasUsed);
  }
  return { gasUsed };
}

/** The name of the custom error that a call failed with, or "no error of ours". */
export function errorName(contract: Pick<BaseContract, "interface">, error: unknown): string {
  const { data } = error as { data?: unknown };
  const found = typeof data === "string" ? contract.interface.parseError(data) : null;
  return found === null || found.name === "Panic" || found.name === "Error" ? "no error of ours" : found.name;
}
