import type { Hex } from "@berth/protocol";
import { createLiveBook, type LiveBook } from "../book/live-book.ts";
import type { Changes } from "../project/working-set.ts";
import { type Change, changeRange, changesAfter } from "../store/changes.ts";
import { BEGIN_SNAPSHOT, type Database, type Query } from "../store/database.ts";
import { offers, requests } from "../store/orders.ts";
import { selectRows } from "../store/rows.ts";
import { parseRow, type Table } from "../store/table.ts";
import { projections } from "../store/tables.ts";

/** Keeps the book of this process equal to the tables that others write too. */
export interface BookFeed {
  /** The book, whichever was read last. */
  readonly live: LiveBook;
  /**
   * Brings in what was committed since: orders, and unless this process writes it itself, what follows from the chain. With
   * `now`, the book is equal to the tables when this resolves; without, a book that must be read anew may wait a little.
   */
  catchUp(options?: { now: boolean }): Promise<void>;
  /** Is nothing known to be missing? */
  isWhole(): boolean;
  /** From now on, does this process write what follows from the chain, and apply it to the book itself? */
  setWriter(writes: boolean): void;
}

/** Changes that are read at once. */
const READ = 1_000;
/** While another process is catching up with the chain, all is read anew so often at most, in milliseconds. */
const ANEW_MS = 1_000;

/** Reads the book. `now`: unix seconds, as the chain counts them. */
export async function createBookFeed(db: Database, now: () => number): Promise<BookFeed> {
  let current: LiveBook;
  /** Number of the newest change that is in the book. */
  let seq = 0;
  /** Every transaction below this one had ended when orders were last read, as an `xid8`. */
  let horizon = "0";
  /** Orders of the last read, which may come again in the next. */
  let seen = new Set<string>();
  let writer = false;
  let stale = false;
  let readAtMs = 0;
  let turn: Promise<unknown> = Promise.resolve();
  await readAll();
  const live = new Proxy({} as LiveBook, { get: (_, name) => Reflect.get(current, name) });

  return {
    live,
    isWhole: () => !stale,
    catchUp(options) {
      const work = () => catchUp(options?.now ?? false);
      const mine = turn.then(work, work);
      turn = mine.catch(() => {});
      return mine;
    },
    setWriter(writes) {
      // Whoever wrote may have committed something without hearing of it.
      if (writer && !writes) stale = true;
      writer = writes;
    },
  };

  async function catchUp(atOnce: boolean): Promise<void> {
    if (!writer && !stale) await readChanges();
    if (!stale || writer) return readOrders();
    if (atOnce || Date.now() - readAtMs > ANEW_MS) await readAll();
  }

  /** All of it, as of one moment, into a new book. */
  async function readAll(): Promise<void> {
    let query: Query = db.query;
    const book = createLiveBook({ query: (sql, params) => query(sql, params) });
    const read = await db.transaction(async (inside) => {
      await inside(`SET ${BEGIN_SNAPSHOT}`);
      query = inside;
      const at = { seq: (await changeRange(inside)).last, horizon: await horizonOf(inside) };
      await book.load(now());
      return at;
    });
    query = db.query;
    ({ seq, horizon } = read);
    seen = new Set();
    stale = false;
    readAtMs = Date.now();
    current = book;
  }

  async function readChanges(): Promise<void> {
    for (;;) {
      const page = await changesAfter(db.query, seq, READ);
      const [first] = page;
      if (first === undefined) return;
      stale ||= first.seq !== seq + 1 || page.some(({ entity }) => entity === "backfill");
      if (stale) return;
      current.apply(changesOf(page));
      seq = page.at(-1)?.seq ?? seq;
      if (page.length < READ) return;
    }
  }

  async function readOrders(): Promise<void> {
    const fresh = `WHERE t.tx >= $1::text::xid8 AND t.tx < pg_snapshot_xmax(pg_current_snapshot())`;
    const read = await db.snapshot(async (query) => ({
      next: await horizonOf(query),
      offers: await selectRows(query, offers, `${fresh} AND t.expires_at >= $2::bigint ORDER BY t.seq`, [
        horizon,
        String(now()),
      ]),
      requests: await selectRows(query, requests, `${fresh} AND t.open_until >= $2::bigint ORDER BY t.seq`, [
        horizon,
        String(now()),
      ]),
    }));
    const names = new Set<string>();
    for (const row of read.offers) if (!current.book.has(row.offerHash)) current.putOffer(row);
    for (const row of read.requests) {
      const name = `${row.jobId} ${row.operators?.length ?? 0}`;
      names.add(name);
      if (!seen.has(name)) await current.putRequest(row);
    }
    seen = names;
    horizon = read.next;
  }
}

async function horizonOf(query: Query): Promise<string> {
  const [row] = await query<{ next: string }>("SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS next");
  return row?.next ?? "0";
}

/** What the events of the change stream say of rows, the last word on each. */
function changesOf(events: readonly Change[]): Changes {
  const changes: Record<string, Map<string, object | null>> = {};
  for (const name of Object.keys(projections)) changes[name] = new Map();
  for (const { entity, body } of events) {
    const of = (projections as Record<string, Table>)[entity];
    if (of === undefined) continue;
    const { key, row } = JSON.parse(body) as { key: Hex; row: Record<string, unknown> | null };
    changes[entity]?.set(key, row === null ? null : parseRow(of, row));
  }
  return changes as unknown as Changes;
}
