import { type OutboxEntry, type OutboxState, sqliteOutboxStore } from "@berth/chain";
import { type Address, type Hex, type JobId, termsOf } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import type { Intent, ReplicaEvent } from "../../../provider-node/src/chain/intents.ts";
import { type AttemptState, attemptStates, endStates } from "../../../provider-node/src/core/states.ts";
import { createFigures } from "../../../provider-node/src/metrics/figures.ts";
import { type ChainStore, createChainStore } from "../../../provider-node/src/store/chain-store.ts";
import { createJournal, type Journal } from "../../../provider-node/src/store/journal.ts";
import { type Database, openDatabase } from "../../../provider-node/src/store/open.ts";
import { keptSince, pruneJournal } from "../../../provider-node/src/store/prune.ts";
import { settlementStore } from "../../../provider-node/src/store/settlements.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const word = (number: number): Hex => `0x${number.toString(16).padStart(64, "0")}`;
const DAY = 86_400;
/** Unix seconds of block 0; block `n` comes `n` hours later. */
const START = 1_700_000_000;
const hoursOf = (days: number) => days * 24;

interface Market {
  database: Database;
  journal: Journal;
  chain: ChainStore;
  /** One block at this height with what it means. */
  block(number: number, ...intents: Intent[]): void;
  /** As many blocks as the journal remembers, the last of them at this height. */
  pass(last: number): void;
  rollback(to: number): void;
  /** A transaction with this key. */
  send(key: string, state: OutboxState, atBlock: number): void;
  prune(days?: number): ReturnType<typeof pruneJournal>;
  rows(table: string): number;
}

function aMarket(): Market {
  const database = openDatabase(":memory:");
  const store = sqliteOutboxStore(database.db);
  const journal = createJournal(database);
  let next: Intent[] = [];
  const now = () => START;
  const chain = createChainStore({ database, journal, intentsOf: () => next.splice(0), now });
  const block = (number: number, ...intents: Intent[]) => {
    next = intents;
    const timestamp = START + 3600 * number;
    const one = { number, hash: word(number), parentHash: word(number - 1), timestamp, logs: [] };
    void chain.apply({ type: "blocks", blocks: [one], head: number, safe: number });
  };
  return {
    database,
    journal,
    chain,
    block,
    pass(last) {
      const first = Math.max(last - 255, (chain.tip()?.number ?? 0) + 1);
      for (let number = first; number <= last; number++) block(number);
    },
    rollback: (to) => void chain.apply({ type: "rollback", to: { number: to, hash: word(to) } }),
    send(key, state, atBlock) {
      const atMs = (START + 3600 * atBlock) * 1000;
      store.insertIfAbsent(aTransaction(key, state, atMs));
    },
    prune: (days = 90) => pruneJournal(database, days, new AbortController().signal),
    rows: (table) => Number(database.db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]),
  };
}

function aTransaction(key: string, state: OutboxState, atMs: number): OutboxEntry {
  return {
    ...{ key, chainId: 1, from: domain.market, to: domain.market, data: "0x", value: 0n, gasLimit: null, state },
    ...{ nonce: null, attempts: [], mined: null, error: null, gasCost: 7n, createdAtMs: atMs, signedAtMs: atMs },
    ...(state === "final" && { mined: { hash: word(1), blockNumber: 1, blockHash: word(1), success: true } }),
  };
}

/** A job of its own for each number, matched in a block. */
function matched(number: number, block: number): Intent & { kind: "matched" } {
  const terms = termsOf(domain, aRequest({ nonce: word(number) }), anOffer(), 0);
  const { jobId } = terms.job;
  return { at: 0, kind: "matched", job: { jobId, replica: 0, terms, matchedAt: START + 3600 * block } };
}

/** Jobs of blocks 1 to 4, served, settled and cleaned, with all that they leave behind. */
function serve(market: Market, count: number): JobId[] {
  const { journal, block, send, database } = market;
  const matches = Array.from({ length: count }, (_, at) => ({ ...matched(at, 1), at }));
  const ids = matches.map(({ job }) => job.jobId);
  block(1, ...matches);
  block(2, ...ids.map((jobId, at): Intent => ({ at, kind: "submitted", jobId, replica: 0 })));
  block(4, ...ids.map((jobId, at): Intent => ({ at, kind: "settled", jobId, replica: 0 })));
  for (const jobId of ids) {
    const attempt = journal.attempt(jobId, 0);
    if (attempt === undefined) throw new Error("no attempt");
    const keptUntil = START + 30 * DAY;
    journal.keep(attempt, [{ cid: `cid${jobId}`, kind: "result", bytes: 1, keptUntil }]);
    journal.change(attempt, { state: "cleaned" }, START + 3600 * 3);
    send(`accept:${jobId}`, "final", 1);
    send(`submit:${jobId}:0:0:0`, "final", 2);
    send(settlementStore(database).begin([{ jobId, replica: 0 }]), "final", 3);
  }
  return ids;
}

const tablesOfJobs = ["jobs", "attempts", "history", "artifacts", "replica_events", "settlements", "outbox"];

describe("pruneJournal", () => {
  it("forgets all of a job that has been over for longer than is kept, and says since when it does", async () => {
    const market = aMarket();
    const [jobId = word(0) as JobId] = serve(market, 1);
    market.pass(hoursOf(90));
    expect((await market.prune()).jobs, "a day too early").to.equal(0);
    expect(keptSince(market.database)).to.equal(undefined);
    market.pass(hoursOf(91));
    expect(await market.prune()).to.deep.include({ jobs: 1, transactions: 3 });
    for (const table of tablesOfJobs) expect(market.rows(table), table).to.equal(0);
    expect(market.journal.job(jobId, 0)).to.equal(undefined);
    expect(keptSince(market.database)).to.equal(START + DAY);
  });

  it("gives no batch of settlements a number that was used before", async () => {
    const market = aMarket();
    const [first = word(0) as JobId] = serve(market, 2);
    market.pass(hoursOf(100));
    await market.prune();
    expect(["outbox", "settlements"].map(market.rows)).to.deep.equal([0, 0]);
    expect(settlementStore(market.database).begin([{ jobId: first, replica: 0 }])).to.equal("finalize:3");
  });

  it("sums up transactions as if all were still there", async () => {
    const market = aMarket();
    const figures = createFigures(market.database);
    market.send("register", "final", 1);
    serve(market, 2);
    market.send("decline:other", "sent", 2);
    const before = figures.read();
    market.pass(hoursOf(100));
    await market.prune();
    expect(market.rows("outbox"), "what is no job's, and what is open").to.equal(2);
    for (const reader of [figures, createFigures(market.database)]) {
      const { transactions, gasWei, oldestTransactionAtMs } = reader.read();
      expect({ transactions, gasWei, oldestTransactionAtMs }).to.deep.equal({
        ...{ transactions: before.transactions, gasWei: before.gasWei },
        oldestTransactionAtMs: before.oldestTransactionAtMs,
      });
    }
  });

  it("forgets many in steps, and stops between them when the node does", async () => {
    const market = aMarket();
    serve(market, 250);
    market.pass(hoursOf(100));
    const stopped = new AbortController();
    const pruning = pruneJournal(market.database, 90, stopped.signal);
    stopped.abort();
    expect((await pruning).jobs).to.equal(100);
    expect((await market.prune()).jobs).to.equal(150);
  });

  it("forgets posted requests that are closed or over, and publications that others replaced, once no rollback can reach them", async () => {
    const market = aMarket();
    const { block, chain, rollback } = market;
    const operator: Address = `0x${"a".repeat(40)}`;
    const posted = (at: number, openUntil: number): Intent => {
      return { at, kind: "posted", jobId: word(at) as JobId, request: aRequest({ openUntil }) };
    };
    const node = (at: number, index: number, keyVersion: number | null): Intent => {
      const plain = { key: operator, wgKey: word(1), prefix: "5", validTo: 9, wgEndpoint: "", contentUrl: "" };
      const published = keyVersion === null ? null : { operator, index, keyVersion, ...plain };
      return { at, kind: "node", operator, index, node: published };
    };
    const url = (at: number, identity: Address, validTo: number): Intent => {
      return { at, kind: "content-url", identity, url: `http://${at}`, validTo };
    };
    const far = START + 400 * DAY;
    const [first, second] = [`0x${"b".repeat(40)}`, `0x${"c".repeat(40)}`] as const;
    block(1, posted(0, far), posted(1, far), posted(2, START + DAY), node(3, 1, 1), node(4, 2, 1), url(5, first, far));
    block(2, node(1, 1, 2), node(2, 2, 2), url(3, first, far), url(4, second, far), url(5, second, START + DAY));
    block(3, { at: 0, kind: "closed", jobId: word(1) as JobId }, node(1, 2, null));
    const seen = () => [
      chain.postedRequests({ openSince: START + 2 * DAY }),
      chain.nodes(),
      chain.contentUrl(first, far),
    ];
    const before = seen();
    market.pass(258);
    expect(await market.prune(), "block 3 can still be taken back").to.deep.include({ requests: 1, publications: 5 });
    rollback(257);
    market.pass(400);
    expect(await market.prune()).to.deep.include({ requests: 1, publications: 2 });
    expect(["request_events", "nodes", "content_urls"].map(market.rows)).to.deep.equal([1, 1, 1]);
    expect(seen()).to.deep.equal(before);
    expect((before[1] as unknown[]).length).to.equal(1);
  });

  it("never forgets what is open, can be taken back, or is kept for somebody", async () => {
    const last = hoursOf(200);
    const often = <T>(value: T, ...others: T[]) =>
      fc.oneof({ weight: 4, arbitrary: fc.constant(value) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
    const story = fc.record({
      matchedAt: fc.nat(hoursOf(120)),
      events: fc.array(
        fc.record({
          kind: often<ReplicaEvent>("settled", "submitted", "judging", "disputed", "refunded"),
          after: fc.oneof(fc.nat(100), fc.nat(last)),
        }),
        { maxLength: 3 },
      ),
      state: often<AttemptState>("cleaned", ...attemptStates),
      since: fc.nat(hoursOf(120)),
      keptUntil: fc.oneof(fc.nat(last), fc.nat(2 * last)),
      transaction: often<OutboxState | undefined>("final", undefined, "sent", "queued", "mined"),
      settles: fc.boolean(),
    });
    let forgotten = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(story, { minLength: 1, maxLength: 8 }), async (stories) => {
        const market = aMarket();
        const { journal, database } = market;
        const steps = new Map<number, Intent[]>();
        const happens = (block: number, intent: Intent) => {
          const intents = steps.get(block) ?? [];
          steps.set(block, [...intents, { ...intent, at: intents.length }]);
        };
        const jobs = stories.map((each, i) => {
          const match = matched(i, each.matchedAt);
          const { jobId } = match.job;
          happens(each.matchedAt, match);
          let at = each.matchedAt;
          for (const { kind, after } of each.events) {
            at = Math.min(last, at + 1 + after);
            happens(at, { at: 0, kind, jobId, replica: 0 });
          }
          return { ...each, jobId, lastEvent: at };
        });
        for (const number of [...steps.keys()].toSorted((a, b) => a - b))
          market.block(number, ...(steps.get(number) ?? []));
        for (let number = last - 255; number <= last; number++) if (!steps.has(number)) market.block(number);
        for (const { jobId, state, since, keptUntil, transaction, settles, matchedAt } of jobs) {
          const attempt = journal.attempt(jobId, 0);
          if (attempt === undefined) throw new Error("no attempt");
          journal.keep(attempt, [{ cid: jobId, kind: "result", bytes: 1, keptUntil: START + 3600 * keptUntil }]);
          journal.change(attempt, { state }, START + 3600 * since);
          const key = settles ? settlementStore(database).begin([{ jobId, replica: 0 }]) : `submit:${jobId}:0:0:0`;
          if (transaction !== undefined) market.send(key, transaction, matchedAt);
        }
        await market.prune();
        const floor = Number(database.db.prepare("SELECT min(number) AS n FROM blocks").get()?.["n"]);
        const oldest = last - hoursOf(90);
        for (const job of jobs) {
          const view = job.events.at(-1)?.kind;
          // A state that the attempt is in from the start has the time of the match.
          const since = job.state === "matched" ? job.matchedAt : job.since;
          const isNeeded =
            !(view === "settled" || view === "refunded") ||
            !endStates.includes(job.state) ||
            Math.max(job.matchedAt, since) >= oldest ||
            job.lastEvent >= floor ||
            job.keptUntil >= last ||
            (job.transaction !== undefined && job.transaction !== "final");
          expect(journal.job(job.jobId, 0) !== undefined, `${view} ${job.state}`).to.equal(isNeeded);
          expect(journal.attempt(job.jobId, 0) !== undefined).to.equal(isNeeded);
          const sent = database.db.prepare("SELECT 1 FROM outbox WHERE open = 1 AND instr(key, ?)").all(job.jobId);
          if (job.transaction === "sent" && !job.settles) expect(sent).to.have.length(1);
          if (!isNeeded) forgotten += 1;
        }
        database.close();
      }),
      { numRuns: 60 },
    );
    expect(forgotten, "jobs that the stories let the node forget").to.be.greaterThan(0);
  });
});
