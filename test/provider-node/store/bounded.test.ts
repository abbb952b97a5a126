import { DatabaseSync } from "node:sqlite";
import { sqliteOutboxStore } from "@berth/chain";
import { type Hex, type JobId, orderToJson, termsOf } from "@berth/protocol";
import { expect } from "chai";
import { createFigures } from "../../../provider-node/src/metrics/figures.ts";
import { createChainStore } from "../../../provider-node/src/store/chain-store.ts";
import { createJournal, insertJob } from "../../../provider-node/src/store/journal.ts";
import { migrate } from "../../../provider-node/src/store/migrations.ts";
import { type Database, openDatabase } from "../../../provider-node/src/store/open.ts";
import { settlementStore } from "../../../provider-node/src/store/settlements.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const word = (number: number): Hex => `0x${number.toString(16).padStart(64, "0")}`;
const terms = termsOf(domain, aRequest(), anOffer(), 0);
const request = JSON.stringify(orderToJson(aRequest()));

/** Rows of every statement that SQLite would have to look at one by one, in place of finding them by an index. */
function scansOf(database: Database, work: () => unknown): string[] {
  const { db } = database;
  const texts = new Set<string>();
  const prepare = db.prepare.bind(db);
  db.prepare = (sql) => {
    texts.add(sql);
    return prepare(sql);
  };
  work();
  db.prepare = prepare;
  return [...texts].flatMap((sql) =>
    prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all(...Array.from({ length: sql.split("?").length - 1 }, () => null))
      .map((row) => String(row["detail"]))
      .filter((detail) => detail.startsWith("SCAN"))
      .map((detail) => `${detail}: ${sql.replace(/\s+/g, " ")}`),
  );
}

describe("the journal of a node with a long past", () => {
  let database: Database;
  beforeEach(() => {
    database = openDatabase(":memory:");
    sqliteOutboxStore(database.db);
  });
  afterEach(() => database.close());

  it("is not searched row by row for what is looked at with every block", () => {
    const scans = scansOf(database, () => {
      const journal = createJournal(database);
      const chain = createChainStore({ database, journal, intentsOf: () => [], now: () => 0 });
      journal.open();
      journal.jobsIn("active");
      journal.replicasIn("submitted", "judging", "disputed");
      chain.postedRequests({ limit: 10 });
      chain.isPosted(word(1) as JobId);
      void chain.apply({ type: "rollback", to: { number: 0, hash: word(0) } });
    });
    /** What only stands for a list in the statement, or is read in the order of an index and no further than to the limit. */
    const isBounded = (scan: string) =>
      /^SCAN json_each/.test(scan) ||
      /^SCAN blocks.*LIMIT/.test(scan) ||
      /^SCAN \w+ USING (COVERING )?INDEX (attempts_open|requests_open)\b/.test(scan) ||
      // For the commands, and read anew only after a change of the registry.
      /count\(\*\)|FROM nodes n/.test(scan);
    expect(scans.filter((scan) => !isBounded(scan))).to.deep.equal([]);
    expect(scans.some((scan) => scan.includes("attempts_open"))).to.equal(true);
  });

  it("gives what is open without a look into what is over", () => {
    const { db } = database;
    const journal = createJournal(database);
    const chain = createChainStore({ database, journal, intentsOf: () => [], now: () => 0 });
    const PAST = 10_000;
    db.exec("BEGIN");
    const settled = db.prepare("INSERT INTO replica_events VALUES (?, 0, ?, 0, 'settled')");
    const attempt = db.prepare(
      "INSERT INTO attempts (job_id, replica, attempt, state, since, outcome) VALUES (?, 0, 0, 'cleaned', 1, 'exited')",
    );
    const posted = db.prepare(
      "INSERT INTO request_events (block, log_index, job_id, kind, request, closed_block) VALUES (?, 1, ?, 'posted', ?, ?)",
    );
    // Bytes that no reader could parse: whoever looks at the past fails.
    const job = db.prepare("INSERT INTO jobs (job_id, replica, terms, matched_at) VALUES (?, 0, 'past', 1)");
    for (let i = 0; i < PAST; i++) {
      job.run(word(i));
      settled.run(i, word(i));
      attempt.run(word(i));
      posted.run(i, word(i), "{}", i + 1);
    }
    insertJob(db, { jobId: terms.job.jobId, replica: 0, terms, matchedAt: 2 });
    db.prepare("INSERT INTO replica_events VALUES (?, 0, ?, 0, 'active')").run(PAST, terms.job.jobId);
    posted.run(PAST, word(PAST), request, null);
    db.exec("COMMIT");
    journal.begin({ jobId: terms.job.jobId, replica: 0, attempt: 0 }, { state: "running" }, 3);
    expect(journal.open().map(({ state }) => state)).to.deep.equal(["running"]);
    expect(journal.jobsIn("active").map(({ jobId }) => jobId)).to.deep.equal([terms.job.jobId]);
    expect(journal.replicasIn("active", "submitted")).to.have.length(1);
    expect(chain.postedRequests().map(({ jobId }) => jobId)).to.deep.equal([word(PAST)]);
    const { jobs, reserved } = createFigures(database).read();
    expect(jobs.map((row) => ({ ...row }))).to.have.deep.members([
      { state: "cleaned", outcome: "exited", count: PAST },
      { state: "running", outcome: "", count: 1 },
    ]);
    expect(reserved.jobs).to.equal(1);
  });

  it("knows what is open in the journal of an older version too", () => {
    const old = new DatabaseSync(":memory:");
    migrate(old, 3);
    const job = old.prepare("INSERT INTO jobs VALUES (?, 0, '{}', 1, NULL)");
    const event = old.prepare("INSERT INTO replica_events VALUES (?, 0, ?, 0, ?)");
    const requested = old.prepare("INSERT INTO request_events VALUES (?, 1, ?, ?, ?)");
    for (const i of [1, 2, 3]) job.run(word(i));
    event.run(1, word(1), "active");
    event.run(2, word(2), "active");
    event.run(3, word(2), "settled");
    requested.run(1, word(1), "posted", request);
    requested.run(2, word(2), "posted", request);
    requested.run(4, word(2), "closed", null);
    old.prepare("INSERT INTO settlements VALUES (?, 0, 7)").run(word(2));
    migrate(old);
    const upgraded: Database = { db: old, atomically: (work) => work(), close: () => old.close() };
    const views = old.prepare("SELECT chain_view FROM jobs ORDER BY job_id").all();
    expect(views.map((row) => row["chain_view"])).to.deep.equal(["active", "settled", null]);
    const journal = createJournal(upgraded);
    const chain = createChainStore({ database: upgraded, journal, intentsOf: () => [], now: () => 0 });
    expect(chain.postedRequests().map(({ jobId }) => jobId)).to.deep.equal([word(1)]);
    void chain.apply({ type: "rollback", to: { number: 3, hash: word(3) } });
    expect(chain.postedRequests().map(({ jobId }) => jobId)).to.deep.equal([word(2), word(1)]);
    expect(settlementStore(upgraded).begin([])).to.equal("finalize:8");
    upgraded.close();
  });

  it("reads the registry again only after it changed", () => {
    const journal = createJournal(database);
    const operator = `0x${"a".repeat(40)}` as const;
    const plain = { key: operator, wgKey: word(1), prefix: "5", validTo: 9, wgEndpoint: "", contentUrl: "" };
    const node = { operator, index: 1, keyVersion: 1, ...plain };
    const intents = [{ at: 0, kind: "node", operator, index: 1, node } as const];
    const chain = createChainStore({
      database,
      journal,
      intentsOf: ({ number }) => (number === 2 ? intents : []),
      now: () => 0,
    });
    const block = (number: number) => {
      const one = { number, hash: word(number), parentHash: word(number - 1), timestamp: number, logs: [] };
      void chain.apply({ type: "blocks", blocks: [one], head: number, safe: number });
    };
    block(1);
    const none = chain.nodes();
    block(2);
    const one = chain.nodes();
    expect([none.length, one.length]).to.deep.equal([0, 1]);
    block(3);
    expect(chain.nodes()).to.equal(one);
    void chain.apply({ type: "rollback", to: { number: 1, hash: word(1) } });
    expect(chain.nodes()).to.deep.equal([]);
  });
});
