import { decodeEntry, encodeEntry, type OutboxEntry, type OutboxStore } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import type { Database } from "./database.ts";

const OPEN = ["queued", "signed", "sent", "mined"];

/** Keeps the matcher's transactions in the indexer's database. */
export function postgresOutboxStore({ query }: Database): OutboxStore {
  const get = async (key: string): Promise<OutboxEntry | undefined> => {
    const [row] = await query<{ entry: string }>("SELECT entry FROM outbox WHERE key = $1", [key]);
    return row === undefined ? undefined : decodeEntry(row.entry);
  };
  return {
    get,
    async insertIfAbsent(entry) {
      await query(
        `INSERT INTO outbox (key, open, signed_at_ms, gas_cost, entry)
         VALUES ($1, $2::boolean, $3::bigint, $4::numeric, $5) ON CONFLICT (key) DO NOTHING`,
        [entry.key, ...columns(entry)],
      );
      const stored = await get(entry.key);
      if (stored === undefined) throw new MarketError("OUTBOX_LOST", `The outbox lost ${entry.key} while storing it.`);
      return stored;
    },
    async update(entry) {
      await query(
        `UPDATE outbox SET open = $2::boolean, signed_at_ms = $3::bigint, gas_cost = $4::numeric, entry = $5
         WHERE key = $1`,
        [entry.key, ...columns(entry)],
      );
    },
    async listOpen() {
      const rows = await query<{ entry: string }>("SELECT entry FROM outbox WHERE open ORDER BY id");
      return rows.map(({ entry }) => decodeEntry(entry));
    },
    async gasCostSince(unixMs) {
      const [row] = await query<{ sum: string }>(
        "SELECT coalesce(sum(gas_cost), 0)::text AS sum FROM outbox WHERE signed_at_ms >= $1::bigint",
        [String(Math.floor(unixMs))],
      );
      return BigInt(row?.sum ?? "0");
    },
  };
}

function columns(entry: OutboxEntry): unknown[] {
  const signedAt = entry.signedAtMs === null ? null : String(entry.signedAtMs);
  return [OPEN.includes(entry.state), signedAt, String(entry.gasCost), encodeEntry(entry)];
}
