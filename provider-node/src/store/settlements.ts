import type { JobRow } from "./journal.ts";
import type { Database } from "./open.ts";

type Which = Pick<JobRow, "jobId" | "replica">;

/** Which transaction settles which result: written before the transaction is made, so that none is made twice. */
export interface SettlementStore {
  /** Key in the outbox of the newest transaction for a result. */
  keyOf(result: Which): string | undefined;
  /** A new key, under which `results` are settled together. */
  begin(results: readonly Which[]): string;
}

export function settlementStore({ db, atomically }: Database): SettlementStore {
  const find = db.prepare("SELECT batch FROM settlements WHERE job_id = ? AND replica = ?");
  const next = db.prepare(
    "UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'last-batch' RETURNING CAST(value AS INTEGER) AS batch",
  );
  const put = db.prepare(
    `INSERT INTO settlements (job_id, replica, batch) VALUES (?, ?, ?)
     ON CONFLICT DO UPDATE SET batch = excluded.batch`,
  );
  return {
    keyOf({ jobId, replica }) {
      const row = find.get(jobId, replica) as { batch: number } | undefined;
      return row === undefined ? undefined : keyOf(row.batch);
    },
    begin: (results) =>
      atomically(() => {
        const { batch } = next.get() as { batch: number };
        for (const { jobId, replica } of results) put.run(jobId, replica, batch);
        return keyOf(batch);
      }),
  };
}

function keyOf(batch: number): string {
  return `finalize:${batch}`;
}
