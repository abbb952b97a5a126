import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import {
  BOOT_MASK,
  BOOT_PCRS,
  enrolTpm,
  named,
  PLATFORM,
  QUOTED_PCRS,
  type TpmVerifier,
  tpmMeasurement,
  tpmRegistry,
} from "./support.ts";
import { packEvidence, softPcr, softTpm, type TpmQuote } from "./tpm.ts";

const tpm = softTpm();
const REPORT = ethers.id("report");
const keyId = ethers.keccak256(ethers.concat([tpm.x, tpm.y]));

async function enrolledTpm() {
  return tpmRegistry(tpm);
}

/** A quote whose structure was changed before it was signed, as no TPM would. */
async function forged(change: (attest: Buffer) => Buffer | undefined, pcrs = QUOTED_PCRS): Promise<string> {
  const quote = await tpm.quote(REPORT, pcrs);
  const attest = change(quote.attest) ?? quote.attest;
  return packEvidence(tpm, { ...quote, attest, signature: tpm.signAttest(attest) });
}

describe("TpmQuoteVerifier#verify", () => {
  it("says what the TPM signed and the committee enrolled", async () => {
    const { tpmVerifier, enrolment } = await loadFixture(enrolledTpm);
    const evidence = packEvidence(tpm, await tpm.quote(REPORT, QUOTED_PCRS));
    expect(await tpmVerifier.verify.staticCall(evidence)).to.deep.equal([
      REPORT,
      tpmMeasurement(BOOT_PCRS.map(softPcr)),
      PLATFORM,
      BigInt(enrolment.validTo),
      1n,
    ]);
    expect(await tpmVerifier.measuredPcrs()).to.equal(BigInt(BOOT_MASK));
  });

  it("measures the same whatever else is quoted", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    const expected = tpmMeasurement(BOOT_PCRS.map(softPcr));
    for (const pcrs of [BOOT_PCRS, [...BOOT_PCRS, 23], Array.from({ length: 24 }, (_, index) => index)]) {
      const evidence = packEvidence(tpm, await tpm.quote(REPORT, pcrs));
      expect((await tpmVerifier.verify.staticCall(evidence))[1]).to.equal(expected);
    }
  });

  it("measures the registers that it was made for, wherever they are", async () => {
    const world = await loadFixture(enrolledTpm);
    const mask = (1 << 0) | (1 << 9) | (1 << 23);
    const other = await ethers.deployContract("TpmQuoteVerifier", [await world.committee.getAddress(), mask]);
    const addresses = { ...world.addresses, tpmVerifier: await other.getAddress() };
    await enrolTpm({ ...world, addresses, tpmVerifier: named<TpmVerifier>(other) }, tpm);
    const evidence = packEvidence(tpm, await tpm.quote(REPORT, [0, 8, 9, 16, 23]));
    const [, measurement] = await other.getFunction("verify").staticCall(evidence);
    expect(measurement).to.equal(tpmMeasurement([0, 9, 23].map(softPcr), mask));
  });

  it("refuses a quote that leaves a measured register out", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    const evidence = packEvidence(tpm, await tpm.quote(REPORT, [0, 1, 2, 3, 4, 5, 6, 14]));
    await expect(tpmVerifier.verify.staticCall(evidence))
      .to.be.revertedWithCustomError(tpmVerifier, "PcrNotQuoted")
      .withArgs(BOOT_MASK, 0x7f | (1 << 14));
  });

  it("refuses register values that are not those the TPM signed", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    const quote = await tpm.quote(REPORT, QUOTED_PCRS);
    const values = [softPcr(23), ...quote.values.slice(1)];
    await expect(tpmVerifier.verify.staticCall(packEvidence(tpm, { ...quote, values })))
      .to.be.revertedWithCustomError(tpmVerifier, "PcrDigestMismatch")
      .withArgs(ethers.sha256(Buffer.concat(quote.values)), ethers.sha256(Buffer.concat(values)));
  });

  it("refuses too few and too many register values, by a byte or by a register", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    const evidence = packEvidence(tpm, await tpm.quote(REPORT, QUOTED_PCRS));
    const pcrs = BOOT_MASK | (1 << 14);
    const wrong = [
      ...[0, 1, 31, 32, 256, 287].map((length) => ethers.dataSlice(evidence, 0, 273 + length)),
      `${evidence}00`,
      `${evidence}${"00".repeat(32)}`,
    ];
    for (const bytes of wrong) {
      await expect(tpmVerifier.verify.staticCall(bytes))
        .to.be.revertedWithCustomError(tpmVerifier, "WrongPcrValues")
        .withArgs(ethers.dataLength(bytes) - 273, pcrs);
    }
  });

  it("refuses evidence that is cut off", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    const evidence = packEvidence(tpm, await tpm.quote(REPORT, QUOTED_PCRS));
    for (const length of [0, 1, 144, 145, 272]) {
      await expect(tpmVerifier.verify.staticCall(ethers.dataSlice(evidence, 0, length)))
        .to.be.revertedWithCustomError(tpmVerifier, "EvidenceTooShort")
        .withArgs(length, 273);
    }
  });

  it("refuses what is signed by the key but is no quote of this form", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    const set = (offset: number, value: number) => (attest: Buffer) => {
      attest[offset] = value;
      return undefined;
    };
    const head = 0xff54434780180022n;
    const cases: [what: string, evidence: string, offset: number, expected: bigint, found: bigint][] = [
      ["magic", await forged(set(0, 0xfe)), 0, head, 0xfe54434780180022n],
      ["another attestation", await forged(set(5, 0x14)), 0, head, 0xff54434780140022n],
      ["a longer name", await forged(set(7, 0x23)), 0, head, 0xff54434780180023n],
      ["a longer report", await forged(set(43, 33)), 42, 32n, 33n],
      ["no report", await forged(set(43, 0)), 42, 32n, 0n],
      ["a huge report", await forged(set(42, 0xff)), 42, 32n, 0xff20n],
      ["no bank", await forged(set(104, 0)), 101, 0x01000b03n, 0x00000b03n],
      ["two banks", await forged(set(104, 2)), 101, 0x01000b03n, 0x02000b03n],
      ["the SHA-1 bank", await forged(set(106, 0x04)), 101, 0x01000b03n, 0x01000403n],
      ["the SHA-384 bank", await forged(set(106, 0x0c)), 101, 0x01000b03n, 0x01000c03n],
      ["a longer selection", await forged(set(107, 4)), 101, 0x01000b03n, 0x01000b04n],
      ["a shorter digest", await forged(set(112, 31)), 111, 32n, 31n],
    ];
    for (const [what, evidence, offset, expected, found] of cases) {
      await expect(tpmVerifier.verify.staticCall(evidence), what)
        .to.be.revertedWithCustomError(tpmVerifier, "AttestMalformed")
        .withArgs(offset, expected, found);
    }
  });

  it("cares neither for the clock nor for the firmware nor for the name of the parent key", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    for (const offset of [8, 41, 76, 84, 88, 92, 93, 100]) {
      const evidence = await forged((attest) => {
        attest[offset] = 0x55;
        return undefined;
      });
      expect((await tpmVerifier.verify.staticCall(evidence))[0]).to.equal(REPORT);
    }
  });

  it("refuses a key that nobody enrolled, and one whose time is over", async () => {
    const { tpmVerifier, enrolment } = await loadFixture(enrolledTpm);
    const other = softTpm();
    await expect(tpmVerifier.verify.staticCall(packEvidence(other, await other.quote(REPORT, QUOTED_PCRS))))
      .to.be.revertedWithCustomError(tpmVerifier, "KeyNotEnrolled")
      .withArgs(other.x, other.y);
    const evidence = packEvidence(tpm, await tpm.quote(REPORT, QUOTED_PCRS));
    await time.increaseTo(enrolment.validTo);
    await tpmVerifier.verify.staticCall(evidence);
    await time.increase(1);
    await expect(tpmVerifier.verify.staticCall(evidence))
      .to.be.revertedWithCustomError(tpmVerifier, "EnrolmentExpired")
      .withArgs(keyId, enrolment.validTo);
  });

  it("refuses the signature of another key, and numbers that are no signature", async () => {
    const { tpmVerifier } = await loadFixture(enrolledTpm);
    const quote = await tpm.quote(REPORT, QUOTED_PCRS);
    const half = (signature: Buffer, r: string, s: string): TpmQuote => ({
      ...quote,
      signature: Buffer.concat([
        r === "" ? signature.subarray(0, 32) : Buffer.from(r, "hex"),
        s === "" ? signature.subarray(32) : Buffer.from(s, "hex"),
      ]),
    });
    const order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    const [zero, most] = ["00".repeat(32), "ff".repeat(32)];
    const wrong = [
      { ...quote, signature: softTpm().signAttest(quote.attest) },
      ...[zero, order, most].flatMap((number) => [
        half(quote.signature, number, ""),
        half(quote.signature, "", number),
      ]),
    ];
    for (const each of wrong) {
      await expect(tpmVerifier.verify.staticCall(packEvidence(tpm, each)))
        .to.be.revertedWithCustomError(tpmVerifier, "NotSignedByKey")
        .withArgs(keyId);
    }
  });
});
