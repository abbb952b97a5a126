import { rm } from "node:fs/promises";
import type { FollowStep } from "@berth/chain";
import { type Hex, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { createConditions } from "../../../indexer/src/http/conditions.ts";
import type { Cursor } from "../../../indexer/src/http/cursor.ts";
import { readSnapshot, type Snapshot, snapshotSql } from "../../../indexer/src/http/snapshot.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { createFollowerStore, WINDOW } from "../../../indexer/src/sync/follower-store.ts";
import { newDataFolder } from "../support/data-folder.ts";

const deployment = {
  ...{ chainId: 31337, fromBlock: 1, identity: ZERO_ADDRESS, staking: ZERO_ADDRESS, market: ZERO_ADDRESS, tokens: [] },
};
const LATEST = { finality: "latest", height: undefined } as const;

describe("cursor of a block", () => {
  let folder: string;
  let db: Database;
  let home: string;
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
    const { apply } = createFollowerStore({ db, deployment, onCommitted: () => {} });
    await apply(blocks(1, 5, "a"));
    await apply({ type: "rollback", to: { number: 3, hash: hash(3, "a") } });
    await apply(blocks(4, 5, "b"));
    home = (await snapshotFor()).home;
  });
  after(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("stands while the block is on the chain, and not after a reorganisation took it away", async () => {
    expect((await snapshotFor([3, hash(3, "a"), home])).tip).to.deep.equal([5, hash(5, "b")]);
    expect(await codeFor([5, hash(5, "a"), home])).to.equal("CURSOR_REORGED");
    expect(await codeFor([6, hash(6, "a"), home])).to.equal("CURSOR_REORGED");
    // Another indexer of the same chain may have made it.
    expect((await snapshotFor([5, hash(5, "b"), "other"])).home).to.equal(home);
  });

  it("is judged the same when the block is too deep to be kept", async () => {
    const { apply } = createFollowerStore({ db, deployment, onCommitted: () => {} });
    await apply(blocks(6, 6 + WINDOW, "b"));
    const [kept] = await db.query<{ first: string }>("SELECT min(number)::text AS first FROM blocks");
    expect(Number(kept?.first)).to.be.greaterThan(5);
    for (const number of [4, 5]) {
      expect(await codeFor([number, hash(number, "a"), home]), `gone ${number}`).to.equal("CURSOR_REORGED");
      expect((await snapshotFor([number, hash(number, "b"), home])).seq).to.be.a("number");
    }
    // What this database never had cannot be proven.
    expect(await codeFor([5, hash(5, "b"), "other"])).to.equal("CURSOR_REORGED");
  });

  async function snapshotFor(tip?: [number, Hex, string]): Promise<Snapshot> {
    const cursor: Cursor | undefined = tip && { key: [], tip };
    const conditions = createConditions();
    const sql = `SELECT ${snapshotSql(LATEST, conditions, cursor)} AS snapshot`;
    const [row] = await db.query<{ snapshot: string }>(sql, conditions.params);
    return readSnapshot(row?.snapshot ?? "", LATEST, { deployment }, cursor);
  }

  async function codeFor(tip: [number, Hex, string]): Promise<string> {
    return snapshotFor(tip).then(
      () => "stands",
      (error: { code: string }) => error.code,
    );
  }
});

function blocks(from: number, to: number, branch: string): FollowStep {
  const list = Array.from({ length: to - from + 1 }, (_, i) => from + i).map((number) => ({
    ...{ number, hash: hash(number, branch), parentHash: hash(number - 1, branch), timestamp: number, logs: [] },
  }));
  return { type: "blocks", blocks: list, head: to, safe: to };
}

function hash(number: number, branch: string): Hex {
  return `0x${branch}${number.toString(16).padStart(63, "0")}`;
}
