import { readFileSync, statSync } from "node:fs";
import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import {
  claimOf,
  consentOf,
  DAY,
  deployAttestation,
  type Named,
  named,
  now,
  STATUS,
  type Verifier,
} from "./support.ts";

/** Recorded quotes lie beside the repository, where they are at all. */
const EVIDENCE = new URL("../../../../shared/evidence/intel-dcap/", import.meta.url);
const recorded = statSync(EVIDENCE, { throwIfNoEntry: false }) !== undefined;

/** TCB status, as the DCAP contracts count. */
const TCB = {
  upToDate: 0,
  hardening: 1,
  configurationAndHardening: 2,
  configuration: 3,
  outOfDate: 4,
  outOfDateConfiguration: 5,
  revoked: 6,
  unrecognized: 7,
  relaunchAdvised: 8,
  relaunchAdvisedConfiguration: 9,
};
const [SGX, TDX_10, TDX_15] = [1, 2, 3];
const SIZE: Record<number, number> = { 1: 384, 2: 584, 3: 648 };
const REPORT = ethers.id("report");
const coder = ethers.AbiCoder.defaultAbiCoder();
const key = new ethers.Wallet(ethers.id("result key"));

interface Output {
  bodyType: number;
  body: Buffer;
  status?: number;
  advisories?: string[];
}

/** What the DCAP contracts return for a genuine quote. */
function output({ bodyType, body, status = TCB.upToDate, advisories = [] }: Output): string {
  const head = Buffer.alloc(11);
  head.writeUInt16BE(4, 0);
  head.writeUInt16BE(bodyType, 2);
  head.writeUInt8(status, 4);
  head.write("90c06f000000", 5, "hex");
  const tail = advisories.length === 0 ? "0x" : coder.encode(["string[]"], [advisories]);
  return ethers.concat([head, body, tail]);
}

const answer = (success: boolean, bytes: string) => coder.encode(["bool", "bytes"], [success, bytes]);

/** A body that is nothing but bytes, with the attributes of a production enclave or guest. */
function aBody(bodyType: number, reportData = REPORT): Buffer {
  const body = Buffer.alloc(SIZE[bodyType] ?? 0);
  for (let i = 0; i < body.length; i++) body[i] = i % 251;
  body[bodyType === SGX ? 48 : 120] = bodyType === SGX ? 0x05 : 0;
  const at = bodyType === SGX ? 320 : 520;
  body.write(reportData.slice(2), at, "hex");
  body.fill(0, at + 32, at + 64);
  return body;
}

/** The measurement that DcapBody gives. */
function measurement(bodyType: number, body: Buffer): string {
  const stretch = bodyType === SGX ? body.subarray(48, 320) : body.subarray(120, 520);
  const migration = bodyType === TDX_15 ? body.subarray(600, 648) : Buffer.alloc(0);
  return ethers.solidityPackedKeccak256(
    ["bytes32", "uint16", "bytes", "bytes"],
    [ethers.id("berth/measurement/dcap/v1"), bodyType, stretch, migration],
  );
}

function platform(quote: Uint8Array): string {
  return ethers.keccak256(
    coder.encode(["bytes32", "bytes16"], [ethers.id("berth/platform/dcap/v1"), quote.subarray(28, 44)]),
  );
}

const aQuote = Uint8Array.from({ length: 64 }, (_, i) => i);

async function dcapVerifier() {
  const world = await deployAttestation();
  const double = await ethers.deployContract("AttestDcapDouble");
  const contract = await ethers.deployContract("DcapQuoteVerifier", [await double.getAddress(), ["INTEL-SA-00001"]]);
  const verifier = named<Verifier & Named<"advisoryAccepted" | "dcap">>(contract);
  const dcap = named<Named<"set" | "asked">>(double);
  const address = await contract.getAddress();
  const says = async (given: Output) => {
    await dcap.set(answer(true, output(given)), false);
    return verifier.verify.staticCall(aQuote);
  };
  return { ...world, verifier, dcap, address, says };
}

describe("DcapQuoteVerifier#verify", () => {
  for (const [what, bodyType] of [
    ["an SGX enclave", SGX],
    ["a TDX 1.0 guest", TDX_10],
    ["a TDX 1.5 guest", TDX_15],
  ] as const) {
    it(`reads ${what}`, async () => {
      const { verifier, dcap, says } = await loadFixture(dcapVerifier);
      const body = aBody(bodyType);
      const never = 2n ** 40n - 1n;
      const expected = [REPORT, measurement(bodyType, body), platform(aQuote), never, 3n];
      expect(await says({ bodyType, body })).to.deep.equal(expected);
      await verifier.verify(aQuote);
      expect(await dcap.asked()).to.equal(ethers.keccak256(aQuote));
    });

    it(`measures every byte that tells ${what} from another, and no more`, async () => {
      const { says } = await loadFixture(dcapVerifier);
      const stretches = bodyType === SGX ? [[48, 320]] : [[120, 520], ...(bodyType === TDX_15 ? [[600, 648]] : [])];
      const [attributes, report] = bodyType === SGX ? [48, 320] : [120, 520];
      const base = measurement(bodyType, aBody(bodyType));
      for (let offset = 0; offset < (SIZE[bodyType] ?? 0); offset += 3) {
        // The one has bits that are refused, the other is checked below.
        if (offset === attributes || (offset >= report && offset < report + 64)) continue;
        const body = aBody(bodyType);
        body[offset] = (body[offset] ?? 0) ^ 0x80;
        const [, measured] = await says({ bodyType, body });
        const inside = stretches.some(([from = 0, to = 0]) => offset >= from && offset < to);
        expect(measured !== base, `byte ${offset}`).to.equal(inside);
      }
      const [, measured] = await says({ bodyType, body: aBody(bodyType, ethers.id("another report")) });
      expect(measured).to.equal(base);
    });
  }

  it("refuses debug mode", async () => {
    const { verifier, says } = await loadFixture(dcapVerifier);
    const enclave = aBody(SGX);
    enclave[48] = 0x07;
    await expect(says({ bodyType: SGX, body: enclave }))
      .to.be.revertedWithCustomError(verifier, "DebugMode")
      .withArgs(SGX);
    for (const bodyType of [TDX_10, TDX_15]) {
      for (const bit of [0, 1, 7]) {
        const guest = aBody(bodyType);
        guest[120] = 1 << bit;
        await expect(says({ bodyType, body: guest }))
          .to.be.revertedWithCustomError(verifier, "DebugMode")
          .withArgs(bodyType);
      }
    }
  });

  it("refuses report data of more than 32 bytes", async () => {
    const { verifier, says } = await loadFixture(dcapVerifier);
    for (const [bodyType, offset] of [
      [SGX, 352],
      [TDX_10, 583],
      [TDX_15, 552],
    ] as const) {
      const body = aBody(bodyType);
      body[offset] = 1;
      await expect(says({ bodyType, body }))
        .to.be.revertedWithCustomError(verifier, "ReportDataTooLong")
        .withArgs((upper: string) => BigInt(upper) !== 0n);
    }
  });

  it("turns the TCB status into a tier, or refuses it", async () => {
    const { verifier, says } = await loadFixture(dcapVerifier);
    const body = aBody(TDX_10);
    const [known, unknown] = [["INTEL-SA-00001"], ["INTEL-SA-00001", "INTEL-SA-00002"]];
    const tiers: [status: number, advisories: string[], tier: bigint][] = [
      [TCB.upToDate, [], 3n],
      [TCB.upToDate, unknown, 3n],
      [TCB.hardening, known, 3n],
      [TCB.hardening, unknown, 1n],
      [TCB.hardening, [], 1n],
      [TCB.configuration, [], 2n],
      [TCB.configurationAndHardening, known, 2n],
      [TCB.configurationAndHardening, unknown, 1n],
    ];
    for (const [status, advisories, tier] of tiers) {
      const quote = await says({ bodyType: TDX_10, body, status, advisories });
      expect(quote[4], `${status} ${advisories.join()}`).to.equal(tier);
    }
    const { outOfDate, outOfDateConfiguration, revoked, unrecognized, relaunchAdvised } = TCB;
    const refused = [outOfDate, outOfDateConfiguration, revoked, unrecognized, relaunchAdvised];
    for (const status of [...refused, TCB.relaunchAdvisedConfiguration, 255]) {
      await expect(says({ bodyType: TDX_10, body, status }))
        .to.be.revertedWithCustomError(verifier, "TcbStatusRefused")
        .withArgs(status);
    }
  });

  it("takes hardening with an empty list of advisories for hardening that nobody explains", async () => {
    const { verifier, dcap } = await loadFixture(dcapVerifier);
    const hardening = output({ bodyType: SGX, body: aBody(SGX), status: TCB.hardening });
    await dcap.set(answer(true, ethers.concat([hardening, coder.encode(["string[]"], [[]])])), false);
    expect((await verifier.verify.staticCall(aQuote))[4]).to.equal(1n);
  });

  it("passes the reason of a refusal on, said or thrown", async () => {
    const { verifier, dcap } = await loadFixture(dcapVerifier);
    const reason = ethers.hexlify(ethers.toUtf8Bytes("Failed to verify X509 Chain"));
    await dcap.set(answer(false, reason), false);
    await expect(verifier.verify(aQuote)).to.be.revertedWithCustomError(verifier, "QuoteRefused").withArgs(reason);
    // Where a precompile finds a signature bad, the contracts fail instead of answering.
    for (const thrown of ["0x", "0x4e487b71", ethers.id("anything")]) {
      await dcap.set(thrown, true);
      await expect(verifier.verify(aQuote)).to.be.revertedWithCustomError(verifier, "QuoteRefused").withArgs(thrown);
    }
  });

  it("refuses an answer of any other shape", async () => {
    const { verifier, dcap } = await loadFixture(dcapVerifier);
    const good = answer(true, output({ bodyType: SGX, body: aBody(SGX) }));
    const word = (value: bigint) => ethers.toBeHex(value, 32);
    const wrong = [
      "0x",
      "0x01",
      ethers.dataSlice(good, 0, 95),
      ethers.dataSlice(good, 0, 96), // says that more follows
      ethers.concat([word(2n), ethers.dataSlice(good, 32)]),
      ethers.concat([word(1n), word(96n), ethers.dataSlice(good, 64)]),
      ethers.concat([word(1n), word(2n ** 256n - 1n), ethers.dataSlice(good, 64)]),
      ethers.concat([word(1n), word(64n), word(2n ** 256n - 1n), ethers.dataSlice(good, 96)]),
    ];
    for (const bytes of wrong) {
      await dcap.set(bytes, false);
      await expect(verifier.verify(aQuote))
        .to.be.revertedWithCustomError(verifier, "AnswerMalformed")
        .withArgs(ethers.dataLength(bytes));
    }
  });

  it("refuses an output that is cut off, and a body that it does not know", async () => {
    const { verifier, dcap, says } = await loadFixture(dcapVerifier);
    const whole = output({ bodyType: TDX_15, body: aBody(TDX_15) });
    for (const length of [0, 10, 11, 11 + 584, 11 + 647]) {
      await dcap.set(answer(true, ethers.dataSlice(whole, 0, length)), false);
      await expect(verifier.verify(aQuote)).to.be.revertedWithCustomError(verifier, "OutputTooShort").withArgs(length);
    }
    for (const bodyType of [0, 4, 0x8100]) {
      await expect(says({ bodyType, body: aBody(TDX_15) }))
        .to.be.revertedWithCustomError(verifier, "BodyTypeUnknown")
        .withArgs(bodyType);
    }
  });

  it("refuses a list of advisories that leads out of itself", async () => {
    const { verifier, dcap } = await loadFixture(dcapVerifier);
    const hardening = output({ bodyType: SGX, body: aBody(SGX), status: TCB.hardening });
    const words = (...values: bigint[]) => ethers.concat(values.map((value) => ethers.toBeHex(value, 32)));
    const huge = 2n ** 256n - 1n;
    for (const list of [
      "0x00",
      words(32n),
      words(64n, 0n),
      words(32n, 1n),
      words(32n, huge),
      words(32n, 1n, huge),
      words(32n, 1n, 32n),
      words(32n, 1n, 32n, huge),
      words(32n, 1n, 32n, 33n, 0n),
    ]) {
      await dcap.set(answer(true, ethers.concat([hardening, list])), false);
      await expect(verifier.verify(aQuote), list)
        .to.be.revertedWithCustomError(verifier, "AdvisoriesMalformed")
        .withArgs(ethers.dataLength(list));
    }
  });

  it("refuses a quote without a header, and asks nobody; with one, what follows is for the DCAP contracts to say", async () => {
    const { verifier, dcap } = await loadFixture(dcapVerifier);
    await expect(verifier.verify(aQuote.subarray(0, 47)))
      .to.be.revertedWithCustomError(verifier, "QuoteTooShort")
      .withArgs(47);
    expect(await dcap.asked()).to.equal(ethers.ZeroHash);
    await dcap.set(answer(true, output({ bodyType: SGX, body: aBody(SGX) })), false);
    await verifier.verify(aQuote.subarray(0, 48));
    expect(await dcap.asked()).to.equal(ethers.keccak256(aQuote.subarray(0, 48)));
  });

  it("refuses where nothing answers at all", async () => {
    const { stranger } = await loadFixture(dcapVerifier);
    const verifier = await ethers.deployContract("DcapQuoteVerifier", [stranger.address, []]);
    await expect(verifier.getFunction("verify").staticCall(aQuote))
      .to.be.revertedWithCustomError(verifier, "AnswerMalformed")
      .withArgs(0);
  });

  it("knows the advisories of its making and no others", async () => {
    const { verifier } = await loadFixture(dcapVerifier);
    expect(await verifier.advisoryAccepted(ethers.id("INTEL-SA-00001"))).to.equal(true);
    expect(await verifier.advisoryAccepted(ethers.id("INTEL-SA-00002"))).to.equal(false);
  });
});

describe("DcapQuoteVerifier with a recorded TDX quote", () => {
  before(function () {
    if (recorded) return;
    console.log("      skipped: the recorded quotes are not here (../shared/evidence/intel-dcap)");
    this.skip();
  });

  it("reads what the guest says of itself, and refuses its 64 bytes of report data", async () => {
    const { verifier, dcap } = await loadFixture(dcapVerifier);
    const quote = readFileSync(new URL("tdx_quote", EVIDENCE));
    const body = quote.subarray(48, 48 + 584);
    await dcap.set(answer(true, output({ bodyType: TDX_10, body })), false);
    // The guest put a whole public key there.
    await expect(verifier.verify(quote))
      .to.be.revertedWithCustomError(verifier, "ReportDataTooLong")
      .withArgs(`0x${body.subarray(552, 584).toString("hex")}`);
  });

  it("registers a key by that guest, had it been asked to report the key", async () => {
    const world = await loadFixture(dcapVerifier);
    const { registry, verifier, dcap, address } = world;
    const quote = readFileSync(new URL("tdx_quote", EVIDENCE));
    const measured = measurement(TDX_10, quote.subarray(48, 48 + 584));
    await registry.connect(world.verifiersHolder).allowVerifier(address);
    await registry.connect(world.measurementsHolder).allowMeasurement(measured);
    const { claim, reportData } = await claimOf(world, key);
    quote.write(reportData.slice(2), 48 + 520, "hex");
    quote.fill(0, 48 + 552, 48 + 584);
    await dcap.set(answer(true, output({ bodyType: TDX_10, body: quote.subarray(48, 48 + 584) })), false);

    // The challenge is of the block before, and still fresh.
    const consent = await consentOf(world, key, address, {
      reportData,
      measurement: measured,
      platform: platform(quote),
      validTo: 0,
      tier: 0,
    });
    await registry.connect(world.stranger).register(address, quote, claim, consent);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.Good);
    expect(await registry.keyOf(key.address)).to.deep.equal([
      address,
      BigInt((await now(world)) + DAY),
      3n,
      measured,
      platform(quote),
    ]);
    expect(await verifier.dcap()).to.equal(await (dcap as unknown as { getAddress(): Promise<string> }).getAddress());
  });

  it("reads a TDX 1.5 quote too", async () => {
    const { says } = await loadFixture(dcapVerifier);
    const quote = readFileSync(new URL("tdx_quote_outdated", EVIDENCE));
    // Version 5 says its body's type and size before it.
    expect([quote.readUInt16LE(48), quote.readUInt32LE(50)]).to.deep.equal([TDX_15, 648]);
    const body = Buffer.from(quote.subarray(54, 54 + 648));
    body.fill(0, 552, 584);
    const [reportData, measured] = await says({ bodyType: TDX_15, body });
    expect(reportData).to.equal(`0x${body.subarray(520, 552).toString("hex")}`);
    expect(measured).to.equal(measurement(TDX_15, body));
  });
});
