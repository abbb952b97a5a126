import { rm } from "node:fs/promises";
import { type Address, type Hex, MarketError } from "@berth/protocol";
import { expect } from "chai";
import { createBook } from "../../../indexer/src/book/book.ts";
import { isIncluded } from "../../../indexer/src/fairness/snapshot.ts";
import { createSnapshots, snapshotOf } from "../../../indexer/src/fairness/snapshots.ts";
import { createTrees } from "../../../indexer/src/fairness/trees.ts";
import { createRateLimit } from "../../../indexer/src/http/rate-limit.ts";
import type { ApiContext } from "../../../indexer/src/http/route.ts";
import { proveOffer } from "../../../indexer/src/http/routes/snapshots.ts";
import type { Database, Query } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { anOffer } from "../../support/orders.ts";
import { newDataFolder } from "../support/data-folder.ts";

const OPERATOR: Address = "0x2222222222222222222222222222222222222222";
const OFFERS = 1_200;

describe("proofs of snapshots", () => {
  let folder: string;
  let db: Database;
  let asked = 0;
  const query: Query = (...args) => {
    asked += 1;
    return db.query(...args);
  };
  const roots: Hex[] = [];
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
    const book = createBook();
    for (let n = 1; n <= OFFERS; n++) {
      const offer = anOffer({ operator: OPERATOR, index: n });
      book.putOffer({ offerHash: hash(n), offer, signature: "0x", signer: OPERATOR, seq: n });
    }
    const snapshots = await createSnapshots(db);
    for (const now of [1, 2, 3]) {
      const round = { now, block: 1, matcher: OPERATOR, paused: false, orders: [], holds: [] };
      roots.push((await snapshots.look(book, book.size, round, 1)?.store()) as Hex);
    }
  });
  beforeEach(() => {
    asked = 0;
  });
  after(async () => {
    await db?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  it("cost a look at all offers only the first time", async () => {
    const [root] = roots as [Hex];
    const { text: roundText = "" } = (await snapshotOf(db.query, root)) ?? {};
    await prove(root, hash(1));
    asked = 0;
    for (const n of [1, 2, 700, OFFERS]) {
      const { leaf, offers, ...proof } = await prove(root, hash(n));
      expect(JSON.parse(leaf).offerHash).to.equal(hash(n));
      expect(isIncluded(root, { roundText, leaf, proof, offers })).to.equal(true);
    }
    expect(asked).to.equal(4 * 2); // the snapshot and the leaf
  });

  it("of an offer that is not there cost no tree", async () => {
    const error = await prove(roots[2] as Hex, hash(OFFERS + 1)).catch((thrown) => thrown);
    expect(error).to.be.instanceOf(MarketError).with.property("code", "OFFER_NOT_IN_SNAPSHOT");
    expect(asked).to.equal(2);
  });

  it("are made from one tree for all who ask at once, and from as many trees as are kept", async () => {
    const trees = createTrees(2);
    const [first, second, third] = roots as [Hex, Hex, Hex];
    const tree = async (root: Hex) => trees.of(query, root, await found(root));
    const all = await Promise.all([tree(first), tree(first), tree(first)]);
    expect(new Set(all).size).to.equal(1);
    const before = await tree(second);
    expect(await tree(first)).to.equal(all[0]);
    await tree(third);
    expect(await tree(first)).to.equal(all[0]);
    expect(await tree(second)).to.not.equal(before); // nobody had asked for it for longest
  });

  it("refuse a tree that does not come to the root, and ask again", async () => {
    const trees = createTrees(2);
    const [root] = roots as [Hex];
    const { round, text } = await found(root);
    const gone = await trees.of(query, root, { round: -1, text }).catch((thrown) => thrown);
    expect(gone).to.be.instanceOf(MarketError).with.property("code", "SNAPSHOT_UNKNOWN");
    expect((await trees.of(query, root, { round, text })).places.size).to.equal(OFFERS);
  });

  async function found(root: Hex) {
    return (await snapshotOf(db.query, root)) as { round: number; text: string };
  }

  async function prove(root: Hex, offerHash: Hex) {
    const readLimit = createRateLimit({ burst: 1_000, perSecond: 1 });
    const input = { params: { root, offerHash }, sender: "a person" } as unknown as Parameters<
      typeof proveOffer.handle
    >[0];
    const answer = await proveOffer.handle(input, { db: { query }, readLimit } as unknown as ApiContext);
    return answer as { leaf: string; place: number; siblings: (Hex | null)[]; offers: number };
  }
});

function hash(n: number): Hex {
  return `0x${(n * 7919).toString(16).padStart(64, "0")}`;
}
