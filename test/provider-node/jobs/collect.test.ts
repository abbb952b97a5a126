import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, openEmbeddedStore } from "@berth/content";
import { type JobId, termsOf } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { collectAttempt } from "../../../provider-node/src/jobs/collect.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const jobId = `0x${"11".repeat(32)}` as JobId;
const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const terms = termsOf(domain, aRequest({ submitWindow: 400, arbiterWindow: 77 }), anOffer(), 0);
const context = { signal: new AbortController().signal, log: pino({ level: "silent" }) };

describe("collectAttempt", function () {
  this.timeout(10_000);
  let dir: string;
  let content: ContentStore;
  let pins: number[];
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "berth-collect-"));
    for (const folder of ["out", "staging"]) mkdirSync(join(dir, folder));
    writeFileSync(join(dir, "out/file"), "made by the command");
    writeFileSync(join(dir, "log"), "hello\n");
    pins = [];
    content = await openEmbeddedStore({ dir: join(dir, "content") });
  });
  afterEach(async () => {
    await content.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** The store adds outputs only when `add` lets it. */
  const collect = (now: () => number, add: (signal: AbortSignal) => Promise<void>) => {
    const log = { path: join(dir, "log"), bytes: 6, truncated: false };
    const addPath: ContentStore["addPath"] = async (path, options) => {
      await add(options?.signal ?? context.signal);
      return content.addPath(path, options);
    };
    const pin: ContentStore["pin"] = async (cid, until, options) => {
      pins.push(until);
      return content.pin(cid, until, options);
    };
    const engine = {
      inspect: async () => ({ phase: "exited", exitCode: 0 }),
      usage: async () => ({ wallMs: 1, cpuNs: 1n, peakBytes: 1 }),
      logs: async () => ({ stdout: log, stderr: log }),
      outputDir: async () => join(dir, "out"),
    };
    const tools = {
      content: { addPath, addBytes: content.addBytes.bind(content), pin },
      self: { runId: "test" },
      stagingDir: join(dir, "staging"),
      now,
      machine: { engine },
      database: { atomically: (run: () => unknown) => run() },
      journal: { keep: () => {} },
    } as unknown as JobTools;
    const spec = aSpec({});
    const job = { jobId, replica: 0, matchedAt: 1000, terms } as unknown as JobRow;
    const attempt = { jobId, replica: 0, attempt: 0, facts: { spec }, state: "exited" } as unknown as AttemptRow;
    return collectAttempt(job, attempt, tools, context);
  };

  it("collects outputs and logs", async () => {
    const change = await collect(
      () => 1100,
      async () => {},
    );
    expect(change).to.deep.include({ state: "collected", outcome: "exited" });
    expect(change.facts?.outputs).to.deep.include({ files: 1 });
  });

  it("keeps all of it through every window, from now on, and the spec's retention", async () => {
    await collect(
      () => 1100,
      async () => {},
    );
    const { submitWindow, challengeWindow, arbiterWindow } = terms.job;
    const until = 1100 + submitWindow + challengeWindow + arbiterWindow + aSpec({}).retentionSeconds;
    expect(pins).to.deep.equal([until, until, until]);
    expect([submitWindow, challengeWindow, arbiterWindow, aSpec({}).retentionSeconds]).to.not.include(0);
  });

  it("leaves outputs out that are not collected by the time the result is due, and reports the rest", async () => {
    let now = 1100;
    const change = await collect(
      () => now,
      async (signal) => {
        now = 1371; // 29 s before the submit deadline
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      },
    );
    expect(change).to.deep.include({ state: "collected", outcome: "output-too-large" });
    expect(change.facts).to.not.have.property("outputs");
    expect(change.facts?.stdout).to.deep.include({ bytes: 6 });
    expect(readdirSync(join(dir, "staging")).flatMap((name) => readdirSync(join(dir, "staging", name)))).to.deep.equal(
      [],
    );
  });
});
