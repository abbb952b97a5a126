import {
  type Address,
  attestedResultTypedData,
  type Claim,
  type JobId,
  type Offer,
  type Opening,
  type Quorum,
  quorumToData,
  type Request,
  revealClosesAt,
  sealOf,
  type TeePolicy,
  type Terms,
  teePolicyHash,
  teeProof,
  type UnixSeconds,
} from "@berth/protocol";
import { expect } from "chai";
import type { BaseContract, BaseContractMethod, BytesLike, ContractRunner, ContractTransactionResponse } from "ethers";
import { type Actor, at, ethers, time } from "../support/actors.ts";
import { gasOf } from "../support/gas.ts";
import {
  addressOf,
  CHAIN_ID,
  DAY,
  DOLLAR,
  jobId,
  limitsFor,
  matchJob,
  publishNode,
  type Ready,
  readyMarket,
  State,
  signOffer,
  stake,
  termsFor,
} from "../support/market.ts";

/** A contract whose methods are named here, because no ABI is generated for it. */
export type Named<N extends string> = Omit<BaseContract, "connect"> &
  Record<N, BaseContractMethod> & { connect(runner: ContractRunner | null): Named<N> };
export const named = <N extends string>(contract: BaseContract) => contract as unknown as Named<N>;
export const hex = (text: string) => ethers.id(text) as Address;
export const Verdict = { Pending: 0n, Stands: 1n, Fails: 2n, Void: 3n };

/** Two of three, 30 seconds of depth, 120 to reveal: with a submit window of 300 it is over 450 seconds after the match. */
export const QUORUM: Quorum = { agreeing: 2, revealSeconds: 120, confirmSeconds: 30 };

/** A market in which five operators, with a node each, accept a quorum of results. */
export async function quorumMarket() {
  const on = await readyMarket();
  const verifierContract = await ethers.deployContract("QuorumVerifier", [on.market]);
  const quorum = named<
    "reveal" | "judge" | "digestOf" | "revealWindow" | "flawOf" | "sealOf" | "market" | "SEAL_DOMAIN" | "MAX_REPLICAS"
  >(verifierContract);
  const address = (await quorum.getAddress()) as Address;
  const nodes = await fiveNodes(on);
  for (const { operator } of nodes) {
    await on.market.connect(operator).setAccepted(operator, [on.token, quorum], true);
  }
  const quorumRequest = (replaced: Partial<Request> = {}): Request =>
    on.request({
      replicas: 3,
      verifier: address,
      verifierData: quorumToData(QUORUM),
      challengeWindow: 0,
      arbiterWindow: 600,
      compensationBps: 0,
      ...replaced,
    });
  return { ...on, quorum, nodes, quorumRequest };
}
export type QuorumMarket = Awaited<ReturnType<typeof quorumMarket>>;

interface Node {
  operator: Actor;
  key: Actor;
}

async function fiveNodes(on: Ready): Promise<Node[]> {
  const signers = await ethers.getSigners();
  const nodes: Node[] = [
    { operator: on.operator, key: on.nodeKey },
    { operator: on.otherOperator, key: on.otherNodeKey },
  ];
  for (const first of [14, 16, 18]) {
    const [operator, key] = [signers[first], signers[first + 1]];
    if (operator === undefined || key === undefined) throw new Error(`There is no account ${first + 1}.`);
    await publishNode(on, operator, key);
    await on.market.connect(operator).setNodeLimits(operator, 0, limitsFor());
    await stake(on, operator, 10n * DOLLAR);
    nodes.push({ operator, key });
  }
  return nodes;
}

/** One replica of a job, with what its node does about it. */
export interface Replica extends Node {
  terms: Terms;
  claim?: Claim;
  opening?: Opening;
}

/** Matches `request` with as many nodes as it wants. */
export async function matchQuorum(on: QuorumMarket, request = on.quorumRequest()) {
  const { verifier, verifierData, arbiter, arbiterData, arbiterFee } = request;
  const offers: Offer[] = on.nodes
    .slice(0, request.replicas)
    .map(({ operator }) =>
      on.offer({ operator: addressOf(operator), verifier, verifierData, arbiter, arbiterData, arbiterFee }),
    );
  const offerSignatures = await Promise.all(offers.map((offer, i) => signOffer(on, nodeAt(on, i).key, offer)));
  const sent = await matchJob(on, { request, offers, offerSignatures });
  const replicas: Replica[] = offers.map((offer, i) => ({ ...nodeAt(on, i), terms: termsFor(on, request, offer, i) }));
  const matchedAt = await time.latest();
  return { ...on, request, job: jobId(on, request), replicas, matchedAt, matching: await gasOf(sent) };
}
export type QuorumJobRun = Awaited<ReturnType<typeof matchQuorum>>;

function nodeAt(on: QuorumMarket, i: number): Node {
  const node = on.nodes[i];
  if (node === undefined) throw new Error(`There is no node ${i}.`);
  return node;
}

/** Replica `i` of a job. */
export function replicaAt(on: QuorumJobRun, i: number): Replica {
  const replica = on.replicas[i];
  if (replica === undefined) throw new Error(`There is no replica ${i}.`);
  return replica;
}

/** What the node of replica `i` hides behind its seal when it found `output`. */
export function sealed(on: QuorumJobRun, i: number, output: string): { claim: Claim; opening: Opening } {
  const opening = { outputDigest: hex(output), resultHash: hex(`record ${i}`), salt: hex(`salt ${i}`) };
  const { operator } = replicaAt(on, i);
  const seal = sealOf({ jobId: on.job as JobId, replica: i, operator: addressOf(operator) }, opening);
  return { claim: { resultHash: seal, resultBytes: 900n, charge: 5n }, opening };
}

/** The node of replica `i` commits to having found `output`. */
export async function commit(on: QuorumJobRun, i: number, output: string): Promise<ContractTransactionResponse> {
  const replica = replicaAt(on, i);
  const { claim, opening } = sealed(on, i, output);
  const sent = await on.market.connect(replica.key).submit(replica.terms, claim, "0x");
  [replica.claim, replica.opening] = [claim, opening];
  return sent;
}

/** What opens the seal of replica `i`, with `changed` in place of what it hides. */
export function openingOf(on: QuorumJobRun, i: number, changed: Partial<Opening> = {}) {
  const { terms, claim, opening } = committed(on, i);
  return { assignment: terms.assignment, claim, ...opening, ...changed };
}

/** Anyone opens the seals of some replicas in one transaction. */
export function reveal(on: QuorumJobRun, ...replicas: number[]) {
  const openings = replicas.map((i) => openingOf(on, i));
  return on.quorum.connect(on.stranger).reveal(replicaAt(on, 0).terms.job, openings);
}

export function finalize(on: QuorumJobRun, i: number) {
  const { terms, claim } = committed(on, i);
  return on.market.connect(on.stranger).finalize(terms, claim);
}

export function verdictOf(on: QuorumJobRun, i: number): Promise<bigint> {
  const { terms, claim } = committed(on, i);
  return on.quorum.judge(terms, claim, "0x");
}

export function committed(on: QuorumJobRun, i: number) {
  const { terms, claim, opening } = replicaAt(on, i);
  if (claim === undefined || opening === undefined) throw new Error(`Replica ${i} has not committed.`);
  return { terms, claim, opening };
}

export const stateOf = async (on: QuorumJobRun, i: number) => (await on.market.replicaOf(on.job, i)).state as bigint;

/** The last second in which a seal of the job opens. */
export const closesAt = (on: QuorumJobRun) => revealClosesAt(replicaAt(on, 0).terms.job, on.matchedAt as UnixSeconds);

/** A job of three replicas, matched. */
export const matchedQuorum = async () => matchQuorum(await quorumMarket());

/** Three commits: two found the same, the third something else. The reveal is open. */
export async function openReveal() {
  const on = await matchedQuorum();
  for (const [i, output] of ["same", "same", "other"].entries()) {
    await at(on.matchedAt + 10 + i);
    await commit(on, i, output);
  }
  await at(on.matchedAt + 10 + 2 + QUORUM.confirmSeconds + 1);
  await ethers.provider.send("evm_mine", []);
  return on;
}

const POLICY_TIER = 2;

/** A market whose first node has an attested key, and orders that ask for it. */
export async function teeMarket() {
  const on = await readyMarket();
  const quotes = await ethers.deployContract("AttestQuoteDouble");
  const roles = [on.guardian, on.guardian, on.guardian, on.guardian];
  const registry = named<
    | "register"
    | "allowVerifier"
    | "allowMeasurement"
    | "revokeMeasurement"
    | "revokeKey"
    | "revokeVerifier"
    | "revokePlatform"
  >(await ethers.deployContract("AttestationRegistry", roles));
  const tee = named<"judge" | "hashResult" | "registry" | "MAX_POLICY_BYTES">(
    await ethers.deployContract("TeeVerifier", [registry]),
  );
  const measurement = hex("measurement");
  await registry.connect(on.guardian).allowVerifier(quotes);
  await registry.connect(on.guardian).allowMeasurement(measurement);
  const attestedKey = new ethers.Wallet(hex("attested key"));
  await on.market.connect(on.operator).setAccepted(on.operator, [on.token, tee], true);
  const policy: TeePolicy = {
    minTier: POLICY_TIER,
    quoteVerifiers: [(await quotes.getAddress()) as Address],
    measurements: [measurement],
  };
  const verifier = (await tee.getAddress()) as Address;
  const addressBook = { ...on.addresses, tee: verifier, quotes: policy.quoteVerifiers[0] as Address };
  const ready = { ...on, quotes, registry, tee, attestedKey, policy, measurement, addresses: addressBook };
  await attest(ready);
  return ready;
}
export type TeeMarket = Awaited<ReturnType<typeof teeMarket>>;

interface AttestedAs {
  key: { address: string; signTypedData: InstanceType<typeof ethers.Wallet>["signTypedData"] };
  measurement: string;
  validTo: number;
  tier: number;
}

/** Registers a key for the first node, with a quote that says what is given. */
export async function attest(on: Omit<TeeMarket, "attest">, as: Partial<AttestedAs> = {}) {
  const { key = on.attestedKey, measurement = on.measurement, tier = POLICY_TIER } = as;
  const validTo = as.validTo ?? (await time.latest()) + DAY;
  const block = await ethers.provider.getBlock("latest");
  if (!block?.hash) throw new Error("The chain has no block.");
  const registry = await on.registry.getAddress();
  const coder = ethers.AbiCoder.defaultAbiCoder();
  const operator = on.operator.address;
  const reportData = ethers.keccak256(
    coder.encode(
      ["bytes32", "uint256", "address", "address", "uint32", "address", "bytes32", "bytes32"],
      [hex("berth/key-report/v1"), CHAIN_ID, registry, operator, 0, key.address, ethers.ZeroHash, block.hash],
    ),
  );
  const platform = hex("platform");
  const evidence = coder.encode(
    ["tuple(bytes32, bytes32, bytes32, uint40, uint8)"],
    [[reportData, measurement, platform, validTo, tier]],
  );
  const consent = await key.signTypedData(
    { name: "Berth Attestation", version: "1", chainId: CHAIN_ID, verifyingContract: registry },
    {
      KeyConsent: [
        { name: "reportData", type: "bytes32" },
        { name: "verifier", type: "address" },
        { name: "measurement", type: "bytes32" },
        { name: "platform", type: "bytes32" },
      ],
    },
    { reportData, verifier: on.addresses.quotes, measurement, platform },
  );
  const claimed = { operator, nodeIndex: 0, key: key.address, wgKey: ethers.ZeroHash, challengeBlock: block.number };
  await on.registry.register(on.quotes, evidence, claimed, consent);
}

/** Matches a job whose result an attested key has to sign; settled by the submission unless `replaced` says otherwise. */
export async function matchAttested(on: TeeMarket, replaced: Partial<Request> = {}, policy = on.policy) {
  const judge = { verifier: on.addresses.tee, verifierData: teePolicyHash(policy) };
  const request = on.request({ ...judge, challengeWindow: 0, arbiterWindow: 600, ...replaced });
  const { verifier, verifierData } = request;
  const offer = on.offer({ verifier, verifierData });
  const matching = await gasOf(await matchJob(on, { request, offers: [offer] }));
  const claim: Claim = { resultHash: hex("result"), resultBytes: 900n, charge: 5n };
  return { ...on, request, terms: termsFor(on, request, offer), job: jobId(on, request), claim, matching };
}
export type AttestedRun = Awaited<ReturnType<typeof matchAttested>>;

/** The attested key's signature over `claim`. */
export function signResult(on: AttestedRun, claim = on.claim, key: AttestedAs["key"] = on.attestedKey, replica = 0) {
  const data = attestedResultTypedData(
    { chainId: CHAIN_ID, verifier: on.addresses.tee },
    { jobId: on.job as JobId, replica, claim },
  );
  return key.signTypedData(data.domain, { AttestedResult: [...data.types.AttestedResult] }, data.message);
}

/** What the node submits: the policy and the attested key's signature. */
export async function proofOf(on: AttestedRun, policy = on.policy): Promise<BytesLike> {
  return teeProof(policy, (await signResult(on)) as Address);
}

/**
 * Gas of each transaction of a quorum of two of three, where all three found the same. The second such job is measured.
 * The nodes hand their openings to whoever carries them together, or each carries its own.
 */
export async function quorumTwoOfThree(handedOver = true): Promise<Record<string, number>> {
  const ready = await quorumMarket();
  let gas: Record<string, number> = {};
  for (const nonce of ["first", "second"]) {
    const on = await matchQuorum(ready, ready.quorumRequest({ nonce: hex(nonce) }));
    gas = { match: on.matching };
    for (const i of [0, 1, 2]) gas[`submit ${i}`] = await gasOf(await commit(on, i, "same"));
    await time.increase(QUORUM.confirmSeconds + 1);
    for (const some of handedOver ? [[0, 1, 2]] : [[0], [1], [2]]) {
      gas[`reveal ${some}`] = await gasOf(await reveal(on, ...some));
    }
    const settlements = on.replicas.map((_, i) => finalizeItem(on, i));
    gas["finalizeMany"] = await gasOf(await on.market.connect(on.stranger).finalizeMany(settlements, 400_000));
    for (const i of [0, 1, 2]) expect(await stateOf(on, i)).to.equal(State.Settled);
  }
  return gas;
}

/** The arguments of a `finalize` as `finalizeMany` takes them. */
export function finalizeItem(on: QuorumJobRun, i: number): string {
  const { terms, claim } = committed(on, i);
  return ethers.dataSlice(on.market.interface.encodeFunctionData("finalize", [terms, claim]), 4);
}

/** Gas of each transaction of a job that is settled by its attested result. The second such job is measured. */
export async function attestedJob(): Promise<Record<string, number>> {
  const ready = await teeMarket();
  let gas: Record<string, number> = {};
  for (const nonce of ["first", "second"]) {
    const on = await matchAttested(ready, { nonce: hex(nonce) });
    const submitted = await on.market.connect(on.nodeKey).submit(on.terms, on.claim, await proofOf(on));
    gas = { match: on.matching, submit: await gasOf(submitted) };
    expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Settled);
  }
  return gas;
}
