import type { DatabaseSync } from "node:sqlite";
import {
  type Address,
  type Hex,
  type JobId,
  type Outcome,
  orderToJson,
  type Spec,
  type Terms,
  termsSchema,
} from "@berth/protocol";
import type { AttemptState, ChainView } from "../core/states.ts";
import type { Database } from "./open.ts";

/** One replica that this node owes a result for, as the chain's events told it. */
export interface JobRow {
  jobId: JobId;
  replica: number;
  terms: Terms;
  /** Unix seconds. */
  matchedAt: number;
  /** Unix seconds since when the match is off the chain; null while it stands. */
  droppedAt: number | null;
  chain: ChainView;
}

/** What an attempt has found out so far. Only ever added to. */
export interface AttemptFacts {
  spec?: Spec;
  /** The intent to start was written: the command may have run. */
  ran?: true;
  /** This node could not do what it had offered: it asks for nothing. */
  unserved?: true;
  inBytes?: number;
  /** Unix milliseconds by this machine's clock. */
  startedAt?: number;
  finishedAt?: number;
  exitCode?: number | null;
  usage?: { wallMs: number; cpuNs: string; peakBytes: number };
  evidence?: string;
  outputs?: { cid: string; bytes: number; files: number; skipped: string[] };
  stdout?: { cid: string; bytes: number; truncated: boolean };
  stderr?: { cid: string; bytes: number; truncated: boolean };
  claim?: { resultHash: Hex; resultBytes: string; charge: string; cid: string };
}

export interface AttemptRow {
  jobId: JobId;
  replica: number;
  attempt: number;
  state: AttemptState;
  /** Unix seconds of the last change of state. */
  since: number;
  outcome: Outcome | null;
  message: string;
  facts: AttemptFacts;
}

export interface Artifact {
  cid: string;
  kind: "outputs" | "stdout" | "stderr" | "evidence" | "result";
  bytes: number;
  /** Unix seconds. */
  keptUntil: number;
}

export interface Change {
  state: AttemptState;
  outcome?: Outcome | undefined;
  message?: string | undefined;
  facts?: AttemptFacts | undefined;
}

/** What the chain says of a replica that is not over. */
export type OpenView = Exclude<ChainView, "dropped" | "settled" | "refunded">;
export type ReplicaRow = Pick<JobRow, "jobId" | "replica"> & { chain: OpenView };

/** What the node did and has to do. Reads are plain; `change` and `artifacts` join a surrounding `atomically`. */
export interface Journal {
  job(jobId: JobId, replica: number): JobRow | undefined;
  /** Replicas of which the chain says one of these, oldest match first. What is over costs nothing. */
  jobsIn(...views: OpenView[]): JobRow[];
  /** The same without what they are about: a look at many is cheap. */
  replicasIn(...views: OpenView[]): ReplicaRow[];
  /** The newest attempt of a replica. */
  attempt(jobId: JobId, replica: number): AttemptRow | undefined;
  /** Newest attempts that are not in an end state. */
  open(): AttemptRow[];
  /** Begins attempt `row.attempt`; nothing happens when it exists. */
  begin(row: Pick<AttemptRow, "jobId" | "replica" | "attempt">, change: Change, now: number): void;
  change(row: AttemptRow, change: Change, now: number): AttemptRow;
  keep(row: AttemptRow, artifacts: readonly Artifact[]): void;
  artifacts(jobId: JobId, replica: number): Artifact[];
  counts(): Record<string, number>;
}

export function createJournal({ db, atomically }: Database): Journal {
  const q = statements(db);
  const newest = (jobId: JobId, replica: number) => toAttempt(q.attempt.get(jobId, replica));
  return {
    job: (jobId, replica) => toJob(q.job.get(jobId, replica)),
    jobsIn: (...views) =>
      q
        .jobsIn()
        .all(JSON.stringify(views))
        .map((row) => toJob(row) as JobRow),
    replicasIn: (...views) => q.replicasIn().all(JSON.stringify(views)) as unknown as ReplicaRow[],
    attempt: newest,
    open: () => q.open.all().map((row) => toAttempt(row) as AttemptRow),
    begin({ jobId, replica, attempt }, { state, outcome, message = "", facts = {} }, now) {
      atomically(() => {
        const { changes } = q.begin.run(
          jobId,
          replica,
          attempt,
          state,
          now,
          outcome ?? null,
          message,
          JSON.stringify(facts),
        );
        if (changes === 1) q.history.run(now, jobId, replica, attempt, describe(state, outcome, message));
      });
    },
    change(row, { state, outcome, message, facts }, now) {
      const { jobId, replica, attempt } = row;
      return atomically(() => {
        const next: AttemptRow = {
          ...row,
          state,
          since: state === row.state ? row.since : now,
          outcome: outcome ?? row.outcome,
          message: message ?? row.message,
          facts: { ...row.facts, ...facts },
        };
        const { changes } = q.change.run(
          ...[state, next.since, next.outcome, next.message, JSON.stringify(next.facts)],
          ...[jobId, replica, attempt, row.state],
        );
        if (changes !== 1) throw new Error(`attempt ${jobId}/${replica}/${attempt} is no longer ${row.state}`);
        if (state !== row.state) q.history.run(now, jobId, replica, attempt, describe(state, outcome, message));
        return next;
      });
    },
    keep({ jobId, replica, attempt }, artifacts) {
      for (const { cid, kind, bytes, keptUntil } of artifacts)
        q.keep.run(cid, jobId, replica, attempt, kind, bytes, keptUntil);
    },
    artifacts: (jobId, replica) => q.artifacts.all(jobId, replica) as unknown as Artifact[],
    counts() {
      const rows = q.counts.all() as { state: string; n: number }[];
      return Object.fromEntries(rows.map(({ state, n }) => [state, n]));
    },
  };
}

/** Writes a replica that was matched to this node. A match that comes back after a reorganisation keeps its row. */
export function insertJob(db: DatabaseSync, job: Omit<JobRow, "chain" | "droppedAt">): void {
  db.prepare(
    `INSERT INTO jobs (job_id, replica, terms, matched_at) VALUES (?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET terms = excluded.terms, matched_at = excluded.matched_at, dropped_at = NULL`,
  ).run(job.jobId, job.replica, termsToText(job.terms), job.matchedAt);
}

function termsToText({ job, assignment }: Terms): string {
  return JSON.stringify({ job: orderToJson(job), assignment: orderToJson(assignment) });
}

function statements(db: DatabaseSync) {
  const job = `
    SELECT *, (SELECT kind FROM replica_events e WHERE e.job_id = j.job_id AND e.replica = j.replica
               ORDER BY block DESC, log_index DESC LIMIT 1) AS chain
    FROM jobs j`;
  const viewed = "chain_view IN (SELECT value FROM json_each(?))";
  const newest =
    "NOT EXISTS (SELECT 1 FROM attempts b WHERE b.job_id = a.job_id AND b.replica = a.replica AND b.attempt > a.attempt)";
  return {
    job: db.prepare(`${job} WHERE job_id = ? AND replica = ?`),
    // Prepared when they are asked for: a look into the journal of an older node has no such column.
    jobsIn: () => db.prepare(`${job} WHERE ${viewed} ORDER BY matched_at, job_id, replica`),
    replicasIn: () => db.prepare(`SELECT job_id AS jobId, replica, chain_view AS chain FROM jobs WHERE ${viewed}`),
    attempt: db.prepare("SELECT * FROM attempts WHERE job_id = ? AND replica = ? ORDER BY attempt DESC LIMIT 1"),
    open: db.prepare(
      `SELECT * FROM attempts a WHERE state NOT IN ('cleaned', 'retried') AND ${newest} ORDER BY since, job_id, replica`,
    ),
    begin: db.prepare(
      `INSERT INTO attempts (job_id, replica, attempt, state, since, outcome, message, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
    ),
    change: db.prepare(
      `UPDATE attempts SET state = ?, since = ?, outcome = ?, message = ?, facts = ?
       WHERE job_id = ? AND replica = ? AND attempt = ? AND state = ?`,
    ),
    keep: db.prepare(
      `INSERT INTO artifacts (cid, job_id, replica, attempt, kind, bytes, kept_until) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET kept_until = max(kept_until, excluded.kept_until)`,
    ),
    artifacts: db.prepare(
      "SELECT cid, kind, bytes, kept_until AS keptUntil FROM artifacts WHERE job_id = ? AND replica = ? ORDER BY kind",
    ),
    history: db.prepare("INSERT INTO history (at, job_id, replica, attempt, what) VALUES (?, ?, ?, ?, ?)"),
    counts: db.prepare(`SELECT state, count(*) AS n FROM attempts a WHERE ${newest} GROUP BY state`),
  };
}

function toJob(row: Record<string, unknown> | undefined): JobRow | undefined {
  if (row === undefined) return undefined;
  return {
    jobId: row["job_id"] as JobId,
    replica: Number(row["replica"]),
    terms: termsOf(String(row["terms"])),
    matchedAt: Number(row["matched_at"]),
    droppedAt: row["dropped_at"] === null ? null : Number(row["dropped_at"]),
    chain: (row["chain"] as ChainView | null) ?? "dropped",
  };
}

/** Those of the jobs at hand are asked for at every step of theirs, and are not changed by anyone. */
const readTerms = new Map<string, Terms>();
const MOST_READ_TERMS = 256;

function termsOf(text: string): Terms {
  const known = readTerms.get(text);
  if (known !== undefined) return known;
  const terms = termsSchema.parse(JSON.parse(text));
  if (readTerms.size >= MOST_READ_TERMS) readTerms.clear();
  readTerms.set(text, terms);
  return terms;
}

export function toAttempt(row: Record<string, unknown> | undefined): AttemptRow | undefined {
  if (row === undefined) return undefined;
  return {
    jobId: row["job_id"] as JobId,
    replica: Number(row["replica"]),
    attempt: Number(row["attempt"]),
    state: row["state"] as AttemptState,
    since: Number(row["since"]),
    outcome: row["outcome"] as Outcome | null,
    message: String(row["message"]),
    facts: JSON.parse(String(row["facts"])) as AttemptFacts,
  };
}

function describe(state: string, outcome: string | undefined, message: string | undefined): string {
  return [state, outcome, message].filter((part) => part !== undefined && part !== "").join(": ");
}

/** A node as the registry's newest event has it. */
export interface RegistryNode {
  operator: Address;
  index: number;
  key: Address;
  wgKey: Hex;
  /** Decimal: bits 8…63 of the node's /64. */
  prefix: string;
  validTo: number;
  keyVersion: number;
  wgEndpoint: string;
  contentUrl: string;
}
