import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FollowedBlock } from "@berth/chain";
import { type Hex, type JobId, type Terms, termsOf } from "@berth/protocol";
import { expect } from "chai";
import type { Intent } from "../../../provider-node/src/chain/intents.ts";
import { type ChainStore, createChainStore } from "../../../provider-node/src/store/chain-store.ts";
import { createJournal, type Journal } from "../../../provider-node/src/store/journal.ts";
import {
  claimJournal,
  type Database,
  isLocked,
  lockDataFolder,
  openDatabase,
} from "../../../provider-node/src/store/open.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const domain = { chainId: 31337, market: `0x${"d".repeat(40)}` } as const;
const terms = termsOf(domain, aRequest({ bond: 10n ** 20n, heartbeatSeconds: 7 }), anOffer(), 0);
const jobId: JobId = terms.job.jobId;
const hashOf = (number: number, fork = 0): Hex => `0x${(number * 10 + fork).toString(16).padStart(64, "0")}`;

interface Fixture {
  database: Database;
  journal: Journal;
  chain: ChainStore;
  /** Applies one block with what it means. */
  block(number: number, intents: readonly Intent[], fork?: number): void;
  /** @param now the chain's time when it is noticed */
  rollback(to: number, now?: number): void;
}

function freshJournal(path = ":memory:"): Fixture {
  const database = openDatabase(path);
  const journal = createJournal(database);
  let next: readonly Intent[] = [];
  let time = 0;
  const chain = createChainStore({ database, journal, intentsOf: () => [...next], now: () => time });
  return {
    database,
    journal,
    chain,
    block(number, intents, fork = 0) {
      next = intents;
      const ref = {
        number,
        hash: hashOf(number, fork),
        parentHash: hashOf(number - 1, fork),
        timestamp: 1000 + number,
      };
      const block: FollowedBlock = { ...ref, logs: [] };
      void chain.apply({ type: "blocks", blocks: [block], head: number, safe: number });
    },
    rollback(to, now = 1100) {
      time = now;
      void chain.apply({ type: "rollback", to: { number: to, hash: hashOf(to) } });
    },
  };
}

function matched(at = 0, matchedAt = 1005, under: Terms = terms): Intent {
  return { at, kind: "matched", job: { jobId, replica: 0, terms: under, matchedAt } };
}

describe("the journal", () => {
  it("learns a match, and gives back the terms exactly", () => {
    const { journal, block } = freshJournal();
    block(5, [matched()]);
    const job = journal.job(jobId, 0);
    expect(job).to.deep.equal({ jobId, replica: 0, terms, matchedAt: 1005, chain: "active", droppedAt: null });
    expect(journal.open().map(({ state, attempt }) => ({ state, attempt }))).to.deep.equal([
      { state: "matched", attempt: 0 },
    ]);
  });

  it("finds replicas by what the chain says of them now, and none whose match is gone", () => {
    const { journal, block, rollback } = freshJournal();
    const found = (...states: Parameters<typeof journal.jobsIn>) => journal.jobsIn(...states).map(({ chain }) => chain);
    block(5, [matched()]);
    expect(found("active")).to.deep.equal(["active"]);
    expect(found("submitted", "judging", "disputed")).to.deep.equal([]);
    block(6, [{ at: 0, kind: "submitted", jobId, replica: 0 }]);
    expect(found("active")).to.deep.equal([]);
    expect(found("submitted", "judging", "disputed")).to.deep.equal(["submitted"]);
    rollback(4);
    expect(found("active", "submitted")).to.deep.equal([]);
  });

  it("takes the terms of a match that comes back with another offer", () => {
    const { journal, block, rollback } = freshJournal();
    block(4, []);
    block(5, [matched()]);
    rollback(4);
    const other = termsOf(domain, aRequest({ bond: 10n ** 20n }), anOffer({ baseCharge: 9n }), 0);
    block(5, [matched(0, 1005, other)], 1);
    expect(journal.job(jobId, 0)?.terms).to.deep.equal(other);
  });

  it("follows a result that is judged and disputed, back and forth, and ignores what it does not know", () => {
    const { journal, block, rollback } = freshJournal();
    const view = () => journal.job(jobId, 0)?.chain;
    block(5, [matched()]);
    block(6, [{ at: 0, kind: "judging", jobId, replica: 0 }]);
    expect(view()).to.equal("judging");
    block(7, [
      { at: 0, kind: "disputed", jobId, replica: 0 },
      { at: 1, kind: "disputed", jobId, replica: 1 },
    ]);
    expect(view()).to.equal("disputed");
    expect(journal.job(jobId, 1)).to.equal(undefined);
    rollback(6);
    expect(view()).to.equal("judging");
    block(7, [{ at: 0, kind: "settled", jobId, replica: 0 }], 1);
    expect(view()).to.equal("settled");
  });

  it("takes a result that is paid in the transaction that submits it for settled", () => {
    const { journal, block } = freshJournal();
    block(5, [matched()]);
    block(6, [
      { at: 3, kind: "submitted", jobId, replica: 0 },
      { at: 4, kind: "settled", jobId, replica: 0 },
    ]);
    expect(journal.job(jobId, 0)?.chain).to.equal("settled");
  });

  it("undoes what a rolled-back block said, and keeps the work", () => {
    const { journal, block, rollback, chain } = freshJournal();
    block(4, []);
    block(5, [matched()]);
    block(6, [{ at: 0, kind: "submitted", jobId, replica: 0 }]);
    expect(journal.job(jobId, 0)?.chain).to.equal("submitted");

    rollback(5);
    expect(journal.job(jobId, 0)).to.deep.include({ chain: "active", droppedAt: null });
    rollback(4);
    expect(journal.job(jobId, 0)).to.deep.include({ chain: "dropped", droppedAt: 1100 });
    expect(journal.attempt(jobId, 0)?.state).to.equal("matched");
    expect(chain.recentBlocks()).to.deep.equal([{ number: 4, hash: hashOf(4) }]);

    block(5, [matched(0, 1007)], 1);
    expect(journal.job(jobId, 0)).to.deep.include({ chain: "active", droppedAt: null, matchedAt: 1007 });
    expect(journal.attempt(jobId, 0)?.attempt).to.equal(0);
  });

  it("does not run a command again that was given up after it had run, unless it may", () => {
    const { journal, block, rollback } = freshJournal();
    block(4, []);
    block(5, [matched()]);
    const first = journal.attempt(jobId, 0);
    if (first === undefined) throw new Error("no attempt");
    const ran = journal.change(first, { state: "running", facts: { ran: true } }, 1010);
    rollback(4);
    journal.change(ran, { state: "cancelled", message: "gone" }, 1200);
    block(5, [matched()], 1);
    expect(journal.attempt(jobId, 0)).to.deep.include({ attempt: 1, state: "collected", outcome: "cancelled" });
  });

  it("knows the newest publication of each node and who was revoked, through a rollback", () => {
    const { block, rollback, chain } = freshJournal();
    const operator = "0x00000000000000000000000000000000000000aa" as const;
    const key = operator;
    const plain = { wgKey: hashOf(1), prefix: "5", validTo: 9, wgEndpoint: "", contentUrl: "" };
    const node = (keyVersion: number): Intent => ({
      ...{ at: keyVersion, kind: "node", operator, index: 1 },
      node: { operator, index: 1, key, keyVersion, ...plain },
    });
    block(1, [node(1), node(2)]);
    expect(chain.nodes().map(({ keyVersion }) => keyVersion)).to.deep.equal([2]);
    block(2, [{ at: 0, kind: "node", operator, index: 1, node: null }]);
    expect(chain.nodes()).to.deep.equal([]);
    rollback(1);
    expect(chain.nodes().map(({ keyVersion }) => keyVersion)).to.deep.equal([2]);
  });

  it("lists posted requests until somebody takes or cancels them", () => {
    const { block, rollback, chain } = freshJournal();
    block(1, [{ at: 0, kind: "posted", jobId, request: aRequest() }]);
    expect(chain.postedRequests()).to.deep.equal([{ jobId, request: aRequest(), at: [1, 0] }]);
    expect(chain.postedRequests({ openSince: aRequest().openUntil })).to.have.length(1);
    expect(chain.postedRequests({ openSince: aRequest().openUntil + 1 })).to.deep.equal([]);
    expect(chain.isPosted(jobId)).to.equal(true);
    block(2, [{ at: 0, kind: "closed", jobId }]);
    expect(chain.postedRequests()).to.deep.equal([]);
    expect(chain.isPosted(jobId)).to.equal(false);
    rollback(1);
    expect(chain.postedRequests()).to.have.length(1);
  });

  it("believes a content gateway only while its attribute is valid", () => {
    const { block, chain } = freshJournal();
    const identity = "0x00000000000000000000000000000000000000bb" as const;
    block(1, [{ at: 0, kind: "content-url", identity, url: "http://a", validTo: 2000 }]);
    expect(chain.contentUrl(identity, 2000)).to.equal("http://a");
    expect(chain.contentUrl(identity, 2001)).to.equal(undefined);
  });

  it("writes a block's facts and the cursor together or not at all", () => {
    const { journal, block, chain } = freshJournal();
    block(1, []);
    expect(() => block(2, [matched(), matched(0)])).to.throw();
    expect(journal.job(jobId, 0)).to.equal(undefined);
    expect(chain.recentBlocks()).to.deep.equal([{ number: 1, hash: hashOf(1) }]);
  });

  it("moves an attempt only from the state it was read in", () => {
    const { journal, block } = freshJournal();
    block(5, [matched()]);
    const attempt = journal.attempt(jobId, 0);
    if (attempt === undefined) throw new Error("no attempt");
    journal.change(attempt, { state: "fetching" }, 1);
    expect(() => journal.change(attempt, { state: "prepared" }, 1)).to.throw("is no longer matched");
  });
});

describe("the data folder", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "berth-store-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("is used by one process at a time", () => {
    const lock = lockDataFolder(dir);
    expect(isLocked(dir)).to.equal(true);
    expect(() => lockDataFolder(dir))
      .to.throw(`Another berth-node uses ${dir} (process ${process.pid})`)
      .with.property("code", "NODE_RUNNING");
    lock.release();
    expect(isLocked(dir)).to.equal(false);
    lockDataFolder(dir).release();
  });

  it("belongs to one chain, market and node", () => {
    const path = join(dir, "journal.db");
    const mine = { chainId: 31337, genesis: "0x01", market: "0x02", operator: "0x03", index: 0 };
    const first = openDatabase(path);
    claimJournal(first, mine, dir);
    claimJournal(first, mine, dir);
    first.close();
    const again = openDatabase(path);
    expect(() => claimJournal(again, { ...mine, genesis: "0x09" }, dir))
      .to.throw(`${dir} belongs to another run of this chain (its first block): 0x01, not 0x09.`)
      .with.property("code", "DATA_FOLDER_STALE");
    again.close();
  });

  it("keeps everything over a restart", () => {
    const path = join(dir, "journal.db");
    const before = freshJournal(path);
    before.block(5, [matched()]);
    before.database.close();
    const after = freshJournal(path);
    expect(after.chain.tip()).to.deep.equal({ number: 5, hash: hashOf(5), timestamp: 1005 });
    expect(after.journal.open()).to.have.length(1);
    after.database.close();
  });
});
