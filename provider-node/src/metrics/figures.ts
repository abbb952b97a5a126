import type { DatabaseSync } from "node:sqlite";
import type { Database } from "../store/open.ts";
import { transactionSummary } from "../store/transaction-sums.ts";

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

/** Counts by SQL what the journal knows; what is over is counted by its indexes. */
export function createFigures({ db }: Pick<Database, "db">): FigureReader {
  const q = statements(db);
  const transactions = transactionSummary({ db });
  let decidedUpTo = Number(q.lastDecision.get()?.["id"] ?? 0);

  return {
    read() {
      const { states, gasWei, oldestPendingMs } = transactions.read();
      return {
        jobs: q.jobs.all() as unknown as Figures["jobs"],
        reserved: q.reserved.get() as unknown as Figures["reserved"],
        transactions: [...states].map(([state, count]) => ({ state, count })),
        gasWei,
        oldestTransactionAtMs: oldestPendingMs,
      };
    },
    newDecisions() {
      const rows = q.decisions.all(decidedUpTo) as { what: string; code: string; count: number; id: number }[];
      decidedUpTo = Math.max(decidedUpTo, ...rows.map(({ id }) => id));
      return rows.map(({ what, code, count }) => ({ what, code, count }));
    },
  };
}

function statements(db: DatabaseSync) {
  const sum = (field: string) => `coalesce(sum(json_extract(terms, '$.job.${field}')), 0) AS ${field}`;
  return {
    // All, less those that a later attempt has replaced.
    jobs: db.prepare(
      `SELECT state, coalesce(outcome, '') AS outcome, sum(n) AS count FROM (
         SELECT state, outcome, count(*) AS n FROM attempts GROUP BY 1, 2
         UNION ALL
         SELECT a.state, a.outcome, -count(*) FROM attempts b JOIN attempts a
           ON a.job_id = b.job_id AND a.replica = b.replica AND a.attempt = b.attempt - 1
         WHERE b.attempt > 0 GROUP BY 1, 2)
       GROUP BY 1, 2 HAVING sum(n) > 0`,
    ),
    reserved: db.prepare(
      `SELECT ${sum("cpuMilli")}, ${sum("memoryMiB")}, ${sum("diskMiB")}, count(*) AS jobs FROM jobs
       WHERE chain_view = 'active'`,
    ),
    lastDecision: db.prepare("SELECT max(id) AS id FROM decisions"),
    decisions: db.prepare(
      "SELECT what, code, count(*) AS count, max(id) AS id FROM decisions WHERE id > ? GROUP BY what, code",
    ),
  };
}
