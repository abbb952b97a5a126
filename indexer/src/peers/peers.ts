import { setTimeout } from "node:timers/promises";
import { type Deployment, type ErrorJson, errorToJson, MarketError, parseWith } from "@berth/protocol";
import type { Logger } from "pino";
import { z } from "zod";
import { createRateLimit } from "../http/rate-limit.ts";
import type { Intake } from "../intake/intake.ts";
import { createRemembered } from "../intake/remembered.ts";
import type { Database } from "../store/database.ts";
import { announcedUrls } from "./announced.ts";
import { askPeer } from "./ask.ts";
import { peerUrl } from "./peer-url.ts";
import { type Cursor, MAX_PAGE_BYTES, PAGE, type Pulled, type PullOptions, takeAside, takePage } from "./pull.ts";

/** Where a peer's URL comes from. */
export type PeerOrigin = "configured" | "registry" | "peer";

export interface PeerStatus {
  url: string;
  from: PeerOrigin;
  state: "new" | "following" | "failing";
  /** Number of its last order that was read. */
  after: number;
  taken: number;
  refused: number;
  /** Of its last good answer; null before the first. In unix milliseconds. */
  answeredAtMs: number | null;
  lastError: ErrorJson | null;
}

/** The other indexers that this one reads orders from. */
export interface Peers {
  status(): PeerStatus[];
  /** Resolves after the signal. */
  done: Promise<void>;
}

export interface PeersOptions {
  db: Database;
  deployment: Deployment;
  intake: Intake;
  /** Base URLs that are always followed, wherever they are. */
  urls: readonly string[];
  /** May other indexers be in private and loopback networks? */
  allowPrivate: boolean;
  /** Wait between two questions to a peer that had nothing more to tell. */
  pollMs: number;
  now: () => number;
  caughtUp: () => boolean;
  signal: AbortSignal;
  log: Logger;
}

/** Most peers of each origin, and most that one peer may name. */
const MOST: Record<PeerOrigin, number> = { configured: 32, registry: 16, peer: 8 };
const MAX_NAMED = 2;
/** Rounds of questions between two looks for new peers. */
const ROUNDS_PER_SEARCH = 10;
/** Orders of one peer that are checked; junk counts five times. */
const RATE = { burst: 2_000, perSecond: 200 };
/** Orders of one peer that are kept because this indexer may take them later, and how long. */
const MAX_ASIDE = 64;
const ASIDE_MS = 60_000;
const MAX_BACKOFF_MS = 10 * 60_000;
const FIRST_BACKOFF_MS = 500;
/** Failures in a row after which a peer that nobody configured is let go of, and how long it is not taken again. */
const MAX_FAILURES = 5;
const BANNED_MS = 60 * 60_000;
const MAX_BANNED = 1_000;
const MAX_LIST_BYTES = 64 * 1024;

const peerListSchema = z.object({ items: z.array(z.object({ url: z.string() })).max(200) });

/** Follows each peer by itself, so that a slow or hostile one delays nobody. */
export function startPeers(options: PeersOptions): Peers {
  const { db, deployment, intake, allowPrivate, pollMs, now, caughtUp, signal, log } = options;
  const followed = new Map<string, Followed>();
  const banned = createRemembered<true>(MAX_BANNED);
  const budget = createRateLimit(RATE);
  const loops = new Set<Promise<void>>();
  let own: string | undefined;

  function follow(url: string, from: PeerOrigin, namedBy?: string): void {
    const same = [...followed.values()].filter((peer) => peer.status.from === from);
    if (followed.has(url) || banned.get(url) === true || same.length >= MOST[from] || signal.aborted) return;
    if (namedBy !== undefined && same.filter((peer) => peer.namedBy === namedBy).length >= MAX_NAMED) return;
    const peer = newPeer(url, from, namedBy, signal);
    followed.set(url, peer);
    const loop = run(peer).catch((err: unknown) => log.error({ err, peer: url }, "peer no longer followed"));
    loops.add(loop);
    void loop.finally(() => {
      loops.delete(loop);
      followed.delete(url);
    });
  }

  async function run(peer: Followed): Promise<void> {
    const { url, status } = peer;
    const { end } = peer;
    let isStarted = false;
    for (let round = 0; !end.aborted; round++) {
      let more = false;
      try {
        if (!isStarted) {
          peer.cursor = await storedCursor(db, url);
          status.after = peer.cursor.after;
          isStarted = true;
        }
        if (caughtUp()) more = await pull(peer);
        if (round % ROUNDS_PER_SEARCH === 0) await learn(peer);
        Object.assign(peer, { failures: 0 });
        status.state = "following";
      } catch (error) {
        if (end.aborted) return;
        peer.failures += 1;
        Object.assign(status, { state: "failing", lastError: errorToJson(error) });
        log.debug({ err: error, peer: url }, "peer failed");
        if (status.from !== "configured" && (peer.failures >= MAX_FAILURES || isFinal(error))) {
          banned.put(url, true, BANNED_MS);
          log.info({ peer: url, code: status.lastError?.code }, "peer let go of");
          return;
        }
      }
      const backoff = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(peer.failures, 20));
      await pause(peer.failures > 0 ? Math.max(backoff, pollMs) : more ? 0 : pollMs, end);
    }
  }

  /** Reads one page; true when there is more. */
  async function pull(peer: Followed): Promise<boolean> {
    const { url, status, cursor } = peer;
    const answer = await askPeer(`${url}/orders?after=${cursor.after}&limit=${PAGE}`, {
      publicOnly: status.from !== "configured" && !allowPrivate,
      maxBytes: MAX_PAGE_BYTES,
      signal: peer.end,
    });
    own ??= await ownLog(db);
    if ((answer as { log?: unknown } | null)?.log === own) throw itself();
    status.answeredAtMs = Date.now();
    const optionsUntil = (untilMs: number): PullOptions => ({
      intake,
      sender: `peer ${url}`,
      spend: () => budget.take(url),
      punish: () => budget.refuse(url),
      setAside: (item) => setAside(peer, item, untilMs),
    });
    const aside = peer.aside.filter(({ untilMs }) => Date.now() < untilMs);
    peer.aside = [];
    for (const { item, untilMs } of aside) {
      const { taken, refused } = await takeAside(item, optionsUntil(untilMs));
      status.taken += taken;
      status.refused += refused;
    }
    try {
      const pulled = await takePage(answer, cursor, optionsUntil(Date.now() + ASIDE_MS));
      await note(peer, pulled);
      return pulled.more;
    } catch (error) {
      if (error instanceof MarketError && error.code === "PEER_SENDS_JUNK") await note(peer, error.cause as Pulled);
      throw error;
    }
  }

  async function note(peer: Followed, { cursor, taken, refused, waitingFor }: Pulled): Promise<void> {
    const { status } = peer;
    const moved = cursor.log !== peer.cursor.log || cursor.after !== peer.cursor.after;
    peer.cursor = cursor;
    status.after = cursor.after;
    status.taken += taken;
    status.refused += refused;
    status.lastError = waitingFor === undefined ? null : errorToJson(waitingFor);
    if (moved) await storeCursor(db, peer.url, cursor);
  }

  /** Asks a peer for others. */
  async function learn({ url, status, end }: Followed): Promise<void> {
    const answer = await askPeer(`${url}/peers`, {
      publicOnly: status.from !== "configured" && !allowPrivate,
      maxBytes: MAX_LIST_BYTES,
      signal: end,
    });
    const { items } = parseWith(peerListSchema, answer, { code: "PEER_ANSWER_BAD", what: "Its list of peers" });
    for (const item of items) {
      const named = peerUrl(item.url);
      if (named !== undefined) follow(named, "peer", url);
    }
  }

  /** Those with the most stake behind them; a place is nobody's for ever. */
  async function followAnnounced(): Promise<void> {
    const urls = await announcedUrls(db.query, deployment, now());
    const best = urls.filter((url) => banned.get(url) !== true).slice(0, MOST.registry);
    for (const peer of followed.values()) {
      if (peer.status.from === "registry" && !best.includes(peer.url)) peer.stop();
    }
    for (const url of best) follow(url, "registry");
  }

  async function searchRegistry(): Promise<void> {
    while (!signal.aborted) {
      try {
        if (caughtUp()) await followAnnounced();
      } catch (err) {
        if (!signal.aborted) log.warn({ err }, "the registry could not be searched for indexers");
      }
      await pause(ROUNDS_PER_SEARCH * pollMs, signal);
    }
  }

  for (const url of options.urls) follow(url, "configured");
  const search = searchRegistry();
  return {
    status: () => [...followed.values()].map(({ status }) => ({ ...status })),
    done: (async () => {
      await search;
      while (loops.size > 0) await Promise.all(loops);
    })(),
  };
}

interface Followed {
  url: string;
  status: PeerStatus;
  namedBy: string | undefined;
  cursor: Cursor;
  failures: number;
  /** No longer followed, or everything ends. */
  end: AbortSignal;
  stop(): void;
  /** Orders that may be taken later. */
  aside: { item: unknown; untilMs: number }[];
}

function newPeer(url: string, from: PeerOrigin, namedBy: string | undefined, signal: AbortSignal): Followed {
  const stop = new AbortController();
  const status: PeerStatus = {
    url,
    from,
    state: "new",
    after: 0,
    taken: 0,
    refused: 0,
    answeredAtMs: null,
    lastError: null,
  };
  return {
    url,
    status,
    namedBy,
    cursor: { log: "", after: 0 },
    failures: 0,
    end: AbortSignal.any([signal, stop.signal]),
    stop: () => stop.abort(),
    aside: [],
  };
}

function setAside({ aside }: Followed, item: unknown, untilMs: number): void {
  aside.push({ item, untilMs });
  if (aside.length > MAX_ASIDE) aside.shift();
}

function itself(): MarketError {
  return new MarketError("PEER_IS_ITSELF", "It is this indexer itself.");
}

/** Nothing that time changes. */
function isFinal(error: unknown): boolean {
  return error instanceof MarketError && (error.code === "PEER_IS_ITSELF" || error.code === "SOURCE_REFUSED");
}

async function ownLog({ query }: Pick<Database, "query">): Promise<string | undefined> {
  const [row] = await query<{ id: string }>("SELECT id FROM order_log");
  return row?.id;
}

async function storedCursor({ query }: Pick<Database, "query">, url: string): Promise<Cursor> {
  const [row] = await query<{ log: string; after: string }>(
    "SELECT log, after::text AS after FROM peer_cursors WHERE url = $1",
    [url],
  );
  return { log: row?.log ?? "", after: Number(row?.after ?? 0) };
}

/** Keeps as many as there can be peers in a day, and forgets the oldest. */
async function storeCursor({ transaction }: Pick<Database, "transaction">, url: string, cursor: Cursor): Promise<void> {
  await transaction(async (query) => {
    await query(
      `INSERT INTO peer_cursors (url, log, after, at) VALUES ($1, $2, $3::bigint, now())
       ON CONFLICT (url) DO UPDATE SET log = EXCLUDED.log, after = EXCLUDED.after, at = EXCLUDED.at`,
      [url, cursor.log, String(cursor.after)],
    );
    await query(
      `DELETE FROM peer_cursors WHERE url IN (SELECT url FROM peer_cursors ORDER BY at DESC OFFSET ${MAX_CURSORS})`,
    );
  });
}

const MAX_CURSORS = 256;

/** Ends early with the signal. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => {});
}
