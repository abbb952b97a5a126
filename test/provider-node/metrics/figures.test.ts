import { type OutboxEntry, type OutboxState, sqliteOutboxStore } from "@berth/chain";
import { type JobId, type Request, termsOf } from "@berth/protocol";
import { expect } from "chai";
import { createFigures } from "../../../provider-node/src/metrics/figures.ts";
import { createDecisions } from "../../../provider-node/src/store/decisions.ts";
import { createJournal, insertJob } from "../../../provider-node/src/store/journal.ts";
import { type Database, openDatabase } from "../../../provider-node/src/store/open.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;

describe("createFigures", () => {
  let database: Database;
  beforeEach(() => {
    database = openDatabase(":memory:");
  });
  afterEach(() => database.close());

  function addJob(number: number, request: Partial<Request>, events: string[]): JobId {
    const nonce = `0x${String(number).padStart(64, "0")}` as const;
    const terms = termsOf(domain, aRequest({ ...request, nonce }), anOffer(), 0);
    const jobId = terms.job.jobId as JobId;
    insertJob(database.db, { jobId, replica: 0, terms, matchedAt: 1 });
    for (const [i, kind] of events.entries())
      database.db.prepare("INSERT INTO replica_events VALUES (?, ?, ?, 0, ?)").run(number, i, jobId, kind);
    return jobId;
  }

  it("counts the newest attempts, and what active replicas have reserved", () => {
    sqliteOutboxStore(database.db);
    const resources = { cpuMilli: 500, memoryMiB: 64, diskMiB: 16 };
    const first = addJob(1, resources, ["active"]);
    const second = addJob(2, resources, ["active"]);
    addJob(3, resources, ["active", "settled"]);
    addJob(4, resources, []);
    const journal = createJournal(database);
    journal.begin({ jobId: first, replica: 0, attempt: 0 }, { state: "retried" }, 1);
    journal.begin({ jobId: first, replica: 0, attempt: 1 }, { state: "running" }, 2);
    journal.begin({ jobId: second, replica: 0, attempt: 0 }, { state: "collected", outcome: "exited" }, 1);
    const { jobs, reserved } = createFigures(database).read();
    expect(jobs.map((row) => ({ ...row }))).to.have.deep.members([
      { state: "running", outcome: "", count: 1 },
      { state: "collected", outcome: "exited", count: 1 },
    ]);
    expect({ ...reserved }).to.deep.equal({ cpuMilli: 1000, memoryMiB: 128, diskMiB: 32, jobs: 2 });
  });

  it("sums up transactions, whatever the order in which they end", () => {
    const store = sqliteOutboxStore(database.db);
    const figures = createFigures(database);
    expect(figures.read()).to.deep.include({ transactions: [], gasWei: 0n, oldestTransactionAtMs: null });
    const put = (key: string, state: OutboxState, createdAtMs: number) => {
      const entry = anEntry(key, state, createdAtMs);
      store.insertIfAbsent(entry);
      store.update(entry);
    };
    const states = () => Object.fromEntries(figures.read().transactions.map(({ state, count }) => [state, count]));
    put("a", "sent", 1000);
    put("b", "final", 2000);
    put("c", "queued", 3000);
    expect(states()).to.deep.equal({ sent: 1, final: 1, queued: 1 });
    expect(figures.read()).to.deep.include({ gasWei: 10n ** 18n + 1n, oldestTransactionAtMs: 1000 });
    put("a", "final", 1000);
    expect(states()).to.deep.equal({ final: 2, queued: 1 });
    expect(states()).to.deep.equal({ final: 2, queued: 1 });
    put("c", "reverted", 3000);
    put("d", "final", 4000);
    expect(states()).to.deep.equal({ final: 3, reverted: 1 });
    expect(figures.read()).to.deep.include({ gasWei: 3n * (10n ** 18n + 1n), oldestTransactionAtMs: null });
  });

  it("tells decisions once", () => {
    sqliteOutboxStore(database.db);
    const decisions = createDecisions(database);
    const about = { at: 1, replica: null, what: "posted", requester: domain.market, text: "", values: {} } as const;
    const record = (number: number, code: string) =>
      decisions.record({ ...about, jobId: `0x${String(number).padStart(64, "0")}` as JobId, code });
    record(1, "BEFORE");
    const figures = createFigures(database);
    expect(figures.newDecisions()).to.deep.equal([]);
    record(2, "PRICE");
    record(3, "PRICE");
    record(4, "DENIED");
    expect(figures.newDecisions()).to.have.deep.members([
      { what: "posted", code: "PRICE", count: 2 },
      { what: "posted", code: "DENIED", count: 1 },
    ]);
    expect(figures.newDecisions()).to.deep.equal([]);
  });
});

function anEntry(key: string, state: OutboxState, createdAtMs: number): OutboxEntry {
  const isMined = state === "mined" || state === "final";
  const hash = `0x${"a".repeat(64)}` as const;
  return {
    ...{ key, chainId: 1, from: domain.market, to: domain.market, data: "0x", value: 0n, gasLimit: null, state },
    ...{ nonce: null, attempts: [], error: null, createdAtMs, signedAtMs: null },
    mined: isMined ? { hash, blockNumber: 1, blockHash: hash, success: true } : null,
    // More than a floating-point number can tell apart, once summed.
    gasCost: isMined ? 10n ** 18n + 1n : 5n,
  };
}
