import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { FollowerStore, FollowStep } from "@berth/chain";
import { type Address, type Hex, type JobId, orderToJson, type Request, requestSchema } from "@berth/protocol";
import type { Intent } from "../chain/intents.ts";
import { endStates, mayHaveRun } from "../core/states.ts";
import { insertJob, type Journal, type RegistryNode } from "./journal.ts";
import type { Database } from "./open.ts";

/** What the followed chain says, as far as this node needs it. Every step is one transaction with its cursor. */
export interface ChainStore extends FollowerStore {
  /** Newest block, or undefined before the first. */
  tip(): { number: number; hash: Hex; timestamp: number } | undefined;
  /** Nodes that are published now; the same array until that changes. */
  nodes(): readonly RegistryNode[];
  /** The gateway that an identity names, if it does so at `now` (unix seconds). */
  contentUrl(identity: Address, now: number): string | undefined;
  /** Posted requests that nobody took or cancelled, newest first. */
  postedRequests(page?: PostedPage): PostedRequest[];
  /** Is it posted, and neither taken nor cancelled? */
  isPosted(jobId: JobId): boolean;
}

/** Where on the chain something was said: block, and index of the log. */
export type Position = readonly [block: number, log: number];

export interface PostedRequest {
  jobId: JobId;
  request: Request;
  at: Position;
}

export interface PostedPage {
  /** Only those that were open then (unix seconds) or later. */
  openSince?: number;
  /** Only those posted before that. */
  before?: Position | undefined;
  /** The most. */
  limit?: number;
}

/** Blocks remembered to find the common ancestor after a reorganisation; more than the follower's window. */
const BLOCKS_KEPT = 256;

export interface ChainStoreOptions {
  database: Database;
  journal: Journal;
  intentsOf: (block: Extract<FollowStep, { type: "blocks" }>["blocks"][number]) => Intent[];
  /** Unix seconds by the chain's clock. */
  now(): number;
}

export function createChainStore({ database, journal, intentsOf, now }: ChainStoreOptions): ChainStore {
  const { db, atomically } = database;
  const q = statements(db);
  /** As they were last read; undefined after a change. */
  let nodes: readonly RegistryNode[] | undefined;

  return {
    recentBlocks: () => q.recent.all(BLOCKS_KEPT) as { number: number; hash: Hex }[],
    apply: (step) =>
      atomically(() => {
        if (step.type === "rollback") {
          nodes = undefined;
          rollback(db, step.to.number, now());
          return;
        }
        for (const block of step.blocks) {
          q.block.run(block.number, block.hash, block.timestamp);
          for (const intent of intentsOf(block)) write(intent, block.number, block.timestamp);
        }
        q.prune.run(BLOCKS_KEPT);
      }),
    tip: () => q.tip.get() as { number: number; hash: Hex; timestamp: number } | undefined,
    nodes() {
      nodes ??= q.nodes.all().map((row) => JSON.parse(String(row["record"])) as RegistryNode);
      return nodes;
    },
    contentUrl(identity, now) {
      const row = q.url.get(identity.toLowerCase()) as { url: string; valid_to: number } | undefined;
      return row !== undefined && row.valid_to >= now ? row.url : undefined;
    },
    postedRequests: ({ openSince = 0, before = [Number.MAX_SAFE_INTEGER, 0], limit = -1 } = {}) =>
      q.posted.all(openSince, ...before, limit).map((row) => ({
        jobId: row["job_id"] as JobId,
        request: requestSchema.parse(JSON.parse(String(row["request"]))),
        at: [Number(row["block"]), Number(row["log_index"])],
      })),
    isPosted: (jobId) => q.isPosted.get(jobId) !== undefined,
  };

  function write(intent: Intent, block: number, time: number): void {
    switch (intent.kind) {
      case "matched": {
        const { job } = intent;
        insertJob(db, job);
        q.replica.run(block, intent.at, job.jobId, job.replica, "active");
        beginAttempt(job.jobId, job.replica, time);
        return;
      }
      case "submitted":
      case "judging":
      case "disputed":
      case "settled":
      case "refunded":
        // Of another node: no row here, so nothing to note.
        q.replicaIfKnown.run(block, intent.at, intent.kind, intent.jobId, intent.replica);
        return;
      case "posted":
        q.request.run(block, intent.at, intent.jobId, JSON.stringify(orderToJson(intent.request)));
        return;
      case "closed":
        // Most matches are of requests that were never posted: there is nothing to note.
        q.requestClosed.run(block, intent.jobId);
        return;
      case "node":
        nodes = undefined;
        q.node.run(
          block,
          intent.at,
          intent.operator,
          intent.index,
          intent.node === null ? null : JSON.stringify(intent.node),
        );
        return;
      case "content-url":
        q.insertUrl.run(block, intent.at, intent.identity, intent.url, intent.validTo);
    }
  }

  /** A match that comes back after it was given up makes a new attempt, unless the command may not run twice. */
  function beginAttempt(jobId: JobId, replica: number, time: number): void {
    const last = journal.attempt(jobId, replica);
    if (last === undefined) {
      journal.begin({ jobId, replica, attempt: 0 }, { state: "matched" }, time);
      return;
    }
    const isOver = endStates.includes(last.state) || ["cancelled", "expired", "declined"].includes(last.state);
    if (!isOver) return;
    const ran = last.facts.ran === true || mayHaveRun(last.state);
    const again = { jobId, replica, attempt: last.attempt + 1 };
    if (!ran || last.facts.spec?.idempotent === true) {
      journal.begin(again, { state: "matched" }, time);
      return;
    }
    const message = "The chain dropped the match and brought it back after the command had run; it may not run twice.";
    const facts = { ...(last.facts.spec && { spec: last.facts.spec }), ran: true as const };
    journal.begin(again, { state: "collected", outcome: "cancelled", message, facts }, time);
  }
}

/** Unix seconds of the newest followed block: what lies before is past for certain. 0 before the first. */
export function blockTimeOf({ db }: Pick<Database, "db">): number {
  const newest = newestBlock.get(db) ?? db.prepare("SELECT timestamp FROM blocks ORDER BY number DESC LIMIT 1");
  newestBlock.set(db, newest); // asked for at each look at each job
  return Number(newest.get()?.["timestamp"] ?? 0);
}

const newestBlock = new WeakMap<DatabaseSync, StatementSync>();

/** @param now a match that is gone may come back in a block from now on, long after those that have their confirmations */
function rollback(db: DatabaseSync, to: number, now: number): void {
  for (const table of ["replica_events", "request_events", "nodes", "content_urls"]) {
    db.prepare(`DELETE FROM ${table} WHERE block > ?`).run(to);
  }
  db.prepare("UPDATE request_events SET closed_block = NULL WHERE closed_block > ?").run(to);
  db.prepare("DELETE FROM blocks WHERE number > ?").run(to);
  db.prepare(
    `UPDATE jobs SET dropped_at = ?
     WHERE dropped_at IS NULL AND chain_view IS NULL`,
  ).run(now);
}

function statements(db: DatabaseSync) {
  return {
    recent: db.prepare("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT ?"),
    tip: db.prepare("SELECT number, hash, timestamp FROM blocks ORDER BY number DESC LIMIT 1"),
    block: db.prepare("INSERT INTO blocks VALUES (?, ?, ?)"),
    prune: db.prepare(
      "DELETE FROM blocks WHERE number < (SELECT min(number) FROM (SELECT number FROM blocks ORDER BY number DESC LIMIT ?))",
    ),
    replica: db.prepare("INSERT INTO replica_events VALUES (?, ?, ?, ?, ?)"),
    replicaIfKnown: db.prepare(
      "INSERT INTO replica_events (block, log_index, kind, job_id, replica) SELECT ?, ?, ?, job_id, replica FROM jobs WHERE job_id = ? AND replica = ?",
    ),
    request: db.prepare(
      "INSERT INTO request_events (block, log_index, job_id, kind, request) VALUES (?, ?, ?, 'posted', ?)",
    ),
    requestClosed: db.prepare("UPDATE request_events SET closed_block = ? WHERE job_id = ? AND closed_block IS NULL"),
    node: db.prepare("INSERT INTO nodes VALUES (?, ?, ?, ?, ?)"),
    insertUrl: db.prepare("INSERT INTO content_urls VALUES (?, ?, ?, ?, ?)"),
    nodes: db.prepare(
      `SELECT record FROM nodes n WHERE record IS NOT NULL AND NOT EXISTS (
         SELECT 1 FROM nodes m WHERE m.operator = n.operator AND m.node_index = n.node_index
           AND (m.block, m.log_index) > (n.block, n.log_index))
       ORDER BY operator, node_index`,
    ),
    url: db.prepare(
      "SELECT url, valid_to FROM content_urls WHERE identity = ? ORDER BY block DESC, log_index DESC LIMIT 1",
    ),
    posted: db.prepare(
      `SELECT block, log_index, job_id, request FROM request_events
       WHERE closed_block IS NULL AND open_until >= ? AND (block, log_index) < (?, ?)
       ORDER BY block DESC, log_index DESC LIMIT ?`,
    ),
    isPosted: db.prepare("SELECT 1 FROM request_events WHERE job_id = ? AND closed_block IS NULL"),
  };
}
