import { type JobId, jobMarketAbi, MarketError, MODE, type Request, termsOf } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { decodeFunctionData, type Hex } from "viem";
import type { JobTools } from "../../../provider-node/src/core/ports.ts";
import { createRunner } from "../../../provider-node/src/jobs/runner.ts";
import { type Change, createJournal, insertJob, type Journal } from "../../../provider-node/src/store/journal.ts";
import { openDatabase } from "../../../provider-node/src/store/open.ts";
import { anOffer, aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const MATCHED_AT = 1000;

describe("the runner, with a lease that nobody offered", () => {
  let stop: AbortController;
  beforeEach(() => {
    stop = new AbortController();
  });

  /** A node that was matched to a lease and looks at it at `now`, until it has done what `until` waits for. */
  async function run(now: number, until: "enqueued" | "cleaned"): Promise<{ state: string; calls: Hex[] }> {
    const lease: Partial<Request> = { mode: MODE.lease, heartbeatSeconds: 60, submitWindow: 0, challengeWindow: 0 };
    const terms = termsOf(domain, aRequest(lease), anOffer(), 0);
    const id = { jobId: terms.job.jobId as JobId, replica: 0 };
    const database = openDatabase(":memory:");
    insertJob(database.db, { ...id, terms, matchedAt: MATCHED_AT });
    database.db.prepare("INSERT INTO blocks VALUES (1, '0x01', ?)").run(now);
    database.db.prepare("INSERT INTO replica_events VALUES (1, 0, ?, 0, 'active')").run(id.jobId);
    const journal = createJournal(database);
    journal.begin({ ...id, attempt: 0 }, { state: "matched" }, MATCHED_AT);

    const calls: Hex[] = [];
    const done = Promise.withResolvers<void>();
    const watched: Journal = {
      ...journal,
      change(row, change, at) {
        if (change.state === until) done.resolve();
        return journal.change(row, change, at);
      },
    };
    const outbox = {
      get: async () => (calls.length === 0 ? undefined : { state: "sent", createdAtMs: Date.now() }),
      enqueue: async ({ data }: { data: Hex }) => {
        calls.push(data);
        if (until === "enqueued") done.resolve();
      },
    };
    const machine = { engine: { cleanup: async () => {} } };
    const about = { self: { runId: "test" }, deployment: domain, stagingDir: "/nowhere", now: () => now };
    const tools = { ...about, database, journal: watched, outbox, machine } as unknown as JobTools;
    const runner = createRunner(tools, { signal: stop.signal, log: pino({ level: "silent" }) });
    runner.poke();
    await done.promise;
    stop.abort();
    await runner.idle();
    const state = String(journal.attempt(id.jobId, 0)?.state);
    database.close();
    return { state, calls };
  }

  it("gives it back", async () => {
    const { state, calls } = await run(MATCHED_AT + 30, "enqueued");
    expect(state).to.equal("declined");
    const [data] = calls;
    expect(calls).to.have.length(1);
    expect(decodeFunctionData({ abi: jobMarketAbi, data: data ?? "0x" }).functionName).to.equal("decline");
  });

  it("does nothing for it when that is too late", async () => {
    expect(await run(MATCHED_AT + 31, "cleaned")).to.deep.equal({ state: "cleaned", calls: [] });
  });
});

describe("the runner, with a container that does not start", () => {
  const startBy = MATCHED_AT + 60;

  /** What becomes of a run of which every start fails with `error`; the clock moves on by 10 s at each. */
  async function run(error: Error): Promise<{ starts: number; unserved?: true } & Pick<Change, "outcome" | "message">> {
    const stop = new AbortController();
    const terms = termsOf(domain, aRequest({ submitWindow: 400 }), anOffer(), 0);
    const id = { jobId: terms.job.jobId as JobId, replica: 0 };
    const database = openDatabase(":memory:");
    insertJob(database.db, { ...id, terms, matchedAt: MATCHED_AT });
    database.db.prepare("INSERT INTO replica_events VALUES (1, 0, ?, 0, 'active')").run(id.jobId);
    const journal = createJournal(database);
    const spec = aSpec({ timeouts: { ...aSpec({}).timeouts, startSeconds: startBy - MATCHED_AT } });
    journal.begin({ ...id, attempt: 0 }, { state: "running", facts: { spec } }, MATCHED_AT);

    const done = Promise.withResolvers<Change>();
    const watched: Journal = {
      ...journal,
      change(row, change, at) {
        if (change.state !== "collected") return journal.change(row, change, at);
        stop.abort();
        done.resolve(change);
        return journal.change(row, change, at);
      },
    };
    let starts = 0;
    const engine = {
      inspect: async () => ({ phase: "created" }),
      start: async () => {
        starts += 1;
        runner.poke(); // it need not wait for the next try
        throw error;
      },
    };
    const now = () => MATCHED_AT + 10 * starts;
    const about = { self: { runId: "test" }, deployment: domain, stagingDir: "/nowhere", now };
    const outbox = { get: async () => undefined };
    const tools = { ...about, database, journal: watched, outbox, machine: { engine } } as unknown as JobTools;
    const runner = createRunner(tools, { signal: stop.signal, log: pino({ level: "silent" }) });
    runner.poke();
    const { outcome, message, facts } = await done.promise;
    await runner.idle();
    database.close();
    const what = { ...(outcome && { outcome }), ...(message !== undefined && { message }) };
    return { starts, ...what, ...(facts?.unserved && { unserved: true }) };
  }

  it("tries again for as long as the job may start, and blames itself then, with no word of its own machine", async () => {
    const full = "Starting the container failed: Error: write /var/lib/berth/x: no space left on device.";
    for (const code of ["ENGINE_FAILED", "ENGINE_CREATE_FAILED"]) {
      expect(await run(new MarketError(code, full, { retryable: true }))).to.deep.equal({
        starts: 7, // the last at 60 s
        outcome: "cancelled",
        message: `The job could not be started within its startSeconds (${code}).`,
      });
    }
    expect((await run(new Error("EMFILE"))).message).to.match(/\(INTERNAL\)\.$/);
  });

  it("ends it at once where gVisor hung, for what it began was killed, and asks for nothing", async () => {
    const error = new MarketError("ENGINE_START_OVERDUE", "gVisor did not start the job within 60 s.");
    const { starts, outcome, message, unserved } = await run(error);
    expect({ starts, outcome, unserved }).to.deep.equal({ starts: 1, outcome: "cancelled", unserved: true });
    expect(message).to.equal("This node offered gVisor, and it did not start the job.");
  });

  it("says at once that the spec is the reason where no node could start it", async () => {
    const error = new MarketError("ENGINE_FAILED", 'Starting the attempt failed: the image has no folder "/no".');
    const { starts, outcome, message } = await run(error);
    expect({ starts, outcome }).to.deep.equal({ starts: 1, outcome: "spec-invalid" });
    expect(message).to.match(/\(WORKDIR_MISSING\)\.$/);
  });
});
