import { setImmediate } from "node:timers/promises";
import type { Logger } from "pino";
import { type Change, changeRange, changesAfter } from "../store/changes.ts";
import type { Database } from "../store/database.ts";
import { announceOrders } from "../store/orders.ts";

/** An event as it goes over the wire: encoded once, whoever listens. */
export interface WireChange {
  seq: number;
  entity: string;
  about: string;
  bytes: Buffer;
}

/** Who listens. `take` must not wait: a listener who is too slow is dropped by its own rules. */
export interface Listener {
  wants(change: WireChange): boolean;
  take(bytes: Buffer): void;
  /** Some of what was taken has not left yet. */
  waiting(): boolean;
  /** Resolves when what was taken so far has left; false when the listener is gone. */
  drained(): Promise<boolean>;
  /** What it asked for is no longer kept. */
  lost(first: number): void;
}

interface Reader {
  listener: Listener;
  /** The last event that it got, or that was not for it. */
  at: number;
  /** It has gone. */
  over: boolean;
}

/** Brings the change stream from the tables to everybody who listens. */
export interface ChangeHub {
  /** Number of the newest event that was read. */
  readonly newest: number;
  /** Is nothing known of that `newest` does not count? */
  readonly settled: boolean;
  readonly listeners: number;
  /** There may be something new in the tables, and of orders too where `isOrder`. */
  wake(isOrder?: boolean): void;
  /** The first event that is still kept, and the last that is stored: another process may have written it just now. */
  range(): Promise<{ first: number; last: number }>;
  /** Everything after `seq` without gaps or doubles, then what comes, until the returned function is called. */
  listen(listener: Listener, seq: number): () => void;
  close(): void;
}

const RECENT = 4_096;
const READ = 1_000;
/** Events that a listener gets at once. */
const PAGE = 200;
/** How long listeners are served before anything else may run. */
const SLICE_MS = 4;
const HEARTBEAT_MS = 15_000;
/** Looks at the tables without being told to, so that nothing that was missed stays unknown. */
const POLL_MS = 1_000;
const RETRY_MS = 1_000;

export async function createChangeHub(
  { query }: Pick<Database, "query">,
  { log, pollMs = POLL_MS }: { log: Logger; pollMs?: number },
): Promise<ChangeHub> {
  let { last: newest } = await changeRange(query);
  /** The newest events in order, so that most listeners cost the database nothing. */
  let recent: WireChange[] = [];
  const live = new Set<Reader>();
  let closed = false;
  let settled = true;
  let reading = false;
  let again = false;
  /** Orders may have come in that are not on the stream yet: of this indexer, or of another that stopped before it said so. */
  let hasOrders = true;
  let serving = false;
  let retry: NodeJS.Timeout | undefined;
  const heartbeat = setInterval(() => {
    const bytes = Buffer.from(`id: ${newest}\n\n`);
    for (const { listener, at } of live) if (at === newest) listener.take(bytes);
  }, HEARTBEAT_MS).unref();
  const poll = setInterval(() => wake(true), pollMs).unref();

  return {
    get newest() {
      return newest;
    },
    get settled() {
      return settled;
    },
    get listeners() {
      return live.size;
    },
    wake,
    range: () => changeRange(query),
    listen(listener, seq) {
      const reader: Reader = { listener, at: seq, over: false };
      follow(reader);
      return () => {
        reader.over = true;
        live.delete(reader);
      };
    },
    close() {
      closed = true;
      settled = false;
      clearInterval(heartbeat);
      clearInterval(poll);
      clearTimeout(retry);
      live.clear();
    },
  };

  function wake(isOrder = false): void {
    again = true;
    hasOrders ||= isOrder;
    if (closed) return;
    settled = false;
    if (reading) return;
    reading = true;
    readAll()
      .then(() => {
        settled = !again && !closed;
      })
      .catch((err: unknown) => {
        if (closed) return;
        log.warn({ err }, "change stream could not be read, trying again");
        retry = setTimeout(() => wake(), RETRY_MS).unref();
      })
      .finally(() => {
        reading = false;
        if (again) wake();
      });
  }

  async function readAll(): Promise<void> {
    while (again && !closed) {
      again = false;
      if (hasOrders) {
        hasOrders = false;
        const more = await announceOrders(query).catch((error: unknown) => {
          hasOrders = true;
          throw error;
        });
        if (more) hasOrders = again = true;
      }
      const changes = (await changesAfter(query, newest, READ)).map(encode);
      const [oldest] = changes;
      if (closed || oldest === undefined) continue;
      if (oldest.seq !== newest + 1) loseAll(oldest.seq);
      newest = changes.at(-1)?.seq ?? newest;
      recent = [...recent, ...changes].slice(-RECENT);
      again ||= changes.length === READ;
      serve();
    }
  }

  /** More events were pruned than were read. */
  function loseAll(first: number): void {
    recent = [];
    for (const { listener } of live) listener.lost(first);
    live.clear();
  }

  /** Gives everybody what is new, a slice of time at once: what comes meanwhile goes with it, in one piece for each. */
  function serve(): void {
    if (serving) return;
    serving = true;
    serveAll()
      .catch((err: unknown) => log.error({ err }, "listeners could not be served"))
      .finally(() => {
        serving = false;
      });
  }

  async function serveAll(): Promise<void> {
    let until = performance.now() + SLICE_MS;
    for (let isBehind = true; isBehind && !closed; ) {
      isBehind = false;
      const pieces = new Map<string, Buffer>();
      for (const reader of live) {
        if (reader.at < newest) advance(reader, pieces);
        isBehind ||= reader.at < newest;
        if (performance.now() < until) continue;
        await setImmediate();
        if (closed) return;
        until = performance.now() + SLICE_MS;
        // Those who were served before what came meanwhile.
        isBehind = true;
      }
    }
  }

  /** Whoever has not taken a page of many, or has to wait for the tables, goes on at its own pace and delays nobody. */
  function advance(reader: Reader, pieces: Map<string, Buffer>): void {
    const { listener, at } = reader;
    const page = recentAfter(at);
    if (page !== undefined) {
      reader.at = page.at(-1)?.seq ?? at;
      give(listener, page, pieces);
      if (reader.at === newest || !listener.waiting()) return;
    }
    live.delete(reader);
    follow(reader);
  }

  function follow(reader: Reader): void {
    catchUp(reader).catch((err: unknown) => {
      log.warn({ err }, "listener could not catch up");
      reader.listener.lost(newest + 1);
    });
  }

  async function catchUp(reader: Reader): Promise<void> {
    const { listener } = reader;
    while (await listener.drained()) {
      if (reader.over || closed) return;
      if (reader.at >= newest) {
        live.add(reader);
        return;
      }
      const page = recentAfter(reader.at) ?? (await changesAfter(query, reader.at, PAGE)).map(encode);
      if (reader.over || closed) return;
      if (page[0]?.seq !== reader.at + 1) return listener.lost(page[0]?.seq ?? newest + 1);
      // The tables may have more than was read. That comes to the listener once, when it is read.
      const known = page.filter(({ seq }) => seq <= newest);
      reader.at = known.at(-1)?.seq ?? reader.at;
      give(listener, known);
    }
  }

  /** The page after `seq`; undefined when it is no longer in memory. */
  function recentAfter(seq: number): WireChange[] | undefined {
    const first = recent[0]?.seq;
    if (first === undefined || seq + 1 < first) return undefined;
    return recent.slice(seq + 1 - first, seq + 1 - first + PAGE);
  }
}

/** `pieces`: what others got in this round; who wants the same gets the same bytes. */
function give(listener: Listener, changes: readonly WireChange[], pieces = new Map<string, Buffer>()): void {
  const wanted = changes.filter((change) => listener.wants(change));
  if (wanted.length > 0) listener.take(pieceOf(wanted, wanted.length === changes.length ? pieces : new Map()));
}

function pieceOf(changes: readonly WireChange[], pieces: Map<string, Buffer>): Buffer {
  const [first, ...more] = changes;
  if (first !== undefined && more.length === 0) return first.bytes;
  const place = `${first?.seq} ${changes.length}`;
  const piece = pieces.get(place) ?? Buffer.concat(changes.map(({ bytes }) => bytes));
  pieces.set(place, piece);
  return piece;
}

function encode({ seq, entity, about, body }: Change): WireChange {
  return { seq, entity, about, bytes: Buffer.from(`id: ${seq}\nevent: ${entity}\ndata: ${body}\n\n`) };
}
