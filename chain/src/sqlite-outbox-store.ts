import type { DatabaseSync } from "node:sqlite";
import { decodeEntry, encodeEntry, isOpen, type OutboxStore } from "./outbox-store.ts";

/** Keeps the outbox in table `outbox` of `db`, which it creates. Open `db` with `PRAGMA synchronous = FULL`. */
export function sqliteOutboxStore(db: DatabaseSync): OutboxStore {
  db.exec(`
    CREATE TABLE IF NOT EXISTS outbox (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      key TEXT NOT NULL UNIQUE,
      open INTEGER NOT NULL,
      signed_at_ms INTEGER,
      entry TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS outbox_open ON outbox (id) WHERE open = 1;
    CREATE INDEX IF NOT EXISTS outbox_signed ON outbox (signed_at_ms);
  `);
  const insert = db.prepare(
    "INSERT INTO outbox (key, open, signed_at_ms, entry) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
  );
  const select = db.prepare("SELECT entry FROM outbox WHERE key = ?");
  const update = db.prepare("UPDATE outbox SET open = ?, signed_at_ms = ?, entry = ? WHERE key = ?");
  const open = db.prepare("SELECT entry FROM outbox WHERE open = 1 ORDER BY id");
  const signedSince = db.prepare("SELECT entry FROM outbox WHERE signed_at_ms >= ?");
  const read = (row: Record<string, unknown>) => decodeEntry(String(row["entry"]));
  return {
    insertIfAbsent(entry) {
      insert.run(entry.key, isOpen(entry) ? 1 : 0, entry.signedAtMs, encodeEntry(entry));
      return read(select.get(entry.key) as Record<string, unknown>);
    },
    get(key) {
      const row = select.get(key);
      return row === undefined ? undefined : read(row);
    },
    update(entry) {
      update.run(isOpen(entry) ? 1 : 0, entry.signedAtMs, encodeEntry(entry), entry.key);
    },
    listOpen: () => open.all().map(read),
    gasCostSince: (unixMs) => signedSince.all(unixMs).reduce((sum, row) => sum + read(row).gasCost, 0n),
  };
}
