import type { Logger } from "pino";
import { type Change, changeRange, changesAfter } from "../store/changes.ts";
import type { Database } from "../store/database.ts";

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
  /** It has gone. */
  over: boolean;
}

/** Brings the change stream from the tables to everybody who listens. */
export interface ChangeHub {
  /** Number of the newest event that was read. */
  readonly newest: number;
  readonly listeners: number;
  /** There may be something new in the tables. */
  wake(): void;
  /** The first event that is still kept. */
  first(): Promise<number>;
  /** Everything after `seq` without gaps or doubles, then what comes, until the returned function is called. */
  listen(listener: Listener, seq: number): () => void;
  close(): void;
}

const RECENT = 4_096;
const READ = 1_000;
/** Events between two looks at whether a listener who catches up keeps pace. */
const PAGE = 200;
const HEARTBEAT_MS = 15_000;
const RETRY_MS = 1_000;

export async function createChangeHub(
  { query }: Pick<Database, "query">,
  { log }: { log: Logger },
): Promise<ChangeHub> {
  let { last: newest } = await changeRange(query);
  /** The newest events in order, so that most listeners cost the database nothing. */
  let recent: WireChange[] = [];
  const live = new Set<Reader>();
  let closed = false;
  let reading = false;
  let again = false;
  let retry: NodeJS.Timeout | undefined;
  const heartbeat = setInterval(() => {
    const bytes = Buffer.from(`id: ${newest}\n\n`);
    for (const { listener } of live) listener.take(bytes);
  }, HEARTBEAT_MS).unref();

  return {
    get newest() {
      return newest;
    },
    get listeners() {
      return live.size;
    },
    wake,
    first: async () => (await changeRange(query)).first,
    listen(listener, seq) {
      const reader: Reader = { listener, over: false };
      follow(reader, seq);
      return () => {
        reader.over = true;
        live.delete(reader);
      };
    },
    close() {
      closed = true;
      clearInterval(heartbeat);
      clearTimeout(retry);
      live.clear();
    },
  };

  function wake(): void {
    again = true;
    if (closed || reading) return;
    reading = true;
    readAll()
      .catch((err: unknown) => {
        if (closed) return;
        log.warn({ err }, "change stream could not be read, trying again");
        retry = setTimeout(wake, RETRY_MS).unref();
      })
      .finally(() => {
        reading = false;
        if (again) wake();
      });
  }

  async function readAll(): Promise<void> {
    while (again && !closed) {
      again = false;
      const changes = (await changesAfter(query, newest, READ)).map(encode);
      const [oldest] = changes;
      if (closed || oldest === undefined) continue;
      if (oldest.seq !== newest + 1) loseAll(oldest.seq);
      newest = changes.at(-1)?.seq ?? newest;
      recent = [...recent, ...changes].slice(-RECENT);
      again ||= changes.length === READ;
      for (let from = 0; from < changes.length; from += PAGE) {
        const more = from + PAGE < changes.length || changes.length === READ;
        giveAll(changes.slice(from, from + PAGE), more);
      }
    }
  }

  /** Whoever has not taken a page of many goes on at its own pace, so that a large step drops nobody. */
  function giveAll(page: readonly WireChange[], more: boolean): void {
    const all = Buffer.concat(page.map(({ bytes }) => bytes));
    for (const reader of live) {
      give(reader.listener, page, all);
      if (!more || !reader.listener.waiting()) continue;
      live.delete(reader);
      follow(reader, page.at(-1)?.seq ?? newest);
    }
  }

  /** More events were pruned than were read. */
  function loseAll(first: number): void {
    recent = [];
    for (const { listener } of live) listener.lost(first);
    live.clear();
  }

  function follow(reader: Reader, after: number): void {
    catchUp(reader, after).catch((err: unknown) => {
      log.warn({ err }, "listener could not catch up");
      reader.listener.lost(newest + 1);
    });
  }

  async function catchUp(reader: Reader, after: number): Promise<void> {
    const { listener } = reader;
    for (let at = after; await listener.drained(); ) {
      if (reader.over || closed) return;
      if (at >= newest) {
        live.add(reader);
        return;
      }
      const page = await pageAfter(at);
      if (reader.over || closed) return;
      if (page[0]?.seq !== at + 1) return listener.lost(page[0]?.seq ?? newest + 1);
      // The tables may have more than was read. That comes to the listener once, when it is read.
      const known = page.filter(({ seq }) => seq <= newest);
      give(listener, known);
      at = known.at(-1)?.seq ?? at;
    }
  }

  async function pageAfter(seq: number): Promise<WireChange[]> {
    const first = recent[0]?.seq;
    if (first === undefined || seq + 1 < first) return (await changesAfter(query, seq, PAGE)).map(encode);
    return recent.slice(seq + 1 - first, seq + 1 - first + PAGE);
  }
}

/** `all`: the bytes of every change, for those who want them all. */
function give(listener: Listener, changes: readonly WireChange[], all?: Buffer): void {
  const wanted = changes.filter((change) => listener.wants(change));
  if (wanted.length === 0) return;
  const isAll = all !== undefined && wanted.length === changes.length;
  listener.take(isAll ? all : Buffer.concat(wanted.map(({ bytes }) => bytes)));
}

function encode({ seq, entity, about, body }: Change): WireChange {
  return { seq, entity, about, bytes: Buffer.from(`id: ${seq}\nevent: ${entity}\ndata: ${body}\n\n`) };
}
