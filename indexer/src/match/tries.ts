import { type ErrorJson, type Hex, toJson } from "@berth/protocol";
import type { Hold } from "../book/holds.ts";
import { holdToJson } from "../book/holds.ts";
import type { Database, Query } from "../store/database.ts";
import { type BatchRow, batches, type TryRow, tries } from "../store/orders.ts";
import { selectRows, upsertRows } from "../store/rows.ts";
import type { Bar } from "./bars.ts";
import { REFUSAL_MS } from "./refusals.ts";

export const DAY_MS = 86_400_000;

/** One match as it is to be noted. */
export interface NewTry {
  jobId: Hex;
  offers: Hex[];
  callData: Hex;
  hold: Hold;
  /** wei that its tip is worth */
  tipWorth: bigint;
}

/** The transaction that makes matches; `callData` null: that of its only match. */
export type NewBatch = Omit<BatchRow, "outboxKey">;

/** Notes matches before the transaction of all of them is sent, each under the next number of its job. */
export async function recordBatch(
  { transaction }: Database,
  items: readonly NewTry[],
  batch: NewBatch,
): Promise<{ outboxKey: string; rows: TryRow[] }> {
  return transaction(async (query) => {
    const attempts = await nextAttempts(query, items);
    const [first] = items;
    const jobId = first?.jobId ?? "0x";
    const attempt = attempts.get(jobId) ?? 1;
    const kind = items.length === 1 ? "match" : "batch";
    const outboxKey = attempt === 1 ? `${kind}:${jobId}` : `${kind}:${jobId}:${attempt}`;
    const rows = items.map((item, i) => toRow(item, { attempts, outboxKey, item: i, atMs: batch.atMs }));
    await upsertRows(query, tries, rows);
    await upsertRows(query, batches, [{ ...batch, outboxKey }]);
    return { outboxKey, rows };
  });
}

/**
 * Notes matches that were refused when they were tried, before anything was sent: without their calls, and in place of those of
 * the same jobs that no longer count.
 */
export async function recordRefused(
  { transaction }: Database,
  refused: readonly (NewTry & { error: ErrorJson; bar: Bar })[],
  atMs: number,
): Promise<void> {
  await transaction(async (query) => {
    const attempts = await nextAttempts(query, refused);
    const rows = refused.map((one) => ({
      ...toRow(one, { attempts, outboxKey: `unsent:${one.jobId}`, item: 0, atMs }),
      callData: "0x" as Hex,
      state: "failed",
      error: one.error,
      bar: one.bar,
    }));
    await upsertRows(query, tries, rows);
    await query(
      `DELETE FROM tries t USING json_to_recordset($1::json) AS n(job text, attempt bigint)
       WHERE t.job_id = unhex(n.job) AND t.attempt < n.attempt AND t.outbox_key LIKE 'unsent:%'
         AND t.state = 'failed' AND t.at_ms <= $2::bigint`,
      [toJson(rows.map(({ jobId, attempt }) => ({ job: jobId, attempt }))), String(atMs - REFUSAL_MS)],
    );
  });
}

/** How a match ended; `bar` null: nothing speaks against trying the same again. */
export interface TryEnd {
  jobId: Hex;
  state: "done" | "failed";
  error: ErrorJson | null;
  bar: Bar | null;
}

/** Notes how the matches of a transaction ended, and the gas that it cost in wei. */
export async function endBatch(
  { transaction }: Database,
  outboxKey: string,
  ends: readonly TryEnd[],
  { hash, gasCost }: { hash: Hex | null; gasCost: bigint },
): Promise<void> {
  await transaction(async (query) => {
    for (const { jobId, state, error, bar } of ends) {
      await query(
        `UPDATE tries SET state = $3, transaction = unhex($4), error = $5::jsonb, bar = $6::jsonb
         WHERE outbox_key = $1 AND job_id = unhex($2)`,
        [outboxKey, jobId, state, hash, jsonOrNull(error), jsonOrNull(bar)],
      );
    }
    await query("UPDATE batches SET gas_cost = $2::numeric WHERE outbox_key = $1", [outboxKey, String(gasCost)]);
  });
}

/** Matches under way in their places, and those refused since `sinceMs` of requests that may still be open at `now`. */
export async function loadTries(query: Query, { now, sinceMs }: { now: number; sinceMs: number }): Promise<TryRow[]> {
  return selectRows(
    query,
    tries,
    `WHERE t.state = 'sent' OR t.state = 'failed' AND t.bar IS NOT NULL AND t.at_ms > $2::bigint AND (
       t.job_id IN (SELECT job_id FROM requests WHERE open_until >= $1::bigint)
       OR t.job_id IN (SELECT job_id FROM jobs WHERE state = 'posted'))
     ORDER BY t.outbox_key, t.item, t.job_id, t.attempt`,
    [String(now), String(sinceMs)],
  );
}

/** The transactions of matches under way, in the order in which they were noted. */
export async function loadBatches(query: Query): Promise<BatchRow[]> {
  return selectRows(
    query,
    batches,
    "WHERE t.outbox_key IN (SELECT outbox_key FROM tries WHERE state = 'sent') ORDER BY t.at_ms, t.outbox_key",
  );
}

/** wei of gas of this UTC day that no tip pays for: the most it can be of what is under way. */
export async function givenToday(query: Query, nowMs: number): Promise<bigint> {
  const [row] = await query<{ sum: string }>(
    `SELECT coalesce(sum(greatest(b.gas_cost - b.earned, 0)), 0)::text AS sum FROM (
       SELECT gas_cost, coalesce((SELECT sum(t.tip_worth) FROM tries t
         WHERE t.outbox_key = batches.outbox_key AND t.state <> 'failed'), 0) AS earned
       FROM batches WHERE at_ms >= $1::bigint) b`,
    [String(nowMs - (nowMs % DAY_MS))],
  );
  return BigInt(row?.sum ?? "0");
}

function toRow(
  { jobId, offers, callData, hold, tipWorth }: NewTry,
  { attempts, outboxKey, item, atMs }: { attempts: Map<Hex, number>; outboxKey: string; item: number; atMs: number },
): TryRow {
  return {
    jobId,
    attempt: attempts.get(jobId) ?? 1,
    outboxKey,
    item,
    state: "sent",
    atMs,
    offers,
    callData,
    holds: holdToJson(hold),
    tipWorth,
    bar: null,
    error: null,
    transaction: null,
  };
}

async function nextAttempts(query: Query, items: readonly { jobId: Hex }[]): Promise<Map<Hex, number>> {
  const last = await query<{ job: Hex; attempt: string }>(
    `SELECT hex(job_id) AS job, max(attempt)::text AS attempt FROM tries
     WHERE job_id IN (SELECT unhex(id) FROM json_array_elements_text($1::json) AS id) GROUP BY job_id`,
    [toJson(items.map(({ jobId }) => jobId))],
  );
  const known = new Map(last.map(({ job, attempt }) => [job, Number(attempt)]));
  return new Map(items.map(({ jobId }) => [jobId, (known.get(jobId) ?? 0) + 1]));
}

function jsonOrNull(value: unknown): string | null {
  return value === null ? null : toJson(value);
}
