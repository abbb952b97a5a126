import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import {
  DAY,
  deployAttestation,
  type Enrolment,
  enrolmentVerdict,
  enrolTpm,
  now,
  PLATFORM,
  QUOTED_PCRS,
} from "./support.ts";
import { packEvidence, softTpm } from "./tpm.ts";

const tpm = softTpm();
const platform = ethers.dataSlice(PLATFORM, 0, 20);
const keyId = ethers.keccak256(ethers.concat([tpm.x, tpm.y]));

async function enrolmentFor() {
  const world = await deployAttestation();
  const issuedAt = await now(world);
  const enrolment: Enrolment = { x: tpm.x, y: tpm.y, platform, issuedAt, validTo: issuedAt + 30 * DAY, tier: 1 };
  return { ...world, enrolment, issuedAt };
}

describe("TpmQuoteVerifier#enrol", () => {
  it("stores what the committee says of a key, whoever brings it", async () => {
    const world = await loadFixture(enrolmentFor);
    const { tpmVerifier, enrolment, issuedAt, stranger } = world;
    const signatures = await enrolmentVerdict(world, enrolment, world.members.slice(2));
    await expect(tpmVerifier.connect(stranger).enrol(enrolment, signatures))
      .to.emit(tpmVerifier, "TpmEnrolled")
      .withArgs(platform, keyId, tpm.x, tpm.y, issuedAt, enrolment.validTo, 1);
    expect(await tpmVerifier.enrolmentOf(tpm.x, tpm.y)).to.deep.equal([
      platform,
      BigInt(issuedAt),
      BigInt(enrolment.validTo),
      1n,
    ]);
  });

  it("knows nothing of other keys", async () => {
    const { tpmVerifier } = await loadFixture(enrolmentFor);
    const none = [ethers.dataSlice(ethers.ZeroHash, 0, 20), 0n, 0n, 0n];
    expect(await tpmVerifier.enrolmentOf(tpm.x, tpm.y)).to.deep.equal(none);
  });

  it("refuses a verdict on anything else", async () => {
    const world = await loadFixture(enrolmentFor);
    const { tpmVerifier, committee, enrolment } = world;
    const signatures = await enrolmentVerdict(world, enrolment, world.members.slice(0, 3));
    const other = softTpm();
    const others: Partial<Enrolment>[] = [
      { x: other.x, y: other.y },
      { platform: ethers.dataSlice(ethers.ZeroHash, 0, 20) },
      { issuedAt: BigInt(enrolment.issuedAt) - 1n },
      { validTo: BigInt(enrolment.validTo) + 1n },
      { tier: 3 },
    ];
    for (const change of others) {
      const error = await tpmVerifier.enrol
        .staticCall({ ...enrolment, ...change }, signatures)
        .catch((thrown: unknown) => thrown);
      const name = committee.interface.parseError((error as { data: string }).data)?.name;
      expect(["NotMember", "SignersNotAscending", "BadSignature"]).to.include(name);
    }
  });

  it("refuses a verdict that was given for another verifier", async () => {
    const world = await loadFixture(enrolmentFor);
    const other = await deployAttestation();
    const signatures = await enrolmentVerdict(world, world.enrolment, world.members);
    await expect(other.tpmVerifier.enrol.staticCall(world.enrolment, signatures)).to.revert(ethers);
  });

  it("refuses too few signers", async () => {
    const world = await loadFixture(enrolmentFor);
    const signatures = await enrolmentVerdict(world, world.enrolment, world.members.slice(0, 2));
    await expect(world.tpmVerifier.enrol(world.enrolment, signatures))
      .to.be.revertedWithCustomError(world.committee, "WrongSignerCount")
      .withArgs(2, 3, 5);
  });

  it("refuses a point that is not on the curve, a tier that there is not, and a time to come", async () => {
    const world = await loadFixture(enrolmentFor);
    const { tpmVerifier, enrolment, members } = world;
    const off = { ...enrolment, y: tpm.x };
    await expect(tpmVerifier.enrol(off, await enrolmentVerdict(world, off, members)))
      .to.be.revertedWithCustomError(tpmVerifier, "NotAPoint")
      .withArgs(tpm.x, tpm.x);
    for (const tier of [0, 4]) {
      const wrong = { ...enrolment, tier };
      await expect(tpmVerifier.enrol(wrong, await enrolmentVerdict(world, wrong, members)))
        .to.be.revertedWithCustomError(tpmVerifier, "TierOutOfRange")
        .withArgs(tier);
    }
    const early = { ...enrolment, issuedAt: BigInt(enrolment.issuedAt) + 1_000n };
    await expect(tpmVerifier.enrol(early, await enrolmentVerdict(world, early, members)))
      .to.be.revertedWithCustomError(tpmVerifier, "IssuedInFuture")
      .withArgs(early.issuedAt);
  });

  it("goes by the later verdict: an earlier one cannot bring a key back", async () => {
    const world = await loadFixture(enrolmentFor);
    const { tpmVerifier, enrolment, issuedAt } = world;
    const first = await enrolmentVerdict(world, enrolment, world.members.slice(0, 3));
    await tpmVerifier.enrol(enrolment, first);
    const evidence = packEvidence(tpm, await tpm.quote(ethers.id("report"), QUOTED_PCRS));
    await tpmVerifier.verify.staticCall(evidence);

    const end = { ...enrolment, issuedAt: issuedAt + 1, validTo: 0 };
    await tpmVerifier.enrol(end, await enrolmentVerdict(world, end, world.members.slice(0, 3)));
    expect((await tpmVerifier.enrolmentOf(tpm.x, tpm.y))[2]).to.equal(0n);
    await expect(tpmVerifier.verify.staticCall(evidence))
      .to.be.revertedWithCustomError(tpmVerifier, "EnrolmentExpired")
      .withArgs(keyId, 0);
    await expect(tpmVerifier.enrol(enrolment, first))
      .to.be.revertedWithCustomError(tpmVerifier, "VerdictSuperseded")
      .withArgs(keyId, issuedAt, issuedAt + 1);

    await enrolTpm(world, tpm, { issuedAt: issuedAt + 2, tier: 2 });
    expect((await tpmVerifier.verify.staticCall(evidence))[4]).to.equal(2n);
  });

  it("takes one verdict of each second: the first", async () => {
    const world = await loadFixture(enrolmentFor);
    const { tpmVerifier, enrolment, issuedAt } = world;
    await tpmVerifier.enrol(enrolment, await enrolmentVerdict(world, enrolment, world.members.slice(0, 3)));
    const other = { ...enrolment, tier: 3 };
    for (const again of [enrolment, other]) {
      await expect(tpmVerifier.enrol(again, await enrolmentVerdict(world, again, world.members.slice(0, 3))))
        .to.be.revertedWithCustomError(tpmVerifier, "VerdictSuperseded")
        .withArgs(keyId, issuedAt, issuedAt);
    }
    expect((await tpmVerifier.enrolmentOf(tpm.x, tpm.y))[3]).to.equal(1n);
  });

  it("is of no use to a verifier that measures nothing", async () => {
    const { committee } = await loadFixture(enrolmentFor);
    const factory = await ethers.getContractFactory("TpmQuoteVerifier");
    await expect(factory.deploy(await committee.getAddress(), 0)).to.be.revertedWithCustomError(
      factory,
      "NothingMeasured",
    );
  });
});
