import { rm } from "node:fs/promises";
import type { FollowStep } from "@berth/chain";
import { type Address, type Deployment, type Hex, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { createConditions } from "../../../indexer/src/http/conditions.ts";
import { readSnapshot, type Snapshot, snapshotSql } from "../../../indexer/src/http/snapshot.ts";
import { viewOf } from "../../../indexer/src/http/view.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { createFollowerStore, WINDOW } from "../../../indexer/src/sync/follower-store.ts";
import { newDataFolder } from "../support/data-folder.ts";

const market: Address = ZERO_ADDRESS;
const deployed = (fromBlock: number): Deployment => ({
  ...{ chainId: 31337, fromBlock, identity: market, staking: market, market, tokens: [] },
});

describe("view of an earlier block", () => {
  let folder: string;
  let db: Database;
  beforeEach(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
    const { apply } = createFollowerStore({ db, deployment: deployed(1), onCommitted: () => {} });
    await apply(blocks([10], 10 + WINDOW));
    await apply(blocks([20], 20 + WINDOW)); // the end of a range: cannot be undone
    await apply(blocks([21, 22], 22));
  });
  afterEach(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function viewAt(height: number, fromBlock: number): Promise<Snapshot> {
    const view = await viewOf("safe", { heights: { heightOf: async () => height } });
    const conditions = createConditions();
    const [row] = await db.query<{ snapshot: string }>(
      `SELECT ${snapshotSql(view, conditions)} AS snapshot`,
      conditions.params,
    );
    return readSnapshot(row?.snapshot ?? "", view, { deployment: deployed(fromBlock) });
  }

  it("is of that block, down to the first that all later ones can be undone to", async () => {
    for (const number of [20, 21, 22]) expect((await viewAt(number, 1)).tip).to.deep.equal([number, hash(number)]);
  });

  it("is refused below the first block that is kept, as that one cannot be undone", async () => {
    for (const fromBlock of [1, 20]) {
      for (const height of [19, 10]) {
        const error = await viewAt(height, fromBlock).catch((thrown: unknown) => thrown);
        expect(error, `${height}, contracts of ${fromBlock}`).to.include({ code: "FINALITY_UNKNOWN" });
      }
    }
  });

  it("is empty before the contracts, where every block of theirs can be undone", async () => {
    expect((await viewAt(19, 21)).tip).to.equal(undefined);
  });
});

function blocks(numbers: number[], safe: number): FollowStep {
  const list = numbers.map((number) => ({
    ...{ number, hash: hash(number), parentHash: hash(number - 1), timestamp: 1_700_000_000 + number, logs: [] },
  }));
  return { type: "blocks", blocks: list, head: safe, safe };
}

function hash(number: number): Hex {
  return `0x${number.toString(16).padStart(64, "0")}`;
}
