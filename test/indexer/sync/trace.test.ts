import { rm } from "node:fs/promises";
import { connectRpc, type Follower, followChain, type Rpc } from "@berth/chain";
import {
  claimHash,
  identityRegistryAbi,
  jobIdOf,
  jobMarketAbi,
  providerStakingAbi,
  replicaCommitment,
  toJson,
  ZERO_BYTES32,
} from "@berth/protocol";
import { expect } from "chai";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { selectRows } from "../../../indexer/src/store/rows.ts";
import { sqlName, type Table } from "../../../indexer/src/store/table.ts";
import { balances, jobs, nodes, projections, replicas, stakes } from "../../../indexer/src/store/tables.ts";
import { createFollowerStore } from "../../../indexer/src/sync/follower-store.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { log } from "../support/running-indexer.ts";
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

  it(`equal the contracts' storage and an index from scratch, through reorganisations and restarts (seed ${SEED})`, async () => {
    const folder = await newDataFolder();
    cleanups.push(() => rm(folder, { recursive: true, force: true }));
    const deeds = new Map<string, number>();
    let reorganised = 0;
    for (let round = 0; round < 4; round++) {
      const live = await index(folder);
      add(deeds, await traffic.act(20));
      const before = { chain: await market.anvil.call("evm_snapshot"), traffic: traffic.remember() };
      await traffic.act(6);
      await live.caughtUp();
      const height = Number(await market.anvil.call("eth_blockNumber"));

      await market.anvil.call("evm_revert", [before.chain]);
      traffic.restore(before.traffic);
      add(deeds, await traffic.act(6));
      while (Number(await market.anvil.call("eth_blockNumber")) <= height) await market.anvil.call("evm_mine");
      await live.caughtUp();
      reorganised += live.rollbacks();
      await equalsStorage(live.db);
      await live.stop();
    }
    expect(reorganised).to.equal(4);
    for (const deed of ["match", "submit", "post", "deposit"]) expect(deeds.get(deed), deed).to.be.above(0);

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

  async function equalsStorage({ query }: Database): Promise<void> {
    const { chain, deployment, token } = market;
    const read = { address: deployment.market, abi: jobMarketAbi } as const;
    const held = await selectRows(query, balances);
    for (const account of traffic.accounts) {
      const row = held.find((balance) => balance.account === account);
      const args = [account, token] as const;
      expect(row?.amount ?? 0n, `balance of ${account}`).to.equal(
        await chain.readContract({ ...read, functionName: "balanceOf", args }),
      );
    }
    const staked = await selectRows(query, stakes);
    for (const operator of traffic.operators) {
      const row = staked.find((stake) => stake.operator === operator);
      const at = { address: deployment.staking, abi: providerStakingAbi, args: [operator, token] } as const;
      const { free, locked } = await chain.readContract({ ...at, functionName: "stakeOf" });
      const exit = await chain.readContract({ ...at, functionName: "exitOf" });
      expect([row?.free, row?.locked, row?.exiting, row?.exitReadyAt]).to.deep.equal([
        free,
        locked,
        exit.amount,
        exit.readyAt,
      ]);
    }
    for (const row of await selectRows(query, nodes)) {
      const args = [row.operator, row.index] as const;
      const { touched, ...use } = await chain.readContract({ ...read, functionName: "useOf", args });
      const { epoch, active, cpuMilli, memoryMiB, diskMiB, gpus } = row;
      expect({ epoch, active, cpuMilli, memoryMiB, diskMiB, gpus }).to.deep.equal({
        ...use,
        cpuMilli: Number(use.cpuMilli),
        memoryMiB: Number(use.memoryMiB),
        diskMiB: Number(use.diskMiB),
      });
      expect(row.limitsHash).to.equal(await chain.readContract({ ...read, functionName: "limitsHashOf", args }));
      const at = { address: deployment.identity, abi: identityRegistryAbi, args } as const;
      const node = await chain.readContract({ ...at, functionName: "nodeOf" });
      expect([row.key ?? `0x${"0".repeat(40)}`, row.validTo, row.wgKey ?? ZERO_BYTES32]).to.deep.equal([
        node.key.toLowerCase(),
        node.validTo,
        node.wgKey,
      ]);
      if (!row.revoked) expect(row.keyVersion).to.equal(node.keyVersion);
    }
    const known = await selectRows(query, jobs);
    const parts = await selectRows(query, replicas);
    for (const request of traffic.everyRequest) {
      const jobId = jobIdOf(deployment, request);
      const job = known.find((row) => row.jobId === jobId);
      for (let replica = 0; replica < request.replicas; replica++) {
        const args = [jobId, replica] as const;
        const stored = await chain.readContract({ ...read, functionName: "replicaOf", args });
        const part = parts.find((row) => row.jobId === jobId && row.replica === replica);
        expect(STATES[stored.state], `state of ${jobId}/${replica}`).to.equal(
          part?.state ?? stateOf(job?.state, replica),
        );
        expect([stored.matchedAt, stored.submittedAt]).to.deep.equal([part?.matchedAt ?? 0, part?.submittedAt ?? 0]);
        if (part !== undefined) expect(stored.commitment).to.equal(replicaCommitment(jobId, replica, part.offerHash));
        expect(await chain.readContract({ ...read, functionName: "resultOf", args })).to.equal(claimHashOf(part));
      }
    }
  }
});

const STATES = ["none", "posted", "active", "submitted", "disputed", "settled", "refunded", "cancelled"];

/** Posted and Cancelled live in replica 0. */
function stateOf(job: string | undefined, replica: number): string {
  return replica === 0 ? (job ?? "none") : "none";
}

function claimHashOf(
  part: { resultHash: `0x${string}` | null; resultBytes: bigint | null; claimed: bigint | null } | undefined,
) {
  if (part === undefined || part.resultHash === null) return ZERO_BYTES32;
  return claimHash({ resultHash: part.resultHash, resultBytes: part.resultBytes ?? 0n, charge: part.claimed ?? 0n });
}

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
