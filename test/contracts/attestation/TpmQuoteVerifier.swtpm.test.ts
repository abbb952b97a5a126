import { expect } from "chai";
import { network } from "hardhat";
import { MarketError } from "../../../protocol/src/index.ts";
import { provider as defaultProvider, ethers } from "../support/actors.ts";
import {
  errorName,
  PLATFORM,
  QUOTED_PCRS,
  registeredTpmQuote,
  STATUS,
  tpmRegistration,
  tpmRegistry,
  type World,
} from "./support.ts";
import { packEvidence, type RealTpm, softTpm, startRealTpm, type TpmQuote } from "./tpm.ts";

/** Order of the curve P-256. */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const MISSING = ["SWTPM_MISSING", "TPM_TOOLS_MISSING"];
const key = new ethers.Wallet(ethers.id("result key"));

/** The same signature with the other of its two values of s. */
function withOtherS({ signature, ...quote }: TpmQuote): TpmQuote {
  const s = N - BigInt(`0x${signature.subarray(32).toString("hex")}`);
  const other = Buffer.from(s.toString(16).padStart(64, "0"), "hex");
  return { ...quote, signature: Buffer.concat([signature.subarray(0, 32), other]) };
}

/** Every copy of `evidence` in which one bit is another. */
function* flips(evidence: string): Generator<string> {
  const bytes = Buffer.from(evidence.slice(2), "hex");
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = Buffer.from(bytes);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    yield `0x${copy.toString("hex")}`;
  }
}

/** What the precompile of EIP-7951 says of a good signature; a chain without it says nothing. */
function asksPrecompile(on: typeof defaultProvider): Promise<unknown> {
  const soft = softTpm();
  const message = Buffer.from("message");
  const hash = ethers.sha256(message);
  const data = ethers.concat([hash, soft.signAttest(message), soft.x, soft.y]);
  return on.request({ method: "eth_call", params: [{ to: ethers.toBeHex(0x100, 20), data }] });
}

describe("TpmQuoteVerifier with an emulated TPM", () => {
  let tpm: RealTpm;
  let world: World & { measurement: string };
  before(async function () {
    try {
      tpm = await startRealTpm();
    } catch (error) {
      if (!(error instanceof MarketError) || !MISSING.includes(error.code)) throw error;
      console.log(`    skipped: ${error.message}`);
      return this.skip();
    }
    // As a boot would: otherwise the registers of an emulator are all zero.
    for (const pcr of QUOTED_PCRS) await tpm.extend(pcr, ethers.id(`event of ${pcr}`));
    world = await tpmRegistry(tpm);
  });
  after(async () => {
    await tpm?.stop();
  });

  it("registers a key by a real quote", async () => {
    const { claim, evidence, consent, measurement } = await tpmRegistration(world, tpm, key);
    expect(measurement).to.equal(world.measurement);
    await world.registry.connect(world.stranger).register(world.tpmVerifier, evidence, claim, consent);

    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.Good);
    const [verifier, , tier, measured, platform] = await world.registry.keyOf(key.address);
    expect([verifier, tier, measured, platform]).to.deep.equal([
      world.addresses.tpmVerifier,
      1n,
      measurement,
      PLATFORM,
    ]);
  });

  it("takes a quote whose log register has grown, and none after a boot register has", async () => {
    const other = await startRealTpm();
    try {
      const own = await tpmRegistry(other);
      await other.extend(14, ethers.id("an image"));
      const grown = await tpmRegistration(own, other, key);
      await own.registry.register(own.tpmVerifier, grown.evidence, grown.claim, grown.consent);
      expect(await own.registry.statusOf(key.address)).to.equal(STATUS.Good);

      await other.extend(4, ethers.id("another kernel"));
      const changed = await tpmRegistration(own, other, key);
      expect(changed.measurement).to.not.equal(own.measurement);
      await expect(own.registry.register(own.tpmVerifier, changed.evidence, changed.claim, changed.consent))
        .to.be.revertedWithCustomError(own.registry, "MeasurementNotAllowed")
        .withArgs(changed.measurement);
    } finally {
      await other.stop();
    }
  });

  it("takes a signature with either value of s", async () => {
    const quote = await tpm.quote(ethers.id("report"), QUOTED_PCRS);
    for (const either of [quote, withOtherS(quote)]) {
      const { reportData } = await world.tpmVerifier.verify.staticCall(packEvidence(tpm, either));
      expect(reportData).to.equal(ethers.id("report"));
    }
  });

  it("refuses evidence with any one bit changed", async function () {
    this.timeout(300_000);
    const evidence = packEvidence(tpm, await tpm.quote(ethers.id("report"), QUOTED_PCRS));
    await world.tpmVerifier.verify.staticCall(evidence);
    const errors = new Map<string, number>();
    let accepted = 0;
    for (const flipped of flips(evidence)) {
      try {
        await world.tpmVerifier.verify.staticCall(flipped);
        accepted++;
      } catch (error) {
        const name = errorName(world.tpmVerifier, error);
        errors.set(name, (errors.get(name) ?? 0) + 1);
      }
    }
    expect(accepted).to.equal(0);
    expect(errors.get("no error of ours")).to.equal(undefined);
    // All of the signed structure and its signature, the key's point, and the register values.
    expect([...errors.values()].reduce((sum, count) => sum + count)).to.equal((145 + 128 + 9 * 32) * 8);
  });

  it("registers where the chain has no precompile, and refuses there what it must", async () => {
    const prague = await network.create({ override: { hardfork: "prague" } });
    expect(await asksPrecompile(prague.provider)).to.equal("0x");
    expect(await asksPrecompile(defaultProvider)).to.equal(ethers.toBeHex(1, 32));
    const own = await tpmRegistry(tpm, prague);
    const { claim, evidence, consent, quote } = await tpmRegistration(own, tpm, key);
    await own.registry.register(own.tpmVerifier, evidence, claim, consent);
    expect(await own.registry.statusOf(key.address)).to.equal(STATUS.Good);

    for (const either of [quote, withOtherS(quote)]) {
      await own.tpmVerifier.verify.staticCall(packEvidence(tpm, either));
      const broken = Buffer.from(either.signature);
      broken[40] = (broken[40] ?? 0) ^ 1;
      await expect(
        own.tpmVerifier.verify.staticCall(packEvidence(tpm, { ...either, signature: broken })),
      ).to.be.revertedWithCustomError(own.tpmVerifier, "NotSignedByKey");
    }
  });

  it("costs at most 120,000 gas in all, the first time and later", async () => {
    for (const again of [false, true]) {
      const { gasUsed } = await registeredTpmQuote({ again }, tpm);
      expect(gasUsed, again ? "later" : "first").to.be.at.most(120_000);
    }
  });
});
