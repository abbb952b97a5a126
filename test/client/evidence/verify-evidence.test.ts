import { execFile } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import fc from "fast-check";
import { keccak256, toHex } from "viem";
import { type EvidenceContext, verifyEvidence } from "../../../client/src/evidence/verify-evidence.ts";
import {
  type Endorsement,
  type Evidence,
  endorsementPayload,
  eventDigest,
  type Hex,
  imageEvent,
  type Tpm2Evidence,
} from "../../../protocol/src/index.ts";
import { initAuthority } from "../../../scripts/lib/tpm-authority.ts";
import { DAY_SECONDS, type EnrolledNode, enrolledNode, IMAGE, REPORT } from "../../provider-node/attest/tpm-fixture.ts";

const run = promisify(execFile);
const OTHER = keccak256(toHex("something else"));

describe("verifyEvidence", () => {
  let node: EnrolledNode;
  let evidence: Tpm2Evidence;
  before(async () => {
    node = await enrolledNode();
    const request = { reportData: REPORT, phase: "start" } as const;
    await node.attester.attest({ ...request, imageDigest: keccak256(toHex("earlier image")) });
    evidence = (await node.attester.attest({ ...request, imageDigest: IMAGE })) as Tpm2Evidence;
  });
  after(() => node.cleanUp());

  const verify = (change: object = {}, context: Partial<EvidenceContext> = {}) =>
    verifyEvidence({ ...evidence, ...change }, { ...node.context, ...context });
  /** Asserts that nothing was accepted, and that exactly these checks failed. */
  const expectFailures = async (names: string[], change: object = {}, context: Partial<EvidenceContext> = {}) => {
    const result = await verify(change, context);
    expect(result.checks.filter((check) => !check.ok).map((check) => check.name)).to.deep.equal(names);
    expect(result).to.include({ ok: false, tier: 0 });
    return result;
  };
  /** The endorsement with changes, signed again by the authority: what a careless authority might say. */
  const resigned = (change: Partial<Endorsement>): Endorsement => {
    const { signature: _, ...statement } = { ...node.endorsement, ...change };
    return { ...statement, signature: node.authority.sign(endorsementPayload(statement)) };
  };

  it("accepts sound evidence and calls a software TPM software", async () => {
    const result = await verify();
    expect(result).to.include({ ok: true, verdict: "warning", tier: 1, kind: "software-tpm" });
    expect(result.checks.map((check) => check.name)).to.deep.equal([
      ...["document", "report-data", "time", "tpm.quote", "tpm.signature", "tpm.key", "tpm.registers", "tpm.log"],
      ...["tpm.image", "endorsement.key", "endorsement.node", "endorsement.validity", "endorsement.signature"],
      "endorsement.authority",
    ]);
  });

  for (const field of ["quote", "signature"] as const)
    it(`refuses every flipped bit of the ${field}`, async () => {
      const original = Buffer.from(evidence[field], "base64");
      for (let bit = 0; bit < original.length * 8; bit += 1) {
        const flipped = Buffer.from(original);
        flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
        const { ok, checks } = await verify({ [field]: flipped.toString("base64") });
        expect(ok, `bit ${bit}`).to.equal(false);
        expect(checks.find((check) => check.name === "tpm.signature")?.ok, `signature check, bit ${bit}`).to.equal(
          false,
        );
      }
    });

  it("refuses every flipped bit of the attestation key", async () => {
    const original = Buffer.from(evidence.akPublic, "base64");
    for (let bit = 0; bit < original.length * 8; bit += 1) {
      const flipped = Buffer.from(original);
      flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      const akPublic = flipped.toString("base64");
      expect((await verify({ akPublic })).ok, `bit ${bit}`).to.equal(false);
    }
  });

  for (const field of ["quote", "signature", "akPublic"] as const)
    it(`refuses bytes after or missing from the ${field}`, async () => {
      const original = Buffer.from(evidence[field], "base64");
      const longer = Buffer.concat([original, Buffer.alloc(1)]).toString("base64");
      const shorter = original.subarray(0, -1).toString("base64");
      const reasons = async (text: string) => (await verify({ [field]: text })).checks.map((check) => check.detail);
      expect((await reasons(longer)).join("\n")).to.match(/is followed by 1 bytes/);
      expect((await reasons(shorter)).join("\n")).to.match(/ends after \d+ bytes, too early/);
    });

  it("refuses other report data, even if the document claims it", async () => {
    await expectFailures(["report-data", "tpm.quote"], {}, { reportData: OTHER });
    const { checks } = await expectFailures(["tpm.quote"], { reportData: OTHER }, { reportData: OTHER });
    expect(checks.find((check) => check.name === "tpm.quote")?.detail).to.match(
      /The TPM signed 0x.*, not the report data/,
    );
  });

  it("refuses an image that was not measured", async () => {
    await expectFailures(["tpm.image"], {}, { imageDigest: OTHER });
  });

  describe("a log that was tampered with", () => {
    const entry = (event: string) => ({ pcr: 14, event, digest: eventDigest(event) });

    it("is refused with another event in it", () =>
      expectFailures(
        ["tpm.log"],
        { eventLog: [...evidence.eventLog, entry(imageEvent(OTHER))] },
        { imageDigest: OTHER },
      ));

    it("is refused without one of its events", () =>
      expectFailures(["tpm.log"], { eventLog: evidence.eventLog.slice(1) }));

    it("is refused in another order", () => expectFailures(["tpm.log"], { eventLog: evidence.eventLog.toReversed() }));

    it("is refused when an event was renamed under its digest", () =>
      expectFailures(
        ["tpm.log"],
        { eventLog: evidence.eventLog.map((event) => ({ ...event, event: imageEvent(OTHER) })) },
        { imageDigest: OTHER },
      ));

    it("is refused when it is about a register that can be reset", () =>
      expectFailures(["tpm.log"], { eventLog: [{ ...entry(imageEvent(IMAGE)), pcr: 16 }] }));

    it("is refused when it is empty", () => expectFailures(["tpm.log", "tpm.image"], { eventLog: [] }));
  });

  it("refuses register values that are not the quoted ones", async () => {
    await expectFailures(["tpm.registers"], { pcrs: { ...evidence.pcrs, "0": OTHER } });
    await expectFailures(["tpm.registers"], { pcrs: { ...evidence.pcrs, "9": OTHER } });
    const { "0": _, ...fewer } = evidence.pcrs;
    await expectFailures(["tpm.registers"], { pcrs: fewer });
  });

  it("holds the registers against the policy", async () => {
    const zero: Hex = `0x${"0".repeat(64)}`;
    expect((await verify({}, { policy: { pcrs: { "0": zero } } })).ok).to.equal(true);
    await expectFailures(["tpm.registers"], {}, { policy: { pcrs: { "0": OTHER } } });
    await expectFailures(["tpm.registers"], {}, { policy: { pcrs: { "9": zero } } });
  });

  describe("the endorsement", () => {
    it("counts only from an authority that the caller named", async () => {
      const result = await expectFailures(["endorsement.authority"], {}, { trust: { tpmAuthorities: [] } });
      expect(result).to.include({ kind: "untrusted-tpm", verdict: "contraindicated" });
      const stranger = await initAuthority(join(node.dir, "stranger"));
      const trust = { tpmAuthorities: [{ publicKey: stranger.publicKey, kind: "software" as const }] };
      await expectFailures(["endorsement.authority"], {}, { trust });
    });

    it("counts only as the kind that the caller trusts the authority for", async () => {
      const { publicKey } = node.authority;
      const hardware = { trust: { tpmAuthorities: [{ publicKey, kind: "hardware" as const }] } };
      expect(await expectFailures(["endorsement.authority"], {}, hardware)).to.include({ kind: "untrusted-tpm" });
      const claim = { endorsement: resigned({ kind: "hardware" }) };
      expect(await expectFailures(["endorsement.authority"], claim)).to.include({ kind: "untrusted-tpm" });
      expect(await verify(claim, hardware)).to.include({
        ok: true,
        verdict: "affirming",
        tier: 2,
        kind: "hardware-tpm",
      });
    });

    it("is refused when its signature is of other words or by another key", async () => {
      const { endorsement } = evidence;
      await expectFailures(["endorsement.signature"], {
        endorsement: { ...endorsement, notAfter: endorsement.notAfter + 1 },
      });
      const stranger = generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" }).x ?? "";
      const authority = toHex(Buffer.from(stranger, "base64url"));
      await expectFailures(["endorsement.signature", "endorsement.authority"], {
        endorsement: { ...endorsement, authority },
      });
    });

    it("is refused before and after its time", async () => {
      const { notBefore, notAfter } = node.endorsement;
      const { checks } = await expectFailures(["endorsement.validity"], {}, { now: notAfter + 1 });
      expect(checks.find((check) => check.name === "endorsement.validity")?.detail).to.match(/expired at 20/);
      await expectFailures(["endorsement.validity"], {}, { now: notBefore - 1 });
      expect((await verify({}, { now: notAfter })).ok).to.equal(true);
    });

    it("is refused for another node or operator", async () => {
      await expectFailures(["endorsement.node"], {}, { nodeIndex: 4 });
      await expectFailures(["endorsement.node"], {}, { operator: "0x00000000000000000000000000000000000000b0" });
    });

    it("is refused for another key or a key under another parent", async () => {
      const akName: Hex = `0x000b${"11".repeat(32)}`;
      await expectFailures(["endorsement.key"], { endorsement: resigned({ akName }) });
      await expectFailures(["endorsement.key"], { endorsement: resigned({ akQualifiedName: akName }) });
    });
  });

  it("refuses a key that is not restricted, though it signs a perfect quote and is endorsed", async () => {
    const at = (name: string) => join(node.dir, name);
    const tpm = (program: string, ...args: string[]) =>
      run(`tpm2_${program}`, args, { env: { ...process.env, TPM2TOOLS_TCTI: node.tpm.tcti } });
    const attributes = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign";
    await tpm("createprimary", "-C", "e", "-G", "ecc:ecdsa-sha256", "-a", attributes, "-c", at("loose"));
    await tpm("readpublic", "-c", at("loose"), "-f", "tss", "-o", at("p"), "-n", at("n"), "-q", at("q"));
    const registers = ["-l", "sha256:0,1,2,3,4,5,6,7,14", "-g", "sha256", "-q", REPORT.slice(2)];
    await tpm("quote", "-c", at("loose"), ...registers, "-m", at("quote"), "-s", at("signature"));
    await tpm("flushcontext", "-t");
    const [publicArea, name, qualified, quote, signature] = (await Promise.all(
      ["p", "n", "q", "quote", "signature"].map((file) => readFile(at(file))),
    )) as [Buffer, Buffer, Buffer, Buffer, Buffer];
    const akPublic = publicArea.subarray(2).toString("base64");
    const endorsement = resigned({ akPublic, akName: toHex(name), akQualifiedName: toHex(qualified) });
    const { checks } = await expectFailures(["tpm.key"], {
      quote: quote.toString("base64"),
      signature: signature.toString("base64"),
      akPublic,
      endorsement,
    });
    expect(checks.find((check) => check.name === "tpm.key")?.detail).to.match(/lacks the attributes restricted/);
  });

  it("refuses evidence of the wrong age or tier where the policy says so", async () => {
    const policy = { maxAgeSeconds: 3600 };
    expect((await verify({}, { policy })).ok).to.equal(true);
    await expectFailures(["time"], {}, { policy, now: node.context.now + 3600 });
    await expectFailures(["time"], { producedAt: new Date(Date.now() + DAY_SECONDS * 1000).toISOString() });
    await expectFailures(["policy.tier"], {}, { policy: { minTier: 2 } });
  });

  it("refuses what it does not know: fields, versions, types, spellings", async () => {
    const { endorsement } = evidence;
    const unknown: object[] = [
      { extra: 1 },
      { version: 2 },
      { type: "tpm3" },
      { format: "tpm2-quote/v2" },
      { endorsement: { ...endorsement, extra: 1 } },
      { endorsement: undefined },
      { eventLog: evidence.eventLog.map((event) => ({ ...event, extra: 1 })) },
      { pcrs: { ...evidence.pcrs, "24": OTHER } },
      { reportData: REPORT.toUpperCase().replace("0X", "0x") },
      { quote: evidence.quote.replace(/=*$/, "") },
      { quote: "?" },
      { signature: "AB==" },
    ];
    for (const change of unknown) {
      const result = await verify(change);
      expect(result, JSON.stringify(change).slice(0, 80)).to.include({ ok: false, kind: "unknown", tier: 0 });
    }
    for (const document of [null, 1, "", [], {}])
      expect((await verifyEvidence(document, node.context)).ok).to.equal(false);
  });

  it("takes neither `none` nor an unknown program's evidence as proof", async () => {
    const common = { version: 1, reportData: REPORT, producedAt: evidence.producedAt } as const;
    const none: Evidence = { ...common, type: "none", format: "none" };
    expect(await verifyEvidence(none, node.context)).to.include({ ok: false, verdict: "none", tier: 0, kind: "none" });
    const exec: Evidence = { ...common, type: "exec", format: "x/v1", evidence: "aGVsbG8=", collateral: [] };
    expect(await verifyEvidence(exec, node.context)).to.include({
      ok: false,
      verdict: "contraindicated",
      kind: "exec",
    });
  });

  it("answers, and never accepts, whatever bytes stand for quote, signature and key", async () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 200 }).map((array) => Buffer.from(array).toString("base64"));
    await fc.assert(
      fc.asyncProperty(fc.constantFrom("quote", "signature", "akPublic"), bytes, async (field, text) => {
        expect((await verify({ [field]: text })).ok).to.equal(false);
      }),
      { numRuns: 200 },
    );
  });

  it("uses the same hash as the rest of the world", () => {
    const event = imageEvent(IMAGE);
    expect(eventDigest(event)).to.equal(`0x${createHash("sha256").update(event).digest("hex")}`);
  });
});
