import { DatabaseSync } from "node:sqlite";
import type { Pin } from "./store.ts";

/** What is kept and until when. Every change is on disk when its call returns. */
export interface PinLedger {
  /** Sets or extends; never shortens. */
  extend(pin: Pin): void;
  /** Ends a pin now; the next `expire` removes it. */
  end(cid: string, owner: string): void;
  /** Pins that have not been ended by hand. */
  list(): Pin[];
  /** The CIDs whose last pin ended at or before `now`. */
  released(now: number): string[];
  /** Removes pins that ended at or before `now` (of one CID, when given) and returns how many. */
  expire(now: number, cid?: string): number;
  close(): void;
}

/** Opens the ledger in the SQLite file at `path`, which several processes may share. */
export function openPinLedger(path: string): PinLedger {
  const db = new DatabaseSync(path, { timeout: 5000 });
  db.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS pins (
      cid TEXT NOT NULL, owner TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (cid, owner)
    ) STRICT, WITHOUT ROWID`);
  const extend = db.prepare(
    "INSERT INTO pins VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)",
  );
  const end = db.prepare("UPDATE pins SET until = 0 WHERE cid = ? AND owner = ?");
  const list = db.prepare("SELECT cid, owner, until FROM pins WHERE until > 0 ORDER BY cid, owner");
  const released = db.prepare("SELECT cid FROM pins GROUP BY cid HAVING max(until) <= ?");
  const expire = db.prepare("DELETE FROM pins WHERE until <= ?1 AND (?2 IS NULL OR cid = ?2)");

  return {
    extend: ({ cid, owner, until }) => void extend.run(cid, owner, until),
    end: (cid, owner) => void end.run(cid, owner),
    list: () => list.all().map((row) => ({ cid: String(row.cid), owner: String(row.owner), until: Number(row.until) })),
    released: (now) => released.all(now).map((row) => String(row.cid)),
    expire: (now, cid) => Number(expire.run(now, cid ?? null).changes),
    close: () => db.close(),
  };
}
