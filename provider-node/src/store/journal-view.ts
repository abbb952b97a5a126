import { existsSync } from "node:fs";
import { join } from "node:path";
import { decodeEntry, type OutboxEntry } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import type { AttemptState } from "../core/states.ts";
import { createDecisions, type Decision } from "./decisions.ts";
import { type Draining, isDraining } from "./drain.ts";
import { type AttemptRow, createJournal, type JobRow, type Journal, toAttempt } from "./journal.ts";
import { type OfferingState, readOffering } from "./offering-state.ts";
import { openDatabase } from "./open.ts";
import { keptSince } from "./prune.ts";

/** A job with its newest attempt. */
export interface JobWithAttempt {
  job: JobRow;
  attempt: AttemptRow;
}

export interface JobFilter {
  /** Absent: any. */
  states?: readonly AttemptState[] | undefined;
  /** Matched at or after this, in unix seconds. */
  since?: number | undefined;
  limit: number;
}

/** The journal as another process may look at it, whether the node runs or not. Nothing is written. */
export interface JournalView {
  readonly journal: Journal;
  /** Newest match first. */
  jobs(filter: JobFilter): JobWithAttempt[];
  /** Ids of jobs that the node knows of and that begin like this. */
  idsLike(start: string): string[];
  replicas(jobId: string): JobRow[];
  attempts(jobId: string, replica: number): AttemptRow[];
  history(jobId: string): { at: number; replica: number; attempt: number; what: string }[];
  /** Transactions about a job, oldest first. */
  transactions(jobId: string): OutboxEntry[];
  openTransactions(): number;
  decisions(jobId: string): Decision[];
  draining(): Draining | undefined;
  /** Unix seconds: jobs that were over before may be forgotten. Undefined while none was. */
  keptSince(): number | undefined;
  /** What the node last offered, and what it did not. */
  offering(): OfferingState | undefined;
  /** The newest block that the journal has applied. */
  block(): { number: number; timestamp: number } | undefined;
}

/** Opens the journal in `dataDir` for the length of `work`. Throws DATA_FOLDER_EMPTY. */
export async function viewJournal<T>(dataDir: string, work: (view: JournalView) => T | Promise<T>): Promise<T> {
  const file = join(dataDir, "journal.db");
  if (!existsSync(file)) {
    throw new MarketError("DATA_FOLDER_EMPTY", `There is no journal in ${dataDir}: no node has run there.`, {
      hint: "Check --data-dir, or start the node.",
    });
  }
  const database = openDatabase(file, { readOnly: true });
  const { db } = database;
  const journal = createJournal(database);
  const has = (table: string) => db.prepare("SELECT 1 FROM sqlite_master WHERE name = ?").get(table) !== undefined;
  try {
    return await work({
      journal,
      jobs({ states, since = 0, limit }) {
        const rows = db.prepare(JOBS).all(since, states === undefined ? null : JSON.stringify(states), limit);
        return rows.flatMap((row) => {
          const job = journal.job(row["job_id"] as JobRow["jobId"], Number(row["replica"]));
          const attempt = toAttempt(row);
          return job === undefined || attempt === undefined ? [] : [{ job, attempt }];
        });
      },
      idsLike: (start) =>
        [
          ...db.prepare("SELECT job_id FROM jobs WHERE job_id LIKE ? || '%'").all(start),
          ...db.prepare("SELECT job_id FROM request_events WHERE job_id LIKE ? || '%'").all(start),
          ...(has("decisions") ? db.prepare("SELECT job_id FROM decisions WHERE job_id LIKE ? || '%'").all(start) : []),
        ]
          .map((row) => String(row["job_id"]))
          .filter((id, at, all) => all.indexOf(id) === at),
      replicas: (jobId) =>
        db
          .prepare("SELECT replica FROM jobs WHERE job_id = ? ORDER BY replica")
          .all(jobId)
          .flatMap((row) => journal.job(jobId as JobRow["jobId"], Number(row["replica"])) ?? []),
      attempts: (jobId, replica) =>
        db
          .prepare("SELECT * FROM attempts WHERE job_id = ? AND replica = ? ORDER BY attempt")
          .all(jobId, replica)
          .flatMap((row) => toAttempt(row) ?? []),
      history: (jobId) =>
        db
          .prepare("SELECT at, replica, attempt, what FROM history WHERE job_id = ? ORDER BY id")
          .all(jobId)
          .map((row) => ({ ...row }) as ReturnType<JournalView["history"]>[number]),
      transactions(jobId) {
        if (!has("outbox")) return [];
        const own = db.prepare("SELECT id, entry FROM outbox WHERE instr(key, ?) > 0").all(jobId);
        const shared = has("settlements") ? db.prepare(SETTLED_BY).all(jobId) : [];
        return [...own, ...shared]
          .sort((a, b) => Number(a["id"]) - Number(b["id"]))
          .map((row) => decodeEntry(String(row["entry"])));
      },
      openTransactions() {
        if (!has("outbox")) return 0;
        return Number(db.prepare("SELECT count(*) AS n FROM outbox WHERE open = 1").get()?.["n"]);
      },
      decisions: (jobId) => (has("decisions") ? createDecisions(database).get(jobId as JobRow["jobId"]) : []),
      draining: () => isDraining(database),
      keptSince: () => keptSince(database),
      offering: () => readOffering(database),
      block: () =>
        db.prepare("SELECT number, timestamp FROM blocks ORDER BY number DESC LIMIT 1").get() as ReturnType<
          JournalView["block"]
        >,
    });
  } finally {
    database.close();
  }
}

const JOBS = `
  SELECT a.* FROM jobs j JOIN attempts a USING (job_id, replica)
  WHERE j.matched_at >= ?1 AND (?2 IS NULL OR a.state IN (SELECT value FROM json_each(?2)))
    AND NOT EXISTS (SELECT 1 FROM attempts b
                    WHERE b.job_id = a.job_id AND b.replica = a.replica AND b.attempt > a.attempt)
  ORDER BY j.matched_at DESC, j.job_id, j.replica LIMIT ?3`;

/** A batch of settlements names no job in its key. */
const SETTLED_BY = `
  SELECT DISTINCT o.id, o.entry FROM settlements s JOIN outbox o ON o.key = 'finalize:' || s.batch WHERE s.job_id = ?`;
