import { connectRpc, createAlarm, createOutbox, type Follower, followChain, readHeader } from "@berth/chain";
import { type Hex, jobMarketAbi, providerStakingAbi } from "@berth/protocol";
import type { Logger } from "pino";
import { privateKeyToAccount } from "viem/accounts";
import { createBookFeed } from "./cluster/book-feed.ts";
import { startCampaign } from "./cluster/campaign.ts";
import { createCandidate, type Lease, soleCandidate } from "./cluster/lease.ts";
import { hearNotices } from "./cluster/notices.ts";
import { pause } from "./cluster/pause.ts";
import type { Role } from "./cluster/role.ts";
import { createTableWatch } from "./cluster/table-watch.ts";
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
import { type Peers, startPeers } from "./peers/peers.ts";
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

/** What a leader does beside serving. */
interface Leading {
  follower: Follower;
  matcher: Matcher | undefined;
  peers: Peers;
  done: Promise<void>;
}

const PRUNE_MS = 30_000;
/** Longest wait between two looks at what others wrote, for the case that a notice was lost. */
const POLL_MS = 1_000;
/** Any number that only Berth indexers use, for those that start at the same time. */
const START_LOCK = "4207849485";
/** Wait between two questions to another indexer that had nothing more to tell. */
const PEER_POLL_MS = 2_000;
/** What names a refusal of a match: the stake is locked by another contract, with errors of its own. */
const MATCH_ERRORS = [...jobMarketAbi, ...providerStakingAbi].filter(({ type }) => type === "error");

/**
 * Starts following the chain, the API, and with a key the matcher. Beside others on one database, one leads and the others
 * serve what it writes. Throws RPC_UNAVAILABLE, WRONG_CHAIN, NOT_DEPLOYED, DATA_FOLDER_IN_USE, DATA_FOLDER_STALE,
 * DATABASE_UNREACHABLE, PORT_TAKEN.
 */
export async function startIndexer(
  config: IndexerConfig,
  { signal, log }: { signal: AbortSignal; log: Logger },
): Promise<Indexer> {
  const { deployment, databaseUrl, confirmations, pollMs } = config;
  const stop = new AbortController();
  const stopped = AbortSignal.any([signal, stop.signal]);
  const rpc = await connectRpc({ urls: config.rpcUrls, expectedChainId: deployment.chainId, log, signal });
  const { identity, staking, market } = deployment;
  await rpc.assertDeployed({ "identity registry": identity, "staking contract": staking, "job market": market });
  const db = databaseUrl === undefined ? await openPglite(config.dataFolder) : await openPostgres(databaseUrl, { log });
  const candidate = databaseUrl === undefined ? soleCandidate(db) : createCandidate(databaseUrl);
  const running: Promise<void>[] = [];
  try {
    return await start();
  } catch (error) {
    stop.abort();
    await Promise.allSettled(running);
    await candidate.close();
    await db.close();
    throw error;
  }

  async function start(): Promise<Indexer> {
    const genesis = (await readHeader(rpc, 0, signal)).hash;
    const prepare = async () => {
      await migrate(db);
      await claimOrigin(db, deployment, genesis);
    };
    await (databaseUrl === undefined ? prepare() : oneAfterAnother(db, prepare));
    const watch = createTableWatch({ rpc, db, fromBlock: deployment.fromBlock, confirmations, signal: stopped });
    let blockTime = await newestBlockTime(db);
    /** Chains in tests run ahead of the clock; a chain at rest stays behind it. */
    const now = () => Math.max(Math.floor(Date.now() / 1000), blockTime, watch.blockTime());
    const feed = await createBookFeed(db, now);
    const { live } = feed;
    const changes = await createChangeHub(db, { log });
    let leading: Leading | undefined;
    const status = () => (leading?.follower ?? watch).status();
    /** The database did not answer when what others wrote was last read. */
    let unread = false;
    const caughtUp = () => status().state === "following" && feed.isWhole() && !unread;
    const role = (): Role => (leading !== undefined ? "leader" : config.role === "replica" ? "replica" : "standby");
    const { promise: synced, resolve: markSynced } = Promise.withResolvers<void>();
    const asleep = config.matcherKey === undefined ? undefined : matcherAsleep(config.matcherKey);
    /** Somebody may have written something. */
    const news = createAlarm();
    const onTaken = () => leading?.matcher?.wake();
    const intake = createIntake({ rpc, db, live, deployment, limits: config.intake, now, caughtUp, onTaken });

    const lease = config.role === "replica" ? undefined : await candidate.tryToLead();
    const campaign = { candidate, lease, startLeading, stopLeading, signal: stopped, log };
    if (config.role !== "replica") run((await startCampaign(campaign)).done);
    run(pruneBook());
    if (databaseUrl !== undefined) {
      const onNews = () => {
        changes.wake();
        news.ring();
      };
      run(hearNotices(databaseUrl, { onNews, signal: stopped, log }));
      run(keepUp());
    }
    const { orders, questions, streams: most } = { ...DEFAULT_LIMITS, ...config.limits };
    const limits = { rateLimit: createRateLimit(orders), readLimit: createRateLimit(questions) };
    const streams = createStreams(most);
    const heights = createHeights(rpc, () => status().head);
    const context: ApiContext = {
      intake,
      peers: { status: () => leading?.peers.status() ?? [] },
      db,
      live,
      rpc,
      deployment,
      follower: { status },
      get matcher() {
        return leading?.matcher ?? asleep;
      },
      role,
      changes,
      streams,
      heights,
      ...limits,
      now,
      caughtUp,
    };
    const server = await startServer(config, context, { log });
    log.info({ url: server.url, role: role(), matcher: context.matcher?.address }, "indexer started");

    const done = settle().finally(async () => {
      changes.close();
      await server.close();
      await candidate.close();
      await db.close();
    });
    return {
      url: server.url,
      synced,
      done,
      async close() {
        stop.abort();
        await done;
      },
    };

    /** From here on this process alone writes what follows from the chain, on the session that holds the lease. */
    async function startLeading({ db: leased, lost }: Lease): Promise<Leading> {
      await feed.catchUp({ now: true });
      feed.setWriter(true);
      blockTime = now();
      const end = new AbortController();
      const over = AbortSignal.any([stopped, lost, end.signal]);
      let matcher: Matcher | undefined;
      const follower = followChain({
        rpc,
        addresses: [identity, staking, market],
        fromBlock: deployment.fromBlock,
        confirmations,
        pollMs,
        windowSize: WINDOW,
        store: createFollowerStore({ db: leased, deployment, onCommitted: (step) => live.apply(step) }),
        onBatch: (step) => {
          if (step.type === "blocks") blockTime = Math.max(blockTime, step.blocks.at(-1)?.timestamp ?? 0);
          changes.wake();
          matcher?.wake();
        },
        signal: over,
        log,
      });
      const works = [follower.done];
      const settled = (work: Promise<void>) => work.catch(() => {});
      follower.done.catch(() => {});
      follower.synced.then(markSynced);
      if (config.matcherKey !== undefined) {
        const isFollowing = () => follower.status().state === "following";
        const bookBlock = () => follower.status().cursor?.number ?? -1;
        const options = { db: leased, live, deployment, caughtUp: isFollowing, bookBlock, now, signal: over, log };
        try {
          matcher = await startMatcher({ ...options, ...matcherAccount(leased, over) });
        } catch (error) {
          end.abort();
          await settled(follower.done);
          throw error;
        }
        works.push(matcher.done);
      }
      const peers = startPeers({
        ...{ db, deployment, intake, now, caughtUp, signal: over, log },
        ...{ urls: [], allowPrivate: false, pollMs: PEER_POLL_MS, ...config.peers },
      });
      works.push(pruneTables(leased, over), peers.done);
      const done = Promise.all(works)
        .finally(async () => {
          end.abort();
          await Promise.all(works.map(settled));
        })
        .then(() => undefined);
      done.catch(() => {});
      leading = { follower, matcher, peers, done };
      return leading;
    }

    function stopLeading(): void {
      leading = undefined;
      watch.restart();
      feed.setWriter(false);
      news.ring();
    }

    /** What others write comes in as soon as it is noticed, and at every poll in case a notice was lost. */
    async function keepUp(): Promise<void> {
      while (!stopped.aborted) {
        try {
          if (leading === undefined) await watch.look();
          await feed.catchUp();
          leading?.matcher?.wake();
          changes.wake();
          unread = false;
          if (leading === undefined && caughtUp()) markSynced();
        } catch (err) {
          if (!unread && !stopped.aborted) log.warn({ err }, "the database could not be read, trying again");
          unread = true;
        }
        await news.wait(POLL_MS, stopped);
      }
    }

    async function pruneBook(): Promise<void> {
      while (!stopped.aborted) {
        live.prune(now());
        await pause(PRUNE_MS, stopped);
      }
    }

    async function pruneTables(leased: Database, over: AbortSignal): Promise<void> {
      while (!over.aborted) {
        await dropExpired(leased, now());
        await pause(PRUNE_MS, over);
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

  function matcherAccount(db: Database, over: AbortSignal): Pick<MatcherOptions, "stage" | "policy" | "openOutbox"> {
    const account = privateKeyToAccount(config.matcherKey ?? "0x");
    const policy = config.gasPolicy ?? DEFAULT_GAS_POLICY;
    return {
      stage: { rpc, market, from: account.address, abi: MATCH_ERRORS, signal: over },
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
          signal: over,
          log,
        }),
    };
  }
}

async function newestBlockTime({ query }: Database): Promise<number> {
  const [row] = await query<{ time: string | null }>("SELECT max(timestamp)::text AS time FROM blocks");
  return Number(row?.time ?? 0);
}

/** Of several that start at once, one prepares the tables and the others find them prepared. */
async function oneAfterAnother({ transaction }: Database, work: () => Promise<void>): Promise<void> {
  await transaction(async (query) => {
    await query("SELECT pg_advisory_xact_lock($1::bigint)", [START_LOCK]);
    await work();
  });
}

/** The matcher of an indexer that does not lead: the leader's is another one with, as a rule, the same account. */
function matcherAsleep(key: Hex): Matcher {
  return {
    address: privateKeyToAccount(key).address,
    wake() {},
    holds: () => [],
    status: () => ({ open: 0, lastError: null }),
    done: new Promise(() => {}),
  };
}
