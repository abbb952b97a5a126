import { expect } from "chai";
import type { Wallet } from "ethers";
import { ethers, loadFixture } from "../support/actors.ts";
import {
  claimOf,
  consentOf,
  DAY,
  deployAttestation,
  MEASUREMENT,
  now,
  PLATFORM,
  type QuoteFields,
  STATUS,
  verdict,
  type World,
} from "./support.ts";

const key = new ethers.Wallet(ethers.id("result key"));
const QUOTE: QuoteFields = {
  reportData: ethers.id("report"),
  measurement: MEASUREMENT,
  platform: PLATFORM,
  validTo: 2_000_000_000,
  tier: 2,
};

function verdictOf(world: World, quote: QuoteFields, signers: readonly Wallet[], chainId = world.chainId) {
  return verdict(
    { name: "Berth Committee Quotes", verifyingContract: world.addresses.committeeVerifier, chainId },
    "QuoteVerdict",
    "bytes32 reportData,bytes32 measurement,bytes32 platform,uint40 validTo,uint8 tier",
    quote,
    signers,
  );
}

function pack({ reportData, measurement, platform, validTo, tier }: QuoteFields, signatures: string): string {
  return ethers.concat([
    reportData,
    measurement,
    platform,
    ethers.toBeHex(validTo, 5),
    ethers.toBeHex(tier, 1),
    signatures,
  ]);
}

describe("CommitteeQuoteVerifier#verify", () => {
  it("says what the committee said", async () => {
    const world = await loadFixture(deployAttestation);
    const evidence = pack(QUOTE, await verdictOf(world, QUOTE, world.members.slice(1, 4)));
    const { reportData, measurement, platform, validTo, tier } = QUOTE;
    expect(await world.committeeVerifier.verify.staticCall(evidence)).to.deep.equal([
      reportData,
      measurement,
      platform,
      BigInt(validTo),
      BigInt(tier),
    ]);
  });

  it("registers a key", async () => {
    const world = await loadFixture(deployAttestation);
    const { registry, addresses } = world;
    await registry.connect(world.verifiersHolder).allowVerifier(addresses.committeeVerifier);
    await registry.connect(world.measurementsHolder).allowMeasurement(MEASUREMENT);
    const { claim, reportData } = await claimOf(world, key);
    const quote = { ...QUOTE, reportData, validTo: (await now(world)) + DAY };
    const evidence = pack(quote, await verdictOf(world, quote, world.members.slice(0, 3)));
    const consent = await consentOf(world, key, addresses.committeeVerifier, quote);
    await registry.connect(world.stranger).register(addresses.committeeVerifier, evidence, claim, consent);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.Good);
    expect(await registry.keyOf(key.address)).to.deep.equal([
      addresses.committeeVerifier,
      BigInt(quote.validTo),
      2n,
      MEASUREMENT,
      PLATFORM,
    ]);
  });

  it("refuses a verdict on anything else, and one for another chain", async () => {
    const world = await loadFixture(deployAttestation);
    const { committeeVerifier, committee, members } = world;
    const signatures = await verdictOf(world, QUOTE, members.slice(0, 3));
    const others: Partial<QuoteFields>[] = [
      { reportData: ethers.ZeroHash },
      { measurement: ethers.ZeroHash },
      { platform: ethers.ZeroHash },
      { validTo: 2_000_000_001 },
      { tier: 3 },
    ];
    const evidences = others.map((other) => pack({ ...QUOTE, ...other }, signatures));
    evidences.push(pack(QUOTE, await verdictOf(world, QUOTE, members.slice(0, 3), 1n)));
    for (const evidence of evidences) {
      // The signatures are then those of accounts that nobody knows, in whatever order.
      const names = ["NotMember", "SignersNotAscending", "BadSignature"];
      const error = await committeeVerifier.verify.staticCall(evidence).catch((thrown: unknown) => thrown);
      const { data } = error as { data: string };
      expect(names).to.include(committee.interface.parseError(data)?.name);
    }
  });

  it("refuses too few signers", async () => {
    const world = await loadFixture(deployAttestation);
    const evidence = pack(QUOTE, await verdictOf(world, QUOTE, world.members.slice(0, 2)));
    await expect(world.committeeVerifier.verify.staticCall(evidence))
      .to.be.revertedWithCustomError(world.committee, "WrongSignerCount")
      .withArgs(2, 3, 5);
  });

  it("refuses a tier that there is not, whoever signed it", async () => {
    const world = await loadFixture(deployAttestation);
    for (const tier of [0, 4, 255]) {
      const quote = { ...QUOTE, tier };
      const evidence = pack(quote, await verdictOf(world, quote, world.members));
      await expect(world.committeeVerifier.verify.staticCall(evidence))
        .to.be.revertedWithCustomError(world.committeeVerifier, "TierOutOfRange")
        .withArgs(tier);
    }
  });

  it("refuses evidence that is cut off", async () => {
    const world = await loadFixture(deployAttestation);
    const evidence = pack(QUOTE, await verdictOf(world, QUOTE, world.members.slice(0, 3)));
    for (const length of [0, 1, 101]) {
      await expect(world.committeeVerifier.verify.staticCall(ethers.dataSlice(evidence, 0, length)))
        .to.be.revertedWithCustomError(world.committeeVerifier, "EvidenceTooShort")
        .withArgs(length, 102);
    }
    await expect(world.committeeVerifier.verify.staticCall(ethers.dataSlice(evidence, 0, 296)))
      .to.be.revertedWithCustomError(world.committee, "MalformedSignatures")
      .withArgs(194);
  });
});
