import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { keccak256, toHex } from "viem";
import { verifyEvidence } from "../../../client/src/evidence/verify-evidence.ts";
import { imageEvent, MarketError, type Tpm2Evidence } from "../../../protocol/src/index.ts";
import { createAttester, probeAttester } from "../../../provider-node/src/attest/index.ts";
import { type EnrolledNode, enrolledNode, freshTpm, IMAGE, REPORT, silent } from "./tpm-fixture.ts";

const run = promisify(execFile);

describe("tpm2 attester", () => {
  let node: EnrolledNode;
  beforeEach(async () => {
    node = await enrolledNode();
  });
  afterEach(() => node.cleanUp());

  const attest = async (image = IMAGE, report = REPORT) =>
    (await node.attester.attest({ reportData: report, imageDigest: image, phase: "start" })) as Tpm2Evidence;
  const verify = (evidence: Tpm2Evidence, image = IMAGE, report = REPORT) =>
    verifyEvidence(JSON.parse(JSON.stringify(evidence)), { ...node.context, imageDigest: image, reportData: report });

  it("makes evidence that a requester accepts as that of a software TPM", async () => {
    const result = await verify(await attest());
    expect(result.checks.filter((check) => !check.ok)).to.deep.equal([]);
    expect(result).to.include({ ok: true, verdict: "warning", tier: 1, kind: "software-tpm" });
  });

  it("serves many calls at once, each with a log that adds up", async () => {
    const images = Array.from({ length: 6 }, (_, index) => keccak256(toHex(`image ${index % 3}`)));
    const documents = await Promise.all(images.map((image, i) => attest(image, keccak256(toHex(`report ${i}`)))));
    for (const [i, document] of documents.entries()) {
      const result = await verify(document, images[i], keccak256(toHex(`report ${i}`)));
      expect(result.ok, JSON.stringify(result.checks)).to.equal(true);
    }
    expect(documents.at(-1)?.eventLog.length).to.equal(3);
  });

  it("goes on with its log after the node restarts", async () => {
    await attest(keccak256(toHex("earlier image")));
    node.attester = createAttester(node.config, { log: silent });
    const evidence = await attest();
    expect(evidence.eventLog.length).to.equal(2);
    expect((await verify(evidence)).ok).to.equal(true);
  });

  it("keeps its key and starts a new log after the TPM was reset", async () => {
    const before = await attest(keccak256(toHex("earlier image")));
    await node.resetTpm();
    const after = await attest();
    expect(after.eventLog.map((entry) => entry.event)).to.deep.equal([imageEvent(IMAGE)]);
    expect(after.akPublic).to.equal(before.akPublic);
    expect((await verify(after)).ok).to.equal(true);
  });

  it("drops an event that a crash kept from being measured", async () => {
    await attest();
    const path = join(node.config.stateDir, "event-log.json");
    const log = JSON.parse(await readFile(path, "utf8"));
    const event = imageEvent(keccak256(toHex("never ran")));
    log.events.push({ pcr: 14, event, digest: keccak256(toHex("x")) });
    await writeFile(path, JSON.stringify(log));
    const evidence = await attest();
    expect(evidence.eventLog.length).to.equal(1);
    expect((await verify(evidence)).ok).to.equal(true);
  });

  it("refuses to go on when something else used its register", async () => {
    await attest();
    await run("tpm2_pcrextend", [`14:sha256=${"ab".repeat(32)}`], {
      env: { ...process.env, TPM2TOOLS_TCTI: node.tpm.tcti },
    });
    expect(await codeOf(attest())).to.equal("TPM_LOG_DIVERGED");
  });

  it("refuses to go on when its log was lost", async () => {
    await attest();
    await rm(join(node.config.stateDir, "event-log.json"));
    expect(await codeOf(attest())).to.equal("TPM_LOG_DIVERGED");
  });

  it("refuses when the key at its handle is not its own", async () => {
    await writeFile(join(node.config.stateDir, "ak-public.tpm"), "another key");
    expect(await codeOf(attest())).to.equal("TPM_HANDLE_TAKEN");
  });

  it("measures nothing when probed, and says what it found", async () => {
    const { available, detail, type } = await probeAttester(node.config, { log: silent });
    expect({ available, type }).to.deep.equal({ available: true, type: "tpm2" });
    expect(detail).to.match(/^A software TPM at swtpm:path=.* signs quotes; enrolled until 20/);
    expect((await attest()).eventLog.length).to.equal(1);
  });

  it("is not available once the endorsement has expired", async () => {
    const clock = () => new Date((node.endorsement.notAfter + 1) * 1000);
    const probe = await probeAttester(node.config, { log: silent, clock });
    expect(probe.available).to.equal(false);
    expect(probe.detail).to.match(/not valid now/);
  });

  it("is not available when no TPM answers, and says how to look", async () => {
    await node.tpm.stop();
    const probe = await probeAttester(node.config, { log: silent });
    expect(probe).to.include({ available: false });
    expect(probe.hint).to.match(/Check that a TPM 2.0 answers at swtpm:path=/);
  });

  it("stops when its caller aborts", async () => {
    const reason = new Error("no longer wanted");
    const attempt = node.attester.attest({
      reportData: REPORT,
      imageDigest: IMAGE,
      phase: "start",
      signal: AbortSignal.abort(reason),
    });
    expect(await attempt.catch((error: unknown) => error)).to.equal(reason);
  });
});

describe("two TPMs at once", () => {
  it("have their own keys and CAs and leave no process or socket behind", async () => {
    const nodes = await Promise.all([enrolledNode(), enrolledNode()]);
    try {
      const [a, b] = nodes;
      const quotes = await Promise.all(
        nodes.map(({ attester }) => attester.attest({ reportData: REPORT, imageDigest: IMAGE, phase: "start" })),
      );
      for (const [i, node] of nodes.entries())
        expect((await verifyEvidence(quotes[i], node.context)).ok).to.equal(true);
      expect((await verifyEvidence(quotes[0], b.context)).kind).to.equal("untrusted-tpm");
      expect(a.endorsement.akName).to.not.equal(b.endorsement.akName);
      expect(a.tpm.ekCaCerts[0]).to.not.equal(b.tpm.ekCaCerts[0]);
    } finally {
      await Promise.all(nodes.map((node) => node.cleanUp()));
    }
    for (const { tpm } of nodes) expect(() => process.kill(tpm.pid, 0)).to.throw(/ESRCH/);
  });
});

describe("a TPM that nobody enrolled", () => {
  it("is not available and says what to do", async () => {
    const { dir, tpm, config } = await freshTpm();
    try {
      const probe = await probeAttester(config, { log: silent });
      expect(probe.available).to.equal(false);
      expect(probe.hint).to.match(/authority/);
      const attempt = createAttester(config, { log: silent }).attest({
        reportData: REPORT,
        imageDigest: IMAGE,
        phase: "start",
      });
      expect(await codeOf(attempt)).to.equal("TPM_NOT_ENROLLED");
    } finally {
      await tpm.stop();
      await rm(dir, { recursive: true });
    }
  });
});

async function codeOf(attempt: Promise<unknown>): Promise<string | undefined> {
  const error = await attempt.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  return error instanceof MarketError ? error.code : String(error);
}
