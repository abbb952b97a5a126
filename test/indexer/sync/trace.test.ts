import { rm } from "node:fs/promises";
import { connectRpc, type Follower, followChain, type Rpc } from "@berth/chain";
import { jobMarketAbi, providerStakingAbi, toJson } from "@berth/protocol";
import { expect } from "chai";
import { toEventSelector } from "viem";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { selectRows } from "../../../indexer/src/store/rows.ts";
import { sqlName, type Table } from "../../../indexer/src/store/table.ts";
import { jobs, projections } from "../../../indexer/src/store/tables.ts";
import { createFollowerStore } from "../../../indexer/src/sync/follower-store.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { log } from "../support/running-indexer.ts";
import { expectEqualStorage } from "../support/storage.ts";
import { startTraffic, type Traffic } from "../support/traffic.ts";

/** Change it, or set BERTH_SEED, for another history. */
const SEED = Number(process.env["BERTH_SEED"] ?? 20260711);

describe("tables of events", () => {
  let market: TestMarket;
  let traffic: Traffic;
  let rpc: Rpc;
  const cleanups: (() => Promise<void>)[] = [];
  before(async () => {
    market = await startMarket();
    cleanups.push(() => market.stop());
    rpc = await connectRpc({ urls: [market.anvil.url], log });
    traffic = await startTraffic(market, SEED);
  });
  after(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  });

  it("equal the contracts' storage after each kind of event of the market and of its stakes", async function () {
    this.timeout(180_000);
    await traffic.actOnceEach();
    const folder = await newDataFolder();
    cleanups.push(() => rm(folder, { recursive: true, force: true }));
    const live = await index(folder);
    await live.caughtUp();
    const logs = await live.db.query<{ topic: string }>(
      "SELECT DISTINCT hex(substr(topics, 1, 32)) AS topic FROM logs",
    );
    const seen = new Set(logs.map(({ topic }) => topic));
    const all = [...jobMarketAbi, ...providerStakingAbi].filter((item) => item.type === "event");
    const unseen = all.filter((event) => !seen.has(toEventSelector(event))).map(({ name }) => name);
    // Nothing ever changes a market's EIP-712 domain.
    expect(unseen).to.deep.equal(["EIP712DomainChanged"]);
    await expectEqualStorage(live.db.query, market, traffic);
    await live.stop();
  });

  it(`equal the contracts' storage and an index from scratch, through reorganisations and restarts (seed ${SEED})`, async function () {
    this.timeout(180_000);
    const folder = await newDataFolder();
    cleanups.push(() => rm(folder, { recursive: true, force: true }));
    const deeds = new Map<string, number>();
    let reorganised = 0;
    for (let round = 0; round < 4; round++) {
      const live = await index(folder);
      add(deeds, await traffic.act(40));
      const before = { chain: await market.anvil.call("evm_snapshot"), traffic: traffic.remember() };
      await traffic.act(12);
      await live.caughtUp();
      const height = Number(await market.anvil.call("eth_blockNumber"));

      await market.anvil.call("evm_revert", [before.chain]);
      traffic.restore(before.traffic);
      add(deeds, await traffic.act(12));
      while (Number(await market.anvil.call("eth_blockNumber")) <= height) await market.anvil.call("evm_mine");
      await live.caughtUp();
      reorganised += live.rollbacks();
      await expectEqualStorage(live.db.query, market, traffic);
      await live.stop();
    }
    expect(reorganised).to.equal(4);
    for (const deed of ["match", "submit"]) expect(deeds.get(deed), deed).to.be.above(0);

    const followed = await index(folder);
    await followed.caughtUp();
    const scratchFolder = await newDataFolder();
    cleanups.push(() => rm(scratchFolder, { recursive: true, force: true }));
    const scratch = await index(scratchFolder);
    await scratch.caughtUp();
    for (const name of [...Object.keys(projections), "logs"]) {
      expect(await dump(followed.db, name), name).to.equal(await dump(scratch.db, name));
    }
    expect((await selectRows(followed.db.query, jobs)).length).to.be.above(5);
    await followed.stop();
    await scratch.stop();
  });

  /** Opens the folder and follows, until `stop`. */
  async function index(folder: string) {
    const db = await openPglite(folder);
    await migrate(db);
    const stop = new AbortController();
    let rollbacks = 0;
    const { identity, staking, market: jobMarket, fromBlock } = market.deployment;
    const follower: Follower = followChain({
      rpc,
      addresses: [identity, staking, jobMarket],
      fromBlock,
      confirmations: 0,
      pollMs: 10,
      store: createFollowerStore({ db, deployment: market.deployment, onCommitted: () => {} }),
      onBatch: (step) => {
        if (step.type === "rollback") rollbacks += 1;
      },
      signal: stop.signal,
      log,
    });
    let stopped: Promise<void> | undefined;
    const stopOnce = async () => {
      stop.abort();
      await follower.done.catch(() => {});
      await db.close();
    };
    cleanups.push(() => (stopped ??= stopOnce()));
    return {
      db,
      rollbacks: () => rollbacks,
      async caughtUp() {
        const { number, hash } = await market.chain.getBlock({ blockTag: "latest" });
        for (const deadline = Date.now() + 15_000; Date.now() < deadline; ) {
          const { cursor } = follower.status();
          if (cursor?.number === Number(number) && cursor.hash === hash) return;
          await Promise.race([new Promise((resolve) => setTimeout(resolve, 10)), follower.done]);
        }
        throw new Error("the follower never reached the head");
      },
      stop: () => (stopped ??= stopOnce()),
    };
  }
});

/** A whole table as text, in the order of its key. */
async function dump({ query }: Database, name: string): Promise<string> {
  const of: Table | undefined = projections[name as keyof typeof projections];
  const key = of === undefined ? ["block_number", "log_index"] : of.key.map(sqlName);
  const order = key.map((column) => `t."${column}"`).join(", ");
  const rows = await query<{ row: unknown }>(`SELECT to_json(t) AS row FROM "${name}" t ORDER BY ${order}`);
  return toJson(rows.map(({ row }) => row));
}

function add(into: Map<string, number>, more: Map<string, number>): void {
  for (const [name, count] of more) into.set(name, (into.get(name) ?? 0) + count);
}
