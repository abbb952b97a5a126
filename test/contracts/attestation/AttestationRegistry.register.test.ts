import { expect } from "chai";
import { ethers, loadFixture, networkHelpers, provider, time } from "../support/actors.ts";
import {
  believed,
  claimOf,
  consentOf,
  DAY,
  MEASUREMENT,
  NO_KEY,
  now,
  openRegistry,
  PLATFORM,
  registerBelieved,
  STATUS,
} from "./support.ts";

const key = new ethers.Wallet(ethers.id("result key"));
const thief = new ethers.Wallet(ethers.id("thief"));

describe("AttestationRegistry#register", () => {
  it("records what the quote proves, for anyone who brings it", async () => {
    const world = await loadFixture(openRegistry);
    const { registry, addresses, operator, stranger, believer } = world;
    const { claim, evidence, consent } = await believed(world, key, { tier: 2 });
    const at = (await now(world)) + 5;
    await time.setNextBlockTimestamp(at);
    await expect(registry.connect(stranger).register(believer, evidence, claim, consent))
      .to.emit(registry, "KeyAttested")
      .withArgs(
        key.address,
        operator.address,
        7,
        addresses.believer,
        claim.wgKey,
        MEASUREMENT,
        PLATFORM,
        at + DAY,
        2,
        claim.challengeBlock,
      );

    expect(await registry.keyOf(key.address)).to.deep.equal([
      addresses.believer,
      BigInt(at + DAY),
      2n,
      MEASUREMENT,
      PLATFORM,
    ]);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.Good);
    expect(await registry.challengeOf(key.address)).to.equal(claim.challengeBlock);
  });

  it("needs two slots of storage", async () => {
    const world = await loadFixture(openRegistry);
    await registerBelieved(world, key);
    const slots = await recordSlots(world.addresses.registry, 3);
    expect(BigInt(slots[0] ?? 0)).to.not.equal(0n);
    expect(slots[1]).to.equal(PLATFORM);
    expect(BigInt(slots[2] ?? 1)).to.equal(0n);
  });

  it("lasts as long as the quote where that is less than a day, to its last second", async () => {
    const world = await loadFixture(openRegistry);
    const validTo = (await now(world)) + 3_600;
    await registerBelieved(world, key, { validTo });
    await time.increaseTo(validTo);
    const [, recorded] = await world.registry.keyOf(key.address);
    expect(recorded).to.equal(BigInt(validTo));
    await time.increaseTo(validTo + 1);
    expect(await world.registry.keyOf(key.address)).to.deep.equal(NO_KEY);
    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.Expired);
  });

  it("lasts a day at most", async () => {
    const world = await loadFixture(openRegistry);
    await registerBelieved(world, key);
    const registeredAt = await now(world);
    expect(await world.registry.MAX_AGE()).to.equal(BigInt(DAY));
    await time.increaseTo(registeredAt + DAY);
    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.Good);
    await time.increaseTo(registeredAt + DAY + 1);
    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.Expired);
  });

  it("knows nothing of a key that never came", async () => {
    const { registry } = await loadFixture(openRegistry);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.Unknown);
    expect(await registry.keyOf(key.address)).to.deep.equal(NO_KEY);
    expect(await registry.challengeOf(key.address)).to.equal(0n);
  });

  it("refuses a verifier that is not allowed", async () => {
    const world = await loadFixture(openRegistry);
    const { evidence, claim, consent } = await believed(world, key);
    await expect(world.registry.register(world.tpmVerifier, evidence, claim, consent))
      .to.be.revertedWithCustomError(world.registry, "VerifierNotAllowed")
      .withArgs(world.addresses.tpmVerifier);
  });

  it("refuses a quote over anything but the claim, field by field", async () => {
    const world = await loadFixture(openRegistry);
    const { claim, evidence, consent, quote } = await believed(world, key);
    const others = [
      { operator: thief.address },
      { nodeIndex: 8 },
      { key: thief.address },
      { wgKey: ethers.ZeroHash },
      { challengeBlock: Number(claim.challengeBlock) - 1 },
    ];
    for (const other of others) {
      await expect(world.registry.register(world.believer, evidence, { ...claim, ...other }, consent))
        .to.be.revertedWithCustomError(world.registry, "WrongReportData")
        .withArgs((expected: string) => expected !== quote.reportData, quote.reportData);
    }
  });

  it("refuses a quote that was made for another registry of the same chain", async () => {
    const world = await loadFixture(openRegistry);
    const other = await openRegistry();
    const { claim, evidence, consent, quote } = await believed(world, key);
    await expect(other.registry.register(other.believer, evidence, claim, consent))
      .to.be.revertedWithCustomError(other.registry, "WrongReportData")
      .withArgs((expected: string) => expected !== quote.reportData, quote.reportData);
  });

  it("takes a challenge of the last 256 blocks only", async () => {
    const world = await loadFixture(openRegistry);
    const { claim, evidence, consent } = await believed(world, key);
    const block = Number(claim.challengeBlock);
    for (const challengeBlock of [block + 1, block + 1_000]) {
      await expect(world.registry.register.staticCall(world.believer, evidence, { ...claim, challengeBlock }, consent))
        .to.be.revertedWithCustomError(world.registry, "ChallengeUnknown")
        .withArgs(challengeBlock, (current: bigint) => current <= BigInt(block + 1));
    }
    const snapshot = await networkHelpers.takeSnapshot();
    await networkHelpers.mine(255); // the transaction's own block is the 256th after it
    await world.registry.register(world.believer, evidence, claim, consent);
    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.Good);
    await snapshot.restore();
    await networkHelpers.mine(256);
    await expect(world.registry.register(world.believer, evidence, claim, consent))
      .to.be.revertedWithCustomError(world.registry, "ChallengeUnknown")
      .withArgs(block, block + 257);
  });

  it("refuses a quote that expired, and one that says nothing good of the platform", async () => {
    const world = await loadFixture(openRegistry);
    const validTo = await now(world);
    const expired = await believed(world, key, { validTo });
    await expect(world.registry.register(world.believer, expired.evidence, expired.claim, expired.consent))
      .to.be.revertedWithCustomError(world.registry, "QuoteExpired")
      .withArgs(validTo);
    const none = await believed(world, key, { tier: 0 });
    await expect(world.registry.register(world.believer, none.evidence, none.claim, none.consent))
      .to.be.revertedWithCustomError(world.registry, "NoTier")
      .withArgs(world.addresses.believer);
  });

  it("refuses a measurement that is not allowed and a platform that is revoked", async () => {
    const world = await loadFixture(openRegistry);
    const unknown = await believed(world, key, { measurement: ethers.id("malware") });
    await expect(world.registry.register(world.believer, unknown.evidence, unknown.claim, unknown.consent))
      .to.be.revertedWithCustomError(world.registry, "MeasurementNotAllowed")
      .withArgs(ethers.id("malware"));
    await world.registry.connect(world.platformsHolder).revokePlatform(PLATFORM);
    const revoked = await believed(world, key);
    await expect(world.registry.register(world.believer, revoked.evidence, revoked.claim, revoked.consent))
      .to.be.revertedWithCustomError(world.registry, "PlatformIsRevoked")
      .withArgs(PLATFORM);
  });

  it("registers a quote once, whoever repeats it", async () => {
    const world = await loadFixture(openRegistry);
    const { claim, evidence, consent } = await believed(world, key);
    await world.registry.register(world.believer, evidence, claim, consent);
    const [, validTo] = await world.registry.keyOf(key.address);
    await time.increase(600);
    await expect(world.registry.connect(world.stranger).register(world.believer, evidence, claim, consent))
      .to.be.revertedWithCustomError(world.registry, "ChallengeUsed")
      .withArgs(key.address, claim.challengeBlock, claim.challengeBlock);
    expect((await world.registry.keyOf(key.address))[1]).to.equal(validTo);
  });

  it("never lets an older quote of the key replace a newer one, though both are fresh", async () => {
    const world = await loadFixture(openRegistry);
    const older = await believed(world, key, { tier: 1 });
    await networkHelpers.mine(1);
    const { claim } = await registerBelieved(world, key, { tier: 3 });
    await expect(world.registry.register(world.believer, older.evidence, older.claim, older.consent))
      .to.be.revertedWithCustomError(world.registry, "ChallengeUsed")
      .withArgs(key.address, older.claim.challengeBlock, claim.challengeBlock);
    expect((await world.registry.keyOf(key.address))[2]).to.equal(3n);
  });

  it("renews a key, and forgets what an older quote said", async () => {
    const world = await loadFixture(openRegistry);
    await registerBelieved(world, key, { tier: 3 });
    await time.increase(DAY + 1);
    const platform = ethers.id("another machine");
    await registerBelieved(world, key, { tier: 1, platform });
    expect(await world.registry.keyOf(key.address)).to.deep.equal([
      world.addresses.believer,
      BigInt((await now(world)) + DAY),
      1n,
      MEASUREMENT,
      platform,
    ]);
  });

  it("stops who puts another machine's quote about a key in front of its own", async () => {
    const world = await loadFixture(openRegistry);
    const { claim, consent } = await believed(world, key);
    const worse = { platform: ethers.id("the thief's machine"), tier: 1 };
    // A machine signs whatever report data its owner asks for, so the thief has a genuine quote over the same.
    const stolen = await believed(world, key, worse, Number(claim.challengeBlock));
    await expect(world.registry.connect(world.stranger).register(world.believer, stolen.evidence, claim, consent))
      .to.be.revertedWithCustomError(world.registry, "NoConsent")
      .withArgs(key.address);
    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.Unknown);
  });

  it("asks for the key's own consent to each thing that is recorded", async () => {
    const world = await loadFixture(openRegistry);
    const { claim, evidence, quote } = await believed(world, key);
    const { believer, committeeVerifier } = world.addresses;
    const consents = [
      "0x",
      `0x${"00".repeat(65)}`,
      `0x${"00".repeat(64)}`,
      await consentOf(world, thief, believer, quote),
      await consentOf(world, key, committeeVerifier, quote),
      await consentOf(world, key, believer, { ...quote, reportData: ethers.ZeroHash }),
      await consentOf(world, key, believer, { ...quote, measurement: ethers.ZeroHash }),
      await consentOf(world, key, believer, { ...quote, platform: ethers.ZeroHash }),
      await consentOf({ ...world, chainId: 1n }, key, believer, quote),
    ];
    for (const consent of consents) {
      await expect(world.registry.register(world.believer, evidence, claim, consent))
        .to.be.revertedWithCustomError(world.registry, "NoConsent")
        .withArgs(key.address);
    }
  });

  it("refuses the zero account, which signs nothing", async () => {
    const world = await loadFixture(openRegistry);
    const nobody = { ...key, address: ethers.ZeroAddress, signTypedData: key.signTypedData.bind(key) };
    const { claim, evidence, consent } = await believed(world, nobody as unknown as typeof key);
    await expect(world.registry.register(world.believer, evidence, claim, consent))
      .to.be.revertedWithCustomError(world.registry, "NoConsent")
      .withArgs(ethers.ZeroAddress);
  });

  it("keeps its rules when the verifier calls back in", async () => {
    const world = await loadFixture(openRegistry);
    const { registry, believer } = world;
    const inner = await believed(world, key);
    const again = registry.interface.encodeFunctionData("register", [
      world.addresses.believer,
      inner.evidence,
      inner.claim,
      inner.consent,
    ]);
    await believer.callFirst(world.addresses.registry, again);
    // The inner call came first, so the outer one repeats its challenge.
    const { claim, evidence, consent } = inner;
    await expect(registry.register(believer, evidence, claim, consent))
      .to.be.revertedWithCustomError(registry, "ChallengeUsed")
      .withArgs(key.address, claim.challengeBlock, claim.challengeBlock);
  });

  it("passes the verifier's own error on", async () => {
    const world = await loadFixture(openRegistry);
    await world.registry.connect(world.verifiersHolder).allowVerifier(world.committeeVerifier);
    const { claim } = await claimOf(world, key);
    await expect(world.registry.register(world.committeeVerifier, "0x1234", claim, "0x"))
      .to.be.revertedWithCustomError(world.committeeVerifier, "EvidenceTooShort")
      .withArgs(2, 102);
  });
});

/** The first slots of the record of `key`, which lies in the mapping at slot 4. */
async function recordSlots(registry: string, count: number): Promise<string[]> {
  const start = ethers.keccak256(ethers.AbiCoder.defaultAbiCoder().encode(["address", "uint256"], [key.address, 4]));
  const at = (offset: number) => ethers.toBeHex(BigInt(start) + BigInt(offset));
  const reads = Array.from({ length: count }, (_, offset) =>
    provider.request({ method: "eth_getStorageAt", params: [registry, at(offset), "latest"] }),
  );
  return (await Promise.all(reads)) as string[];
}
