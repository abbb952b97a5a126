import { connectRpc, createOutbox, followChain, readHeader } from "@berth/chain";
import { jobMarketAbi, providerStakingAbi } from "@berth/protocol";
import type { Logger } from "pino";
import { privateKeyToAccount } from "viem/accounts";
import { createLiveBook } from "./book/live-book.ts";
import type { IndexerConfig } from "./config.ts";
import { createChangeHub } from "./http/change-hub.ts";
import { DEFAULT_LIMITS } from "./http/limits.ts";
import { createRateLimit } from "./http/rate-limit.ts";
import type { ApiContext } from "./http/route.ts";
import { startServer } from "./http/server.ts";
import { createStreams } from "./http/streams.ts";
import { createHeights } from "./http/view.ts";
import { createIntake } from "./intake/intake.ts";
import { requireUseful } from "./match/batch.ts";
import { DEFAULT_GAS_POLICY } from "./match/gas-policy.ts";
import { type Matcher, type MatcherOptions, startMatcher } from "./match/matcher.ts";
import type { Database } from "./store/database.ts";
import { migrate } from "./store/migrate.ts";
import { dropExpired } from "./store/orders.ts";
import { claimOrigin } from "./store/origin.ts";
import { postgresOutboxStore } from "./store/outbox-store.ts";
import { openPglite } from "./store/pglite-database.ts";
import { openPostgres } from "./store/postgres-database.ts";
import { createFollowerStore, WINDOW } from "./sync/follower-store.ts";

export interface Indexer {
  /** Base URL of the API, with the real port. */
  url: string;
  /** Resolves when the tables first are as new as the chain. */
  synced: Promise<void>;
  /** Resolves after `close` or an abort; rejects with what ended the indexer. */
  done: Promise<void>;
  close(): Promise<void>;
}

const PRUNE_MS = 30_000;
/** What names a refusal of a match: the stake is locked by another contract, with errors of its own. */
const MATCH_ERRORS = [...jobMarketAbi, ...providerStakingAbi].filter(({ type }) => type === "error");

/**
 * Starts following the chain, the API, and with a key the matcher.
 * Throws RPC_UNAVAILABLE, WRONG_CHAIN, NOT_DEPLOYED, DATA_FOLDER_IN_USE, DATA_FOLDER_STALE, PORT_TAKEN.
 */
export async function startIndexer(
  config: IndexerConfig,
  { signal, log }: { signal: AbortSignal; log: Logger },
): Promise<Indexer> {
  const { deployment, confirmations, pollMs } = config;
  const stop = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal]);
  const rpc = await connectRpc({ urls: config.rpcUrls, expectedChainId: deployment.chainId, log, signal });
  const { identity, staking, market } = deployment;
  await rpc.assertDeployed({ "identity registry": identity, "staking contract": staking, "job market": market });
  const db =
    config.databaseUrl === undefined
      ? await openPglite(config.dataFolder)
      : await openPostgres(config.databaseUrl, { log });
  const running: Promise<void>[] = [];
  try {
    return await start(db);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(running);
    await db.close();
    throw error;
  }

  async function start(db: Database): Promise<Indexer> {
    await migrate(db);
    await claimOrigin(db, deployment, (await readHeader(rpc, 0, signal)).hash);
    const live = createLiveBook(db);
    let blockTime = await newestBlockTime(db);
    /** Chains in tests run ahead of the clock; a chain at rest stays behind it. */
    const now = () => Math.max(Math.floor(Date.now() / 1000), blockTime);
    await live.load(now());
    let matcher: Matcher | undefined;
    const changes = await createChangeHub(db, { log });
    const follower = followChain({
      rpc,
      addresses: [identity, staking, market],
      fromBlock: deployment.fromBlock,
      confirmations,
      pollMs,
      windowSize: WINDOW,
      store: createFollowerStore({ db, deployment, onCommitted: live.apply }),
      onBatch: (step) => {
        if (step.type === "blocks") blockTime = Math.max(blockTime, step.blocks.at(-1)?.timestamp ?? 0);
        changes.wake();
        matcher?.wake();
      },
      signal: stopped,
      log,
    });
    const caughtUp = () => follower.status().state === "following";
    const bookBlock = () => follower.status().cursor?.number ?? -1;
    run(follower.done);
    if (config.matcherKey !== undefined) {
      const options = { db, live, deployment, caughtUp, bookBlock, now, signal: stopped, log };
      matcher = await startMatcher({ ...options, ...matcherAccount(db) });
      run(matcher.done);
    }
    const { orders, questions, streams: most } = { ...DEFAULT_LIMITS, ...config.limits };
    const limits = { rateLimit: createRateLimit(orders), readLimit: createRateLimit(questions) };
    const streams = createStreams(most);
    const heights = createHeights(rpc, () => follower.status().head);
    const intake = createIntake({
      rpc,
      db,
      live,
      deployment,
      limits: config.intake,
      now,
      caughtUp,
      onTaken: () => matcher?.wake(),
    });
    const context: ApiContext = {
      intake,
      db,
      live,
      rpc,
      deployment,
      follower,
      matcher,
      changes,
      streams,
      heights,
      ...limits,
      now,
      caughtUp,
    };
    const server = await startServer(config, context, { log });
    run(pruneUntil(stopped));
    log.info({ url: server.url, matcher: matcher?.address }, "indexer started");

    const done = settle().finally(async () => {
      changes.close();
      await server.close();
      await db.close();
    });
    return {
      url: server.url,
      synced: follower.synced,
      done,
      async close() {
        stop.abort();
        await done;
      },
    };

    async function pruneUntil(end: AbortSignal): Promise<void> {
      while (!end.aborted) {
        live.prune(now());
        await dropExpired(db, now());
        await pause(PRUNE_MS, end);
      }
    }
  }

  /** A failure is seen by whoever waits for all, also when it comes before anybody does. */
  function run(work: Promise<void>): void {
    work.catch(() => {});
    running.push(work);
  }

  /** The first failure stops the others; all have ended when this settles. */
  async function settle(): Promise<void> {
    try {
      await Promise.all(running);
    } finally {
      stop.abort();
      await Promise.allSettled(running);
    }
  }

  function matcherAccount(db: Database): Pick<MatcherOptions, "stage" | "policy" | "openOutbox"> {
    const account = privateKeyToAccount(config.matcherKey ?? "0x");
    const policy = config.gasPolicy ?? DEFAULT_GAS_POLICY;
    return {
      stage: { rpc, market, from: account.address, abi: MATCH_ERRORS, signal: stopped },
      policy,
      openOutbox: (onChange) =>
        createOutbox({
          rpc,
          account,
          chainId: deployment.chainId,
          store: postgresOutboxStore(db),
          confirmations: config.finality,
          pollMs,
          abi: MATCH_ERRORS,
          dailyGasBudget: policy.mostPerDay,
          check: requireUseful,
          onChange,
          signal: stopped,
          log,
        }),
    };
  }
}

async function newestBlockTime({ query }: Database): Promise<number> {
  const [row] = await query<{ time: string | null }>("SELECT max(timestamp)::text AS time FROM blocks");
  return Number(row?.time ?? 0);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
}
