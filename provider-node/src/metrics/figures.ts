import type { DatabaseSync } from "node:sqlite";
import type { OutboxState } from "@berth/chain";
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
  oldestPendingMs: number | null;
  /** The newest row that is counted. */
  upTo: number;
}

const pending: readonly string[] = ["queued", "signed", "sent"] satisfies OutboxState[];

/**
 * Counts by SQL what the journal knows. Transactions that are over never change, so those below the oldest one under way
 * are summed up once: a journal of years costs no more than a new one.
 */
export function createFigures({ db }: Pick<Database, "db">): FigureReader {
  const q = statements(db);
  let done: Sums = { states: new Map(), gasWei: 0n, oldestPendingMs: null, upTo: 0 };
  let decidedUpTo = Number(q.lastDecision.get()?.["id"] ?? 0);

  return {
    read() {
      const open = q.firstOpen.get() as { id: number | null };
      const upTo = (open.id ?? Number.MAX_SAFE_INTEGER) - 1;
      done = sumOf(q.entries.iterate(done.upTo, upTo), done);
      const all = sumOf(q.entries.iterate(upTo, Number.MAX_SAFE_INTEGER), done);
      return {
        jobs: q.jobs.all() as unknown as Figures["jobs"],
        reserved: q.reserved.get() as unknown as Figures["reserved"],
        transactions: [...all.states].map(([state, count]) => ({ state, count })),
        gasWei: all.gasWei,
        oldestTransactionAtMs: all.oldestPendingMs,
      };
    },
    newDecisions() {
      const rows = q.decisions.all(decidedUpTo) as { what: string; code: string; count: number; id: number }[];
      decidedUpTo = Math.max(decidedUpTo, ...rows.map(({ id }) => id));
      return rows.map(({ what, code, count }) => ({ what, code, count }));
    },
  };
}

/** Row by row: the entries hold whole transactions. */
function sumOf(rows: Iterable<Record<string, unknown>>, before: Sums): Sums {
  const sums = { ...before, states: new Map(before.states) };
  for (const row of rows) {
    const state = String(row["state"]);
    sums.states.set(state, (sums.states.get(state) ?? 0) + 1);
    if (row["mined"] === 1) sums.gasWei += BigInt(String(row["gas"]));
    if (pending.includes(state)) {
      sums.oldestPendingMs = Math.min(sums.oldestPendingMs ?? Number.POSITIVE_INFINITY, Number(row["created"]));
    }
    sums.upTo = Number(row["id"]);
  }
  return sums;
}

function statements(db: DatabaseSync) {
  const newest =
    "NOT EXISTS (SELECT 1 FROM attempts b WHERE b.job_id = a.job_id AND b.replica = a.replica AND b.attempt > a.attempt)";
  const member = (name: string, as = name) => `json_extract(entry, '$.${name}') AS ${as}`;
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
    entries: db.prepare(
      `SELECT id, ${member("state")}, ${member("gasCost", "gas")}, ${member("createdAtMs", "created")},
         json_extract(entry, '$.mined') IS NOT NULL AS mined
       FROM outbox WHERE id > ? AND id <= ? ORDER BY id`,
    ),
    lastDecision: db.prepare("SELECT max(id) AS id FROM decisions"),
    decisions: db.prepare(
      "SELECT what, code, count(*) AS count, max(id) AS id FROM decisions WHERE id > ? GROUP BY what, code",
    ),
  };
}
