import { rm } from "node:fs/promises";
import { connectRpc, createOutbox, followChain } from "@berth/chain";
import { type Hex, jobIdOf, jobMarketAbi, offerHashOf, orderToJson, type Request } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, parseEther, stringToBytes } from "viem";
import { type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";
import { createLiveBook, slotOf } from "../../../indexer/src/book/live-book.ts";

import { requireUseful } from "../../../indexer/src/match/batch.ts";
import { DEFAULT_GAS_POLICY } from "../../../indexer/src/match/gas-policy.ts";
import { type Matcher, startMatcher } from "../../../indexer/src/match/matcher.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { batches, putOffer, tries } from "../../../indexer/src/store/orders.ts";
import { postgresOutboxStore } from "../../../indexer/src/store/outbox-store.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { selectRows } from "../../../indexer/src/store/rows.ts";
import { createFollowerStore, WINDOW } from "../../../indexer/src/sync/follower-store.ts";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { log } from "../support/running-indexer.ts";

const ROOMY = { cpuMilli: 10 ** 6, memoryMiB: 10 ** 6, diskMiB: 10 ** 6 };

describe("a matcher that is killed", function () {
  this.timeout(120_000);
  let market: TestMarket;
  let folder: string;
  let db: Database;
  let matcher: PrivateKeyAccount;
  before(async () => {
    market = await startMarket();
    const node = await market.node("roomy");
    await market.setLimits(node, { maxActive: 1000, ...ROOMY });
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
    await storeOffer(node);
    matcher = privateKeyToAccount(keccak256(stringToBytes("mortal")));
    await market.anvil.call("anvil_setBalance", [matcher.address, `0x${parseEther("10").toString(16)}`]);
  });
  after(async () => {
    await db?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    await market?.stop();
  });

  for (const moment of ["just before", "just after"] as const) {
    it(`${moment} each thing it stores sends every batch once`, async () => {
      for (let writes = 1; ; writes++) {
        const jobs = [await posted(`${moment} ${writes} a`), await posted(`${moment} ${writes} b`)];
        const used = await nonce();
        const killed = await run(mortal(db, { moment, writes }), jobs);
        await run(db, jobs);

        const label = `${moment} write ${writes}`;
        expect(await nonce(), label).to.equal(used + 1);
        const rows = await triesOf(jobs);
        const [transaction] = rows.map((row) => row.transaction);
        expect(transaction, label).to.be.a("string");
        expect(
          rows.map((row) => [row.attempt, row.state, row.transaction]),
          label,
        ).to.deep.equal([
          [1, "done", transaction],
          [1, "done", transaction],
        ]);
        const [batch] = await selectRows(db.query, batches, "WHERE t.outbox_key = $1", [rows[0]?.outboxKey]);
        const receipt = await market.anvil.call("eth_getTransactionReceipt", [transaction]);
        expect(batch?.gasCost, label).to.equal(BigInt(receipt.gasUsed) * BigInt(receipt.effectiveGasPrice));
        if (killed) continue;
        expect(writes).to.be.greaterThan(5); // noted, queued, signed, sent, final, ended
        return;
      }
    });
  }

  /** Runs the matcher until the jobs' matches are over, or it dies; true when it died. */
  async function run(mine: Database, jobs: readonly Hex[]): Promise<boolean> {
    const stop = new AbortController();
    const { signal } = stop;
    const { deployment } = market;
    const rpc = await connectRpc({ urls: [market.anvil.url], log, signal });
    const live = createLiveBook(db);
    await live.load(await market.now());
    let matching: Matcher | undefined;
    const follower = followChain({
      rpc,
      addresses: [deployment.identity, deployment.staking, deployment.market],
      fromBlock: deployment.fromBlock,
      confirmations: 0,
      pollMs: 5,
      windowSize: WINDOW,
      store: createFollowerStore({ db, deployment, onCommitted: live.apply }),
      onBatch: () => matching?.wake(),
      signal,
      log,
    });
    follower.done.catch(() => {});
    await follower.synced;
    let time = await market.now();
    let outbox: ReturnType<typeof createOutbox> | undefined;
    const start = async () => {
      matching = await startMatcher({
        db: mine,
        live,
        deployment,
        stage: { rpc, market: deployment.market, from: matcher.address, abi: jobMarketAbi, signal },
        policy: DEFAULT_GAS_POLICY,
        openOutbox: (onChange) => {
          const store = postgresOutboxStore(mine);
          const account = matcher;
          const settings = { chainId: 31337, confirmations: 0, pollMs: 5, check: requireUseful };
          outbox = createOutbox({ rpc, account, store, ...settings, onChange, signal, log });
          outbox.done.catch(() => {});
          return outbox;
        },
        caughtUp: () => follower.status().state === "following",
        bookBlock: () => follower.status().cursor?.number ?? -1,
        now: () => time,
        signal,
        log,
      });
      await matching.done;
    };
    const died = start().then(
      () => false,
      (error: unknown) => {
        if (signal.aborted || (error as Error).message === "killed") return true;
        if (((error as Error).cause as Error | undefined)?.message === "killed") return true;
        throw error;
      },
    );
    const over = eventually("the matches are over", async () => {
      time = await market.now();
      const rows = await triesOf(jobs);
      return rows.length === jobs.length && rows.every(({ state }) => state !== "sent");
    });
    over.catch(() => {});
    const wasKilled = await Promise.race([died, over.then(() => false)]);
    stop.abort();
    await Promise.allSettled([died, outbox?.done, follower.done]);
    return wasKilled;
  }

  async function posted(name: string): Promise<Hex> {
    const account = await market.account(name);
    await market.deposit(account.address, 100_000n);
    const { request } = await market.request(account, { maxPrice: 10_000n } as Partial<Request>);
    await market.send(account.address, market.deployment.market, jobMarketAbi, "post", [request, "0x", "0x"]);
    return jobIdOf(market.deployment, request);
  }

  async function storeOffer(node: TestNode): Promise<void> {
    const { offer, signature } = await market.offer(node, ROOMY);
    await putOffer(db.query, {
      offerHash: offerHashOf(market.deployment, offer),
      receivedAtMs: 1,
      signer: node.key.address.toLowerCase() as Hex,
      operator: offer.operator,
      index: offer.index,
      token: offer.token,
      expiresAt: offer.expiresAt,
      slot: slotOf(offer),
      offer: orderToJson(offer),
      signature,
    });
  }

  const nonce = async () => Number(await market.anvil.call("eth_getTransactionCount", [matcher.address, "latest"]));
  const triesOf = (jobs: readonly Hex[]) =>
    selectRows(db.query, tries, "WHERE hex(t.job_id) = ANY(ARRAY[$1, $2]) ORDER BY t.item", [...jobs]);
});

/** A database of a process that dies at its `writes`th write: before that is done, or after. */
function mortal(db: Database, { moment, writes }: { moment: "just before" | "just after"; writes: number }): Database {
  let left = writes;
  async function write<T>(work: () => Promise<T>): Promise<T> {
    if (left <= 0) throw new Error("killed");
    left -= 1;
    if (left === 0 && moment === "just before") throw new Error("killed");
    const result = await work();
    if (left === 0) throw new Error("killed");
    return result;
  }
  return {
    ...db,
    query: async (sql, params) => {
      if (/^\s*SELECT/i.test(sql)) {
        if (left <= 0) throw new Error("killed");
        return db.query(sql, params);
      }
      return write(() => db.query(sql, params));
    },
    transaction: (work) => write(() => db.transaction(work)),
  };
}
