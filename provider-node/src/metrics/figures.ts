import type { DatabaseSync } from "node:sqlite";
import { decodeEntry, type OutboxEntry } from "@berth/chain";
import type { Database } from "../store/open.ts";

/** Counts of the journal, as they are now. */
export interface Figures {
  /** Newest attempts by state and outcome; the outcome is empty where there is none. */
  jobs: { state: string; outcome: string; count: number }[];
  /** What the replicas that this node owes a result for have reserved. */
  reserved: { cpuMilli: number; memoryMiB: number; diskMiB: number; jobs: number };
  transactions: { state: string; count: number }[];
  /** wei that mined transactions cost. */
  gasWei: bigint;
  /** Unix milliseconds at which the oldest transaction under way was wanted; null when there is none. */
  oldestTransactionAtMs: number | null;
}

export interface FigureReader {
  read(): Figures;
  /** Jobs that were not taken since the last call, by reason. */
  newDecisions(): { what: string; code: string; count: number }[];
}

interface Sums {
  states: Map<string, number>;
  gasWei: bigint;
}

/**
 * Counts by SQL what the journal knows. Transactions that are over never change, so those below the oldest one under way
 * are summed up once: a journal of years costs no more than a new one.
 */
export function createFigures({ db }: Pick<Database, "db">): FigureReader {
  const q = statements(db);
  let done: Sums & { upTo: number } = { states: new Map(), gasWei: 0n, upTo: 0 };
  let decidedUpTo = Number(q.lastDecision.get()?.["id"] ?? 0);

  return {
    read() {
      const open = q.firstOpen.get() as { id: number | null };
      const upTo = (open.id ?? Number.MAX_SAFE_INTEGER) - 1;
      const over = q.entries.all(done.upTo, upTo);
      done = { ...sumOf(over, done), upTo: Math.max(done.upTo, ...over.map((row) => Number(row["id"]))) };
      const recent = q.entries.all(upTo, Number.MAX_SAFE_INTEGER);
      const all = sumOf(recent, done);
      const pending = recent.map(entryOf).filter(({ state }) => ["queued", "signed", "sent"].includes(state));
      return {
        jobs: q.jobs.all() as unknown as Figures["jobs"],
        reserved: q.reserved.get() as unknown as Figures["reserved"],
        transactions: [...all.states].map(([state, count]) => ({ state, count })),
        gasWei: all.gasWei,
        oldestTransactionAtMs: pending.length === 0 ? null : Math.min(...pending.map((entry) => entry.createdAtMs)),
      };
    },
    newDecisions() {
      const rows = q.decisions.all(decidedUpTo) as { what: string; code: string; count: number; id: number }[];
      decidedUpTo = Math.max(decidedUpTo, ...rows.map(({ id }) => id));
      return rows.map(({ what, code, count }) => ({ what, code, count }));
    },
  };
}

function sumOf(rows: readonly Record<string, unknown>[], before: Sums): Sums {
  const states = new Map(before.states);
  let { gasWei } = before;
  for (const entry of rows.map(entryOf)) {
    states.set(entry.state, (states.get(entry.state) ?? 0) + 1);
    if (entry.mined !== null) gasWei += entry.gasCost;
  }
  return { states, gasWei };
}

function entryOf(row: Record<string, unknown>): OutboxEntry {
  return decodeEntry(String(row["entry"]));
}

function statements(db: DatabaseSync) {
  const newest =
    "NOT EXISTS (SELECT 1 FROM attempts b WHERE b.job_id = a.job_id AND b.replica = a.replica AND b.attempt > a.attempt)";
  const sum = (field: string) => `coalesce(sum(json_extract(terms, '$.job.${field}')), 0) AS ${field}`;
  return {
    jobs: db.prepare(
      `SELECT state, coalesce(outcome, '') AS outcome, count(*) AS count FROM attempts a WHERE ${newest} GROUP BY 1, 2`,
    ),
    reserved: db.prepare(
      `SELECT ${sum("cpuMilli")}, ${sum("memoryMiB")}, ${sum("diskMiB")}, count(*) AS jobs FROM jobs j
       WHERE 'active' = (SELECT kind FROM replica_events e WHERE e.job_id = j.job_id AND e.replica = j.replica
                         ORDER BY block DESC, log_index DESC LIMIT 1)`,
    ),
    firstOpen: db.prepare("SELECT min(id) AS id FROM outbox WHERE open = 1"),
    entries: db.prepare("SELECT id, entry FROM outbox WHERE id > ? AND id <= ?"),
    lastDecision: db.prepare("SELECT max(id) AS id FROM decisions"),
    decisions: db.prepare(
      "SELECT what, code, count(*) AS count, max(id) AS id FROM decisions WHERE id > ? GROUP BY what, code",
    ),
  };
}
