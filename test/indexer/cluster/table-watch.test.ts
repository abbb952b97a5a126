import { rm } from "node:fs/promises";
import { connectRpc, type Rpc } from "@berth/chain";
import { expect } from "chai";
import { createTableWatch } from "../../../indexer/src/cluster/table-watch.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { log } from "../support/running-indexer.ts";

const { signal } = new AbortController();

describe("createTableWatch", () => {
  let market: TestMarket;
  let rpc: Rpc;
  let folder: string;
  let db: Database;
  before(async () => {
    market = await startMarket();
    rpc = await connectRpc({ urls: [market.anvil.url], expectedChainId: market.deployment.chainId, log, signal });
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
  });
  after(async () => {
    await db?.close();
    await market?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it("follows what another process writes, and says so when that one has written nothing for too long", async () => {
    let nowMs = 0;
    const watch = createTableWatch({ rpc, db, fromBlock: 0, confirmations: 1, signal, nowMs: () => nowMs });
    const look = async () => {
      await watch.look();
      const { state, lagBlocks, cursor } = watch.status();
      return [state, lagBlocks, cursor?.number ?? null];
    };
    const head = Number(await market.anvil.call("eth_blockNumber"));
    expect(watch.status().state).to.equal("starting");
    expect(await look()).to.deep.equal(["catching-up", head, null]); // blocks 0 … head − 1 have their confirmation
    await write(head - 1, 1_234_567);
    expect(await look()).to.deep.equal(["following", 0, head - 1]);
    expect(watch.blockTime()).to.equal(1_234_567);

    await market.pass(1);
    expect(await look()).to.deep.equal(["following", 1, head - 1]);
    nowMs += 5_000;
    expect((await look())[0]).to.equal("following");
    nowMs += 1;
    expect((await look())[0]).to.equal("catching-up");
    await write(head, 1_234_568);
    expect(await look()).to.deep.equal(["following", 0, head]);
  });

  const write = (number: number, timestamp: number) =>
    db.query("INSERT INTO blocks VALUES ($1::bigint, unhex('0x01'), unhex('0x00'), $2::bigint)", [
      String(number),
      String(timestamp),
    ]);
});
