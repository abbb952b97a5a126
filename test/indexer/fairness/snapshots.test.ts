import { rm } from "node:fs/promises";
import type { Address, Hex } from "@berth/protocol";
import { expect } from "chai";
import { type Book, createBook } from "../../../indexer/src/book/book.ts";
import { type Round, rootOfLeaves } from "../../../indexer/src/fairness/snapshot.ts";
import { createSnapshots, leavesOf, snapshotOf } from "../../../indexer/src/fairness/snapshots.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { anOffer } from "../../support/orders.ts";
import { newDataFolder } from "../support/data-folder.ts";

const DAY_MS = 86_400_000;
const OPERATOR: Address = "0x2222222222222222222222222222222222222222";
const TOKEN: Address = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

describe("createSnapshots", () => {
  let folder: string;
  let db: Database;
  let book: Book;
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
  });
  beforeEach(async () => {
    for (const name of ["snapshots", "snapshot_leaves"]) await db.query(`DELETE FROM ${name}`);
    book = createBook();
    for (let n = 1; n <= 600; n++) put(n);
  });
  after(async () => {
    await db?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  it("stores of each round what changed, and shows each round as it was, also after a restart", async () => {
    const snapshots = await createSnapshots(db);
    const roots: Hex[] = [];
    const take = async (from = snapshots) =>
      roots.push((await from.look(book, book.size, round(roots.length), 1)?.store()) as Hex);
    await take();
    put(601);
    book.dropOffer(hash(7));
    await take();
    const again = await createSnapshots(db);
    await take(again);
    book.setStake(OPERATOR, TOKEN, { free: 5n, locked: 0n });
    await take(again);

    const counts = await Promise.all(roots.map(async (root) => (await shown(root)).length));
    expect(counts).to.deep.equal([600, 600, 600, 600]);
    expect(await stored()).to.equal(600 + 1 + 600); // the stake stands behind every offer of the operator
    const first = await shown(roots[0] as Hex);
    expect(first.some((leaf) => leaf.includes(hash(7)))).to.equal(true);
    expect(first.some((leaf) => leaf.includes(hash(601)))).to.equal(false);
  });

  it("shows an offer at its new place when its terms came in again after others", async () => {
    const snapshots = await createSnapshots(db);
    await snapshots.look(book, book.size, round(1), 1)?.store();
    book.dropOffer(hash(7)); // others took its place, and left it again, between two rounds
    put(7, 601);
    const root = (await snapshots.look(book, book.size, round(2), 1)?.store()) as Hex;
    const places = (await shown(root)).map((leaf) => JSON.parse(leaf)).map(({ offerHash, seq }) => [offerHash, seq]);
    expect(Object.fromEntries(places)[hash(7)]).to.equal(601);
    expect(await stored()).to.equal(600 + 1);
  });

  it("stores a round only when it is told to, once, and as it was when it was looked at", async () => {
    const snapshots = await createSnapshots(db);
    const first = snapshots.look(book, book.size, round(1), 1);
    book.dropOffer(hash(7));
    put(601);
    snapshots.look(book, book.size, round(2), 1);
    book.setStake(OPERATOR, TOKEN, { free: 5n, locked: 0n });
    expect(await stored()).to.equal(0);

    const roots = [await first?.store(), await first?.store()] as [Hex, Hex];
    expect(roots[0]).to.equal(roots[1]);
    expect(await stored()).to.equal(600);
    const then = await shown(roots[0]);
    expect(then.filter((leaf) => leaf.includes(hash(7)) || leaf.includes(hash(601)))).to.have.length(1);
    expect(then.some((leaf) => leaf.includes('"free":"5"'))).to.equal(false);
    const now = (await snapshots.look(book, book.size, round(3), 1)?.store()) as Hex;
    expect((await shown(now)).every((leaf) => leaf.includes('"free":"5"'))).to.equal(true);
  });

  it("forgets rounds after seven days, with the offers that only they had", async () => {
    const snapshots = await createSnapshots(db);
    const old = (await snapshots.look(book, book.size, round(1), DAY_MS)?.store()) as Hex;
    book.setStake(OPERATOR, TOKEN, { free: 5n, locked: 0n });
    const young = (await snapshots.look(book, book.size, round(2), 9 * DAY_MS)?.store()) as Hex;
    expect(await snapshotOf(db.query, old)).to.equal(undefined);
    expect(await shown(young)).to.have.length(600);
    expect(await stored()).to.equal(600);
  });

  it("takes none of a book that is too large", async () => {
    const snapshots = await createSnapshots(db);
    expect(snapshots.look(book, 5_001, round(1), 1)).to.equal(undefined);
    expect(await stored()).to.equal(0);
  });

  /** All leaves of a snapshot, page by page; they come to its root. */
  async function shown(root: Hex): Promise<string[]> {
    const { round = -1, text = "" } = (await snapshotOf(db.query, root)) ?? {};
    const all: string[] = [];
    for (let page = await leavesOf(db.query, round, undefined); page.length > 0; ) {
      all.push(...page);
      page = await leavesOf(db.query, round, JSON.parse(all.at(-1) as string).offerHash);
    }
    expect(rootOfLeaves(text, all)).to.equal(root);
    return all;
  }

  async function stored(): Promise<number> {
    const [row] = await db.query<{ leaves: number }>("SELECT count(*)::int AS leaves FROM snapshot_leaves");
    return row?.leaves ?? -1;
  }

  function put(n: number, seq = n): void {
    const offer = anOffer({ operator: OPERATOR, token: TOKEN, index: n });
    book.putOffer({ offerHash: hash(n), offer, signature: "0x", signer: OPERATOR, seq });
  }
});

function hash(n: number): Hex {
  return `0x${(n * 7919).toString(16).padStart(64, "0")}`;
}

function round(now: number): Round {
  return { now, block: 1, matcher: OPERATOR, paused: false, orders: [], holds: [] };
}
