import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, openEmbeddedStore } from "@berth/content";
import { canonicalBytes, documentHash, type Hex, type JobId, MarketError, type Spec, termsOf } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { prepareAttempt } from "../../../provider-node/src/jobs/prepare.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const jobId = `0x${"11".repeat(32)}` as JobId;
const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };

describe("prepareAttempt", function () {
  this.timeout(10_000);
  let dir: string;
  let content: ContentStore;
  let server: Server | undefined;
  let prepared: number;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "berth-prepare-"));
    mkdirSync(join(dir, "staging"));
    content = await openEmbeddedStore({ dir: join(dir, "content") });
    prepared = 0;
  });
  afterEach(async () => {
    server?.closeAllConnections();
    server?.close();
    server = undefined;
    await content.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Only what preparing touches. */
  const tools = (change: Partial<JobTools> = {}) =>
    ({
      content,
      self: { runId: "test" },
      stagingDir: join(dir, "staging"),
      maxContentBytes: 2 ** 20,
      minFreeBytes: 0,
      maxOutputFiles: 1000,
      now: () => 1000,
      sourcesOf: async () => [],
      machine: {
        hasImage: async () => true,
        engine: {
          prepare: async () => {
            prepared += 1;
          },
        },
      },
      ...change,
    }) as unknown as JobTools;

  const attempt = { jobId, replica: 0, attempt: 0, facts: {}, state: "fetching" } as unknown as AttemptRow;
  const jobOf = (specHash: Hex, spec?: Spec) => {
    const resources = spec && { ...spec.resources, maxSeconds: spec.timeouts.runSeconds };
    const request = aRequest({ specHash, ...resources, acceptWindow: 1, submitWindow: 400 });
    return { jobId, replica: 0, matchedAt: 1000, terms: termsOf(domain, request, anOffer(), 0) } as unknown as JobRow;
  };
  const prepare = async (change: Partial<Spec>, toolChange: Partial<JobTools> = {}) => {
    const spec = aSpec(change);
    await content.addBytes(canonicalBytes(spec));
    return prepareAttempt(jobOf(documentHash(spec), spec), attempt, tools(toolChange), context);
  };
  const inputs = async (count: number, bytes: number) => {
    const { cid } = await content.addBytes(Buffer.alloc(bytes, "x"));
    return Array.from({ length: count }, (_, at) => ({ cid, path: `/in${at}` }));
  };

  it("gives up by the time to start on a source that sends a byte now and then", async () => {
    let dripped = 0;
    server = createServer((_request, response) => {
      response.writeHead(200, { "Content-Type": "application/vnd.ipld.car" });
      const timer = setInterval(() => {
        response.write(Buffer.from([0x3a]));
        dripped += 1;
      }, 50);
      response.on("close", () => clearInterval(timer));
    });
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const late = { now: () => (dripped < 5 ? 1000 : 1201), sourcesOf: async () => [{ url, publicOnly: false }] };
    const change = await prepareAttempt(jobOf(`0x${"22".repeat(32)}`), attempt, tools(late), context);
    expect(change).to.deep.include({ state: "collected", outcome: "inputs-unavailable" });
    expect(change.message).to.match(/^No source delivered \w+\.$/);
  });

  it("says what was missing before, when the time is over in the middle of another try", async () => {
    const spec = aSpec();
    await content.addBytes(canonicalBytes(spec));
    const missing = new MarketError("CONTENT_UNAVAILABLE", "No source delivered bafkreiabsent.", { retryable: true });
    const over = tools({ now: () => 100_000 });
    const job = jobOf(documentHash(spec), spec);
    const change = await prepareAttempt(job, attempt, over, context, missing);
    expect(change).to.deep.include({ outcome: "inputs-unavailable", message: missing.message });
  });

  it("has one budget for all that a job brings, and leaves nothing of what passed it", async () => {
    expect(await prepare({ inputs: await inputs(3, 300_000) })).to.deep.include({ state: "prepared" });
    const change = await prepare({ inputs: await inputs(4, 300_000) });
    expect(change).to.deep.include({ state: "collected", outcome: "inputs-unavailable" });
    expect(prepared).to.equal(1);
    expect(readdirSync(join(dir, "staging"))).to.deep.equal([]);
  });

  it("counts folders too", async () => {
    const tree = join(dir, "tree");
    for (let at = 0; at < 300; at++) mkdirSync(join(tree, String(at)), { recursive: true });
    writeFileSync(join(tree, "file"), "x");
    const { cid } = await content.addPath(tree);
    const many = (count: number) => Array.from({ length: count }, (_, at) => ({ cid, path: `/in${at}` }));
    expect(await prepare({ inputs: many(3) })).to.deep.include({ state: "prepared" });
    expect(await prepare({ inputs: many(4) })).to.deep.include({ outcome: "inputs-unavailable" });
  });

  it("refuses more output files than this node collects", async () => {
    const outputs = { path: "/out", maxBytes: 1, maxFiles: 1001 };
    expect(await prepare({ outputs })).to.deep.include({ state: "collected", outcome: "spec-invalid" });
  });

  it("refuses to promise evidence that it does not make", async () => {
    const change = await prepare({ attestation: "tpm2" });
    expect(change).to.deep.include({ state: "collected", outcome: "spec-invalid" });
    expect(change.message).to.match(/tpm2 evidence, which this node does not offer; ask for the trait attest-tpm2/);
    const attester = { type: "exec" } as JobTools["attester"];
    expect(await prepare({ attestation: "tpm2" }, { attester })).to.deep.include({ outcome: "spec-invalid" });
    expect(await prepare({ attestation: "exec" }, { attester })).to.deep.include({ state: "prepared" });
  });

  it("fetches nothing while the disk is nearly full, and does not blame the requester", async () => {
    const error = await prepare({}, { minFreeBytes: Number.MAX_SAFE_INTEGER }).catch((thrown: unknown) => thrown);
    expect(error).to.deep.include({ code: "DISK_LOW", retryable: true });
  });
});
