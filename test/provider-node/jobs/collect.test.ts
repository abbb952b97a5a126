import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, openEmbeddedStore, readTar } from "@berth/content";
import { type JobId, termsOf } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { openSealed } from "../../../client/src/sealed/open.ts";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { collectAttempt } from "../../../provider-node/src/jobs/collect.ts";
import type { AttemptRow, JobRow } from "../../../provider-node/src/store/journal.ts";
import { agePair, bytesOf } from "../../support/age.ts";
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
  const collect = (
    now: () => number,
    add: (signal: AbortSignal) => Promise<void>,
    spec = aSpec({}),
    { since = 1100, ...changes }: { since?: number; [method: string]: unknown } = {},
  ) => {
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
      ...changes,
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
    const job = { jobId, replica: 0, matchedAt: 1000, terms } as unknown as JobRow;
    const attempt = { jobId, replica: 0, attempt: 0, facts: { spec }, state: "exited", since } as unknown as AttemptRow;
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

  describe("of a job whose outputs are encrypted", () => {
    const SECRET = "made by the command";
    const now = () => 1100;
    const add = async () => {};
    const sealedSpec = (recipient: string, limits = {}) =>
      aSpec({ outputs: { ...aSpec({}).outputs, encryptTo: [recipient], ...limits } });
    const everything = (folder: string) =>
      readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) =>
        entry.isFile() ? [readFileSync(join(entry.parentPath, entry.name))] : [],
      );

    it("stores what one identity opens: files, names, what was left out and logs; counts and sizes are of the plain ones", async () => {
      const { identity, recipient } = await agePair();
      symlinkSync("/etc/passwd", join(dir, "out/secret-link"));
      const { facts, outcome } = await collect(now, add, sealedSpec(recipient));
      expect(outcome).to.equal("exited");
      expect(facts?.outputs).to.deep.include({ files: 1, bytes: SECRET.length, skipped: [] });
      expect(facts?.stdout).to.deep.include({ bytes: 6, truncated: false });
      const open = (cid = "") => openSealed(content.read(cid, { maxBytes: 100_000 }), identity, "x");
      const files: string[] = [];
      for await (const { path, content: bytes } of readTar(open(facts?.outputs?.cid)))
        files.push(`${path}: ${await bytesOf(bytes)}`);
      expect(files).to.deep.equal(['skipped.json: ["secret-link: link"]', `outputs/file: ${SECRET}`]);
      expect(String(await bytesOf(open(facts?.stderr?.cid)))).to.equal("hello\n");
    });

    it("has none of it in the clear in the store, nor on its way there", async () => {
      await collect(now, add, sealedSpec((await agePair()).recipient));
      const stored = [...everything(join(dir, "content")), ...everything(join(dir, "staging"))];
      expect(stored.length).to.be.greaterThan(3);
      for (const text of [SECRET, "hello\n", "outputs/file"])
        expect(stored.filter((bytes) => bytes.includes(text))).to.deep.equal([]);
      await collect(now, add);
      expect(everything(join(dir, "content")).some((bytes) => bytes.includes(SECRET))).to.equal(true);
    });

    it("comes to the same after a crash before it was written down", async () => {
      const spec = sealedSpec((await agePair()).recipient);
      const first = await collect(now, add, spec);
      expect((await collect(now, add, spec)).facts).to.deep.include({
        outputs: first.facts?.outputs,
        stdout: first.facts?.stdout,
        stderr: first.facts?.stderr,
      });
    });

    it("is held to the spec's limits before anything is encrypted", async () => {
      const spec = sealedSpec((await agePair()).recipient, { maxBytes: SECRET.length - 1 });
      const change = await collect(now, add, spec);
      expect(change).to.deep.include({ outcome: "output-too-large" });
      expect(change.facts).to.not.have.property("outputs");
    });
  });

  it("leaves out what no result could name or no client could write", async () => {
    let deep = join(dir, "out");
    // Longer than a path may be: made folder by folder, as a job does it.
    const back = process.cwd();
    process.chdir(deep);
    for (let at = 0; at < 20; at++) {
      deep = "\n".repeat(250);
      mkdirSync(deep);
      process.chdir(deep);
    }
    writeFileSync("file", "unreachable");
    process.chdir(back);
    writeFileSync(join(dir, "out/back\\slash"), "x");
    const { outcome, facts } = await collect(
      () => 1100,
      async () => {},
    );
    expect(outcome).to.equal("exited");
    expect(facts?.outputs).to.deep.include({ files: 1 });
    expect(facts?.outputs?.skipped.map((line) => line.replace(/^.*: /s, ""))).to.deep.equal([
      "too deep",
      "name is not portable",
    ]);
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
    // Not the job's doing: nothing is said of the size of what it made.
    expect(change).to.deep.include({ state: "collected", outcome: "lost" });
    expect(change.message).to.equal(
      "The command ended. Its outputs could not be collected before the result was due (OUTPUTS_NOT_COLLECTED).",
    );
    expect(change.facts).to.not.have.property("outputs");
    expect(change.facts?.stdout).to.deep.include({ bytes: 6 });
    expect(readdirSync(join(dir, "staging")).flatMap((name) => readdirSync(join(dir, "staging", name)))).to.deep.equal(
      [],
    );
  });

  describe("on a machine where something fails", () => {
    const fine = async () => {};
    const fails = async () => {
      throw new Error("ENOSPC: no space left on device, write");
    };
    const failure = (now: number, add: typeof fine, changes = {}) =>
      collect(() => now, add, undefined, changes).catch((error: Error) => error.message);

    for (const [what, broken] of [
      ["outputs", [fails]],
      ["usage", [fine, { usage: fails }]],
      ["logs", [fine, { logs: fails }]],
    ] as [string, [typeof fine, object?]][]) {
      it(`tries again to get the ${what} until the result is due`, async () => {
        expect(await failure(1100, ...broken)).to.match(/^ENOSPC/);
        expect(await failure(1370, ...broken)).to.match(/^ENOSPC/);
        expect(await failure(1371, ...broken)).to.have.property("state", "collected");
      });
    }

    it("reports a run whose usage and logs it cannot tell with its outputs, and charges no time", async () => {
      const change = await collect(() => 1371, fine, undefined, { usage: fails, logs: fails });
      expect(change).to.deep.include({ outcome: "exited", message: "" });
      expect(change.facts).to.deep.include({ exitCode: 0 });
      expect(change.facts?.outputs).to.deep.include({ files: 1 });
      for (const left of ["usage", "stdout", "stderr"]) expect(change.facts).to.not.have.property(left);
    });

    it("keeps how a run ended that did not end by itself, and says that the outputs are missing", async () => {
      const inspect = async () => ({ phase: "exited", exitCode: 137, timedOut: true });
      const change = await collect(() => 1371, fails, undefined, { inspect });
      expect(change.outcome).to.equal("timed-out");
      expect(change.message).to.match(/was stopped\. .*OUTPUTS_NOT_COLLECTED/);
    });

    it("tries more than once for a run that ended when its result was due already", async () => {
      const late = (now: number) => failure(now, fails, { since: 1380 });
      expect(await late(1390)).to.match(/^ENOSPC/);
      expect(await late(1391)).to.have.property("outcome", "lost");
    });
  });
});
