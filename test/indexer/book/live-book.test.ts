import { rm } from "node:fs/promises";
import {
  type Address,
  type Deployment,
  jobIdOf,
  operatorTree,
  orderToJson,
  type Request,
  requestTypedData,
} from "@berth/protocol";
import { expect } from "chai";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { createLiveBook, type LiveBook } from "../../../indexer/src/book/live-book.ts";
import { takeRequest } from "../../../indexer/src/book/take-request.ts";
import { DEFAULT_INTAKE } from "../../../indexer/src/intake/limits.ts";
import { type Changes, createWorkingSet } from "../../../indexer/src/project/working-set.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { dropExpired, putRequest, type RequestRow, requests, tries } from "../../../indexer/src/store/orders.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { selectRows, upsertRows } from "../../../indexer/src/store/rows.ts";
import { type JobRow, jobs, projections } from "../../../indexer/src/store/tables.ts";
import { aRequest } from "../../support/orders.ts";
import { newDataFolder } from "../support/data-folder.ts";

const NOW = 1_000_000;
const DAY = 24 * 3600;
const deployment: Deployment = {
  chainId: 1,
  fromBlock: 1,
  identity: account(1),
  staking: account(2),
  market: account(3),
  tokens: [],
};

describe("createLiveBook", () => {
  let folder: string;
  let db: Database;
  let live: LiveBook;
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
  });
  beforeEach(async () => {
    for (const name of ["requests", "tries", "offers", ...Object.keys(projections)])
      await db.query(`DELETE FROM ${name}`);
    live = createLiveBook(db);
    await live.load(NOW);
  });
  after(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("counts each payer's open requests, and those nobody has the money for", async () => {
    const rows = [
      signed(1, { payer: account(10) }),
      signed(2, { payer: account(10) }),
      signed(3, { payer: account(11) }),
    ];
    for (const row of rows) await live.putRequest(row);
    const counts = () => [live.openOf(account(10), NOW), live.openOf(account(11), NOW), live.unfunded()];
    expect(counts()).to.deep.equal([2, 1, 3]);

    await change("balances", { account: account(10), token: aRequest().token, amount: aRequest().maxPrice });
    expect(counts()).to.deep.equal([2, 1, 1]);
    await change("balances", { account: account(10), token: aRequest().token, amount: aRequest().maxPrice - 1n });
    expect(counts()).to.deep.equal([2, 1, 3]);

    await change("jobs", job(rows[0] as RequestRow, "matched"));
    expect(counts()).to.deep.equal([1, 1, 2]);
    live.prune(rows[0]?.openUntil ?? 0);
    expect(counts()).to.deep.equal([1, 1, 2]);
    live.prune((rows[0]?.openUntil ?? 0) + 1);
    expect(counts()).to.deep.equal([0, 0, 0]);
    expect(live.openRequests(0)).to.deep.equal([]);
  });

  it("forgets posted requests that expired, and does not read them again", async () => {
    const soon = signed(1, { openUntil: NOW + 10 });
    const late = signed(2, { openUntil: NOW + 1000 });
    for (const row of [soon, late]) await change("jobs", job(row, "posted"));
    const kept = (book: LiveBook) => book.openRequests(0).map(({ jobId }) => jobId);
    expect(kept(live)).to.have.members([soon.jobId, late.jobId]);
    live.prune(NOW + 11);
    expect(kept(live)).to.deep.equal([late.jobId]);
    expect(live.chainState(soon.jobId)).to.equal(null);

    const again = createLiveBook(db);
    await again.load(NOW + 11);
    expect(kept(again)).to.deep.equal([late.jobId]);
  });

  it("joins a posted request with the list of operators that was handed in, before or after", async () => {
    const listed = [account(20), account(21)];
    const row = signed(1, { operators: operatorTree(listed).root });
    const known = () => live.openRequest(row.jobId, NOW)?.operators;
    await change("jobs", job(row, "posted"));
    expect(known()).to.equal(null);
    await live.putRequest(row);
    expect(known()).to.equal(null);
    live.setOperators(row.jobId, listed);
    expect(known()).to.deep.equal(listed);
  });

  it("counts the requests that can be matched now, each job once", async () => {
    const rows = [signed(1), signed(2, { openUntil: NOW + 10 }), signed(3), signed(4)] as const;
    for (const row of rows.slice(0, 3)) await live.putRequest(row);
    await change("jobs", job(rows[2], "posted"));
    await change("jobs", job(rows[3], "posted"));
    const count = (now: number) => [live.openCount(now), live.openRequests(now).length];
    expect(count(NOW)).to.deep.equal([4, 4]);
    expect(count(NOW + 11)).to.deep.equal([3, 3]);
    await change("jobs", job(rows[0], "cancelled"));
    await change("jobs", job(rows[3], "matched"));
    expect(count(NOW)).to.deep.equal([2, 2]);
  });

  it("follows what operators accept, what they have staked, and whether the market takes jobs", async () => {
    const [operator, token] = [account(30), aRequest().token];
    await change("acceptances", { operator, what: token, accepted: true });
    await change("acceptances", { operator, what: account(31), accepted: true });
    await change("acceptances", { operator, what: account(31), accepted: false });
    await change("stakes", { operator, token, free: 5n, locked: 7n, exiting: 0n, exitReadyAt: 0 });
    await change("markets", { market: deployment.market, guardian: account(9), paused: true });
    for (const book of [live.book, await reloaded()]) {
      expect(book.accepts(operator)).to.deep.equal([token]);
      expect(book.stake(operator, token)).to.deep.include({ free: 5n, locked: 7n });
      expect(book.paused).to.equal(true);
    }
  });

  it("takes no more than a thousand requests without money, from however many payers", async () => {
    for (let i = 0; i < 999; i++) await live.putRequest(signed(i, { payer: account(1000 + i) }));
    await take();
    const refused = await take().catch((error: unknown) => error);
    expect(refused).to.include({
      code: "TOO_MANY_REQUESTS",
      message: "1000 requests here already wait for their payers' money.",
    });
    await take((payer) => live.apply(balanceOf(payer, aRequest().maxPrice)));
    const nothingToPay = await take(() => {}, { maxPrice: 0n }).catch((error: unknown) => error);
    expect(nothingToPay).to.include({ code: "TOO_MANY_REQUESTS" });
  });

  it("forgets a request a day after it expired, unless it came to something or is under way", async () => {
    const expired = { openUntil: NOW - 1 };
    const rows = [1, 2, 3, 4].map((n) => signed(n, expired));
    for (const row of rows) await putRequest(db.query, row);
    const [nothing, matched, sent, refused] = rows as [RequestRow, RequestRow, RequestRow, RequestRow];
    const fresh = signed(5, { openUntil: NOW + 10 });
    await putRequest(db.query, fresh);
    await upsertRows(db.query, jobs, [job(matched, "matched")]);
    await upsertRows(db.query, tries, [aTry(sent, "sent"), aTry(refused, "failed"), aTry(matched, "done")]);
    const left = async () => (await selectRows(db.query, requests, "ORDER BY t.seq")).map(({ jobId }) => jobId);

    await dropExpired(db, NOW - 1 + DAY);
    expect(await left()).to.deep.equal([...rows, fresh].map(({ jobId }) => jobId));
    await dropExpired(db, NOW + DAY);
    expect(await left()).to.deep.equal([matched, sent, fresh].map(({ jobId }) => jobId));
    expect(await left()).to.not.include(nothing.jobId);
    const tried = (await selectRows(db.query, tries)).map(({ jobId }) => jobId);
    expect(tried).to.have.members([sent.jobId, matched.jobId]);
  });

  /** Hands in a request of somebody new. */
  async function take(prepare: (payer: Address) => void = () => {}, replaced: Partial<Request> = {}) {
    const key = privateKeyToAccount(generatePrivateKey());
    const payer = key.address.toLowerCase() as Address;
    prepare(payer);
    const request = aRequest({ requester: payer, payer, ...replaced });
    const signature = await key.signTypedData(requestTypedData(deployment, request));
    const body = { request, signature, payerSignature: "0x" as const, sources: [] };
    const isSignedBy = async () => true;
    const limits = { ...DEFAULT_INTAKE, maxRequestSeconds: Number.POSITIVE_INFINITY };
    const takeUnfunded = () => {};
    const options = { db, live, deployment, limits, isSignedBy, takeUnfunded, now: NOW, nowMs: NOW * 1000 };
    return takeRequest(body, options);
  }

  /** What another start reads from the tables. */
  async function reloaded() {
    const again = createLiveBook(db);
    await again.load(NOW);
    return again.book;
  }

  /** What the follower does with a row of a block. */
  async function change(name: keyof typeof projections, row: object): Promise<void> {
    const changes = await db.transaction(async (query, copy) => {
      const set = createWorkingSet(query);
      await set.get(name, row as never);
      set.put(name, row as never);
      return set.flush(copy);
    });
    live.apply(changes);
  }

  function balanceOf(payer: Address, amount: bigint) {
    const { token } = aRequest();
    const none = Object.fromEntries(Object.keys(projections).map((name) => [name, new Map()]));
    return {
      ...(none as unknown as Changes),
      balances: new Map([[`${payer}|${token}`, { account: payer, token, amount }]]),
    };
  }
});

function account(number: number): Address {
  return `0x${number.toString(16).padStart(40, "0")}`;
}

function signed(number: number, replaced: Partial<Request> = {}): RequestRow {
  const request = aRequest({ nonce: `0x${number.toString(16).padStart(64, "0")}`, openUntil: NOW + 100, ...replaced });
  const { payer, openUntil } = request;
  const jobId = jobIdOf(deployment, request);
  const signatures = { signature: "0x", payerSignature: "0x" } as const;
  return {
    jobId,
    seq: number,
    receivedAtMs: 1,
    payer,
    openUntil,
    request: orderToJson(request),
    ...signatures,
    operators: null,
    sources: [],
  };
}

function job({ jobId, request, payer }: RequestRow, state: string): JobRow {
  const place = { firstBlock: 1, firstLog: Number(BigInt(jobId) % 1_000_000n) };
  const transactions = { postedTx: null, matchedTx: null, cancelledTx: null };
  const parties = { requester: payer, payer, token: aRequest().token, matcher: null };
  return {
    jobId,
    state,
    request,
    job: null,
    ...parties,
    spent: 0n,
    openReplicas: 0,
    postedAt: 1,
    matchedAt: null,
    ...transactions,
    ...place,
  };
}

function aTry({ jobId }: RequestRow, state: string) {
  const match = { offers: [], item: 0, tipWorth: 0n, callData: "0x", holds: {} } as const;
  const end = { bar: null, error: null, transaction: null };
  return { jobId, attempt: 1, outboxKey: `match:${jobId}`, state, atMs: 1, ...match, offers: [], ...end };
}
