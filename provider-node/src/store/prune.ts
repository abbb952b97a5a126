import type { DatabaseSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import type { Database } from "./open.ts";
import { transactionSummary } from "./transaction-sums.ts";

/** How many rows were removed, by what they were. */
export interface Pruned {
  jobs: number;
  transactions: number;
  /** Posted requests that are closed, or were over a day ago. */
  requests: number;
  /** Publications of nodes and gateways that newer ones replaced, or that are void. */
  publications: number;
}

interface Moment {
  /** Unix seconds of the newest followed block: what lies before is past for certain. */
  now: number;
  /** Unix seconds: what is over since then is kept. */
  before: number;
  /** The oldest block that a reorganisation may still take back. */
  floor: number;
}

const DAY_SECONDS = 86_400;
/** The most rows of one kind in one transaction: everything else waits for it. */
const AT_A_TIME = 100;
const NAME = "kept-since";

/**
 * Forgets what has been over for `retentionDays` and what others said that no longer counts, in small steps. Whatever is
 * open, can be taken back by a reorganisation, or is kept for somebody stays, however old it is.
 */
export async function pruneJournal(
  { db, atomically }: Database,
  retentionDays: number,
  signal: AbortSignal,
): Promise<Pruned> {
  const total: Pruned = { jobs: 0, transactions: 0, requests: 0, publications: 0 };
  const moment = momentOf(db, retentionDays);
  if (moment === undefined) return total;
  const [q, summary] = [statements(db), transactionSummary({ db })];
  let counted = -1;
  for (let isMore = true; isMore && !signal.aborted; ) {
    // What is removed is counted first: the sums are of all transactions that ever were.
    const upTo = summary.writeDown(10 * AT_A_TIME);
    const pruned = atomically(() => pruneSome(q, moment, upTo));
    isMore = upTo > counted || Object.values(pruned).some((count) => count > 0);
    counted = upTo;
    for (const kind of Object.keys(total) as (keyof Pruned)[]) total[kind] += pruned[kind];
    await setImmediate();
  }
  return total;
}

/** Unix seconds: jobs that were over before are no longer in the journal. Undefined while nothing was removed. */
export function keptSince({ db }: Pick<Database, "db">): number | undefined {
  const row = db.prepare("SELECT value FROM meta WHERE name = ?").get(NAME);
  return row === undefined ? undefined : Number(row["value"]);
}

function momentOf(db: DatabaseSync, retentionDays: number): Moment | undefined {
  const row = db.prepare("SELECT min(number) AS floor, max(timestamp) AS now FROM blocks").get();
  if (row === undefined || row["floor"] === null) return undefined;
  const now = Number(row["now"]);
  return { now, before: now - retentionDays * DAY_SECONDS, floor: Number(row["floor"]) };
}

function pruneSome(q: ReturnType<typeof statements>, { now, before, floor }: Moment, counted: number): Pruned {
  const jobs = q.endedJobs.all({ now, before, floor }) as { job_id: string; replica: number }[];
  for (const { job_id, replica } of jobs) for (const remove of q.removeJob) remove.run(job_id, replica);
  if (jobs.length > 0) q.mark.run(NAME, String(before));
  const requests = [q.closedRequests.run({ floor }), q.overRequests.run({ floor, over: now - DAY_SECONDS })];
  const publications = [
    ...[q.replacedNodes, q.revokedNodes, q.replacedUrls].map((each) => each.run({ floor })),
    q.voidUrls.run({ floor, now }),
  ];
  const transactions = [q.transactions.run({ counted, beforeMs: before * 1000 })];
  return {
    jobs: jobs.length,
    transactions: rowsOf(transactions),
    requests: rowsOf(requests),
    publications: rowsOf(publications),
  };
}

function rowsOf(changes: readonly { changes: number | bigint }[]): number {
  return changes.reduce((sum, each) => sum + Number(each.changes), 0);
}

function statements(db: DatabaseSync) {
  const remove = (table: string, condition: string) =>
    db.prepare(
      `DELETE FROM ${table} WHERE (block, log_index) IN (
         SELECT block, log_index FROM ${table} r WHERE ${condition} LIMIT ${AT_A_TIME})`,
    );
  const same = (identity: string) =>
    identity
      .split(", ")
      .map((column) => `o.${column} = r.${column}`)
      .join(" AND ");
  const other = (table: string, identity: string, order: string) =>
    `EXISTS (SELECT 1 FROM ${table} o WHERE ${same(identity)} AND (o.block, o.log_index) ${order} (r.block, r.log_index)`;
  const newer = (table: string, identity: string) => `${other(table, identity, ">")} AND o.block < :floor)`;
  const older = (table: string, identity: string) => `${other(table, identity, "<")})`;
  const [node, url] = [["nodes", "operator, node_index"] as const, ["content_urls", "identity"] as const];
  const ofJob = "job_id = j.job_id AND replica = j.replica";
  return {
    endedJobs: db.prepare(
      `SELECT job_id, replica FROM jobs j WHERE matched_at < :before
         AND (chain_view IN ('settled', 'refunded') OR chain_view IS NULL AND dropped_at < :before)
         AND NOT EXISTS (SELECT 1 FROM attempts WHERE ${ofJob} AND (state NOT IN ('cleaned', 'retried') OR since >= :before))
         AND NOT EXISTS (SELECT 1 FROM replica_events WHERE ${ofJob} AND block >= :floor)
         AND NOT EXISTS (SELECT 1 FROM artifacts WHERE ${ofJob} AND kept_until >= :now)
         AND NOT EXISTS (SELECT 1 FROM outbox WHERE open = 1 AND instr(key, j.job_id) > 0)
         AND NOT EXISTS (SELECT 1 FROM settlements s JOIN outbox o ON o.key = 'finalize:' || s.batch
                         WHERE s.job_id = j.job_id AND s.replica = j.replica AND o.open = 1)
       ORDER BY matched_at LIMIT ${AT_A_TIME}`,
    ),
    removeJob: ["jobs", "attempts", "artifacts", "history", "replica_events", "settlements"].map((table) =>
      db.prepare(`DELETE FROM ${table} WHERE job_id = ? AND replica = ?`),
    ),
    mark: db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"),
    closedRequests: remove("request_events", "closed_block < :floor"),
    overRequests: remove("request_events", "closed_block IS NULL AND block < :floor AND open_until < :over"),
    replacedNodes: remove("nodes", newer(...node)),
    revokedNodes: remove("nodes", `record IS NULL AND block < :floor AND NOT ${older(...node)}`),
    replacedUrls: remove("content_urls", newer(...url)),
    voidUrls: remove("content_urls", `valid_to < :now AND block < :floor AND NOT ${older(...url)}`),
    // Ids rise with time, so those that are too young are not read.
    transactions: db.prepare(
      `DELETE FROM outbox WHERE id IN (
         SELECT id FROM outbox WHERE open = 0 AND id <= :counted
           AND id < coalesce((SELECT id FROM outbox WHERE signed_at_ms >= :beforeMs ORDER BY signed_at_ms LIMIT 1), id + 1)
           AND coalesce(signed_at_ms, json_extract(entry, '$.createdAtMs')) < :beforeMs
           AND ${IS_FORGOTTEN}
         ORDER BY id LIMIT ${AT_A_TIME})`,
    ),
  };
}

/** Is nothing left that a transaction, by its key, was made for? What is not about a job stays: its key says that it was done. */
const IS_FORGOTTEN = `CASE substr(key, 1, instr(key, ':'))
  WHEN 'submit:' THEN NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = substr(key, 8, 66))
  WHEN 'decline:' THEN NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = substr(key, 9, 66))
  WHEN 'accept:' THEN NOT EXISTS (SELECT 1 FROM jobs WHERE job_id = substr(key, 8, 66))
    AND NOT EXISTS (SELECT 1 FROM request_events WHERE job_id = substr(key, 8, 66))
  WHEN 'finalize:' THEN NOT EXISTS (SELECT 1 FROM settlements WHERE batch = CAST(substr(key, 10) AS INTEGER))
  WHEN 'nonce-gap:' THEN 1
  ELSE 0 END`;
