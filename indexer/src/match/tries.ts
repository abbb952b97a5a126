import { type ErrorJson, type Hex, toJson } from "@berth/protocol";
import type { Hold } from "../book/holds.ts";
import { holdToJson } from "../book/holds.ts";
import type { Database, Query } from "../store/database.ts";
import { type TryRow, tries } from "../store/orders.ts";
import { selectRows, upsertRows } from "../store/rows.ts";
import type { Bar } from "./bars.ts";

/** Notes a match before it is sent, under the next number of its job. */
export async function recordTry(
  { transaction }: Database,
  { jobId, offers, callData, hold, atMs }: { jobId: Hex; offers: Hex[]; callData: Hex; hold: Hold; atMs: number },
): Promise<TryRow> {
  return transaction(async (query) => {
    const [last] = await selectRows(query, tries, "WHERE t.job_id = unhex($1) ORDER BY t.attempt DESC LIMIT 1", [
      jobId,
    ]);
    const attempt = (last?.attempt ?? 0) + 1;
    const row: TryRow = {
      jobId,
      attempt,
      outboxKey: attempt === 1 ? `match:${jobId}` : `match:${jobId}:${attempt}`,
      state: "sent",
      atMs,
      offers,
      callData,
      holds: holdToJson(hold),
      bar: null,
      error: null,
      transaction: null,
    };
    await upsertRows(query, tries, [row]);
    return row;
  });
}

/** Notes how a match ended. */
export async function endTry(
  query: Query,
  outboxKey: string,
  end: { state: "done" | "failed"; transaction: Hex | null; error: ErrorJson | null; bar: Bar | null },
): Promise<void> {
  await query(
    `UPDATE tries SET state = $2, transaction = unhex($3), error = $4::jsonb, bar = $5::jsonb WHERE outbox_key = $1`,
    [outboxKey, end.state, end.transaction, jsonOrNull(end.error), jsonOrNull(end.bar)],
  );
}

/** Matches under way, and those refused since `sinceMs` of requests that may still be open at `now`. */
export async function loadTries(query: Query, { now, sinceMs }: { now: number; sinceMs: number }): Promise<TryRow[]> {
  return selectRows(
    query,
    tries,
    `WHERE t.state = 'sent' OR t.state = 'failed' AND t.at_ms > $2::bigint AND (
       t.job_id IN (SELECT job_id FROM requests WHERE open_until >= $1::bigint)
       OR t.job_id IN (SELECT job_id FROM jobs WHERE state = 'posted'))
     ORDER BY t.job_id, t.attempt`,
    [String(now), String(sinceMs)],
  );
}

function jsonOrNull(value: unknown): string | null {
  return value === null ? null : toJson(value);
}
