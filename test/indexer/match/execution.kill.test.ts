import { rm } from "node:fs/promises";
import { type Hex, jobIdOf, jobMarketAbi, type Request } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, parseEther, stringToBytes } from "viem";
import { type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { batches, tries } from "../../../indexer/src/store/orders.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { selectRows } from "../../../indexer/src/store/rows.ts";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { startLoneMatcher, storeOffer } from "../support/lone-matcher.ts";
import { startMarket, type TestMarket } from "../support/market.ts";

/** A busy machine takes its time. */
const BUSY_MS = 30_000;
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
    await storeOffer(market, db, node, ROOMY);
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
    const lone = await startLoneMatcher(market, db, matcher, { mine });
    const died = lone.done.then(
      () => false,
      (error: Error) => {
        if (error.message === "killed" || (error.cause as Error | undefined)?.message === "killed") return true;
        throw error;
      },
    );
    const over = eventually(
      "the matches are over",
      async () => {
        const rows = await triesOf(jobs);
        return rows.length === jobs.length && rows.every(({ state }) => state !== "sent");
      },
      BUSY_MS,
    );
    over.catch(() => {});
    try {
      return await Promise.race([died, over.then(() => false)]);
    } finally {
      await lone.stop();
    }
  }

  async function posted(name: string): Promise<Hex> {
    const account = await market.account(name);
    await market.deposit(account.address, 100_000n);
    const { request } = await market.request(account, { maxPrice: 10_000n } as Partial<Request>);
    await market.send(account.address, market.deployment.market, jobMarketAbi, "post", [request, "0x", "0x"]);
    return jobIdOf(market.deployment, request);
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
