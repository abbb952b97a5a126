import type { DatabaseSync } from "node:sqlite";
import { MarketError } from "@berth/protocol";

/**
 * One entry per version; a released entry never changes. Facts that came from the chain carry their block, so that a
 * rollback is one DELETE per table; what the node did itself is never undone.
 */
const migrations: readonly string[] = [
  `
  CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

  CREATE TABLE blocks (number INTEGER PRIMARY KEY, hash TEXT NOT NULL, timestamp INTEGER NOT NULL) STRICT;

  -- One replica that was matched to this node. The row stays when its match is rolled back: work may be under way.
  CREATE TABLE jobs (
    job_id TEXT NOT NULL, replica INTEGER NOT NULL,
    terms TEXT NOT NULL, matched_at INTEGER NOT NULL,
    dropped_at INTEGER,
    PRIMARY KEY (job_id, replica)
  ) STRICT, WITHOUT ROWID;

  -- What the chain says of those replicas, one row per event.
  CREATE TABLE replica_events (
    block INTEGER NOT NULL, log_index INTEGER NOT NULL,
    job_id TEXT NOT NULL, replica INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('active', 'submitted', 'judging', 'disputed', 'settled', 'refunded')),
    PRIMARY KEY (block, log_index)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX replica_events_by_job ON replica_events (job_id, replica, block, log_index);

  -- Posted requests and what ended them. A request is open while its only row has kind 'posted'.
  CREATE TABLE request_events (
    block INTEGER NOT NULL, log_index INTEGER NOT NULL,
    job_id TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('posted', 'closed')), request TEXT,
    PRIMARY KEY (block, log_index)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX request_events_by_job ON request_events (job_id);

  -- Every publication of a node; the newest row per node counts.
  CREATE TABLE nodes (
    block INTEGER NOT NULL, log_index INTEGER NOT NULL,
    operator TEXT NOT NULL, node_index INTEGER NOT NULL, record TEXT,
    PRIMARY KEY (block, log_index)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX nodes_by_id ON nodes (operator, node_index, block, log_index);

  -- Content gateways that identities name; the newest row per identity counts.
  CREATE TABLE content_urls (
    block INTEGER NOT NULL, log_index INTEGER NOT NULL,
    identity TEXT NOT NULL, url TEXT NOT NULL, valid_to INTEGER NOT NULL,
    PRIMARY KEY (block, log_index)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX content_urls_by_identity ON content_urls (identity, block, log_index);

  CREATE TABLE attempts (
    job_id TEXT NOT NULL, replica INTEGER NOT NULL, attempt INTEGER NOT NULL,
    state TEXT NOT NULL, since INTEGER NOT NULL,
    outcome TEXT, message TEXT NOT NULL DEFAULT '',
    facts TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (job_id, replica, attempt)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE artifacts (
    cid TEXT NOT NULL, job_id TEXT NOT NULL, replica INTEGER NOT NULL, attempt INTEGER NOT NULL,
    kind TEXT NOT NULL, bytes INTEGER NOT NULL, kept_until INTEGER NOT NULL,
    PRIMARY KEY (cid, job_id, replica)
  ) STRICT, WITHOUT ROWID;

  -- What happened, for people. Append only.
  CREATE TABLE history (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL,
    job_id TEXT NOT NULL, replica INTEGER NOT NULL, attempt INTEGER NOT NULL,
    what TEXT NOT NULL
  ) STRICT;
  `,
  `
  -- Which of this node's own transactions settles which result; a batch is one transaction.
  CREATE TABLE settlements (
    job_id TEXT NOT NULL, replica INTEGER NOT NULL, batch INTEGER NOT NULL,
    PRIMARY KEY (job_id, replica)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Why jobs were not taken; the oldest rows go.
  CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL,
    job_id TEXT NOT NULL, replica INTEGER, what TEXT NOT NULL CHECK (what IN ('posted', 'match')),
    requester TEXT NOT NULL, code TEXT NOT NULL, text TEXT NOT NULL, facts TEXT NOT NULL
  ) STRICT;
  CREATE INDEX decisions_by_job ON decisions (job_id, id);
  `,
  `
  -- What is open is found without a look at what is over.

  -- What the newest event of a replica says; null: none is left.
  ALTER TABLE jobs ADD COLUMN chain_view TEXT;
  UPDATE jobs SET chain_view = (
    SELECT kind FROM replica_events e WHERE e.job_id = jobs.job_id AND e.replica = jobs.replica
    ORDER BY block DESC, log_index DESC LIMIT 1);
  CREATE INDEX jobs_by_view ON jobs (chain_view, matched_at);
  CREATE INDEX jobs_by_match ON jobs (matched_at);
  CREATE TRIGGER replica_event_came AFTER INSERT ON replica_events BEGIN
    UPDATE jobs SET chain_view = (
      SELECT kind FROM replica_events WHERE job_id = NEW.job_id AND replica = NEW.replica
      ORDER BY block DESC, log_index DESC LIMIT 1)
    WHERE job_id = NEW.job_id AND replica = NEW.replica;
  END;
  CREATE TRIGGER replica_event_went AFTER DELETE ON replica_events BEGIN
    UPDATE jobs SET chain_view = (
      SELECT kind FROM replica_events WHERE job_id = OLD.job_id AND replica = OLD.replica
      ORDER BY block DESC, log_index DESC LIMIT 1)
    WHERE job_id = OLD.job_id AND replica = OLD.replica;
  END;

  -- A posted request is closed in a block, instead of by a row of its own: it never opens again but by a rollback.
  ALTER TABLE request_events ADD COLUMN closed_block INTEGER;
  ALTER TABLE request_events ADD COLUMN open_until INTEGER AS (json_extract(request, '$.openUntil')) VIRTUAL;
  UPDATE request_events SET closed_block = (
    SELECT min(block) FROM request_events c WHERE c.job_id = request_events.job_id AND c.kind = 'closed');
  DELETE FROM request_events WHERE kind = 'closed';
  CREATE INDEX requests_open ON request_events (block, log_index, open_until) WHERE closed_block IS NULL;
  CREATE INDEX requests_closed ON request_events (closed_block) WHERE closed_block IS NOT NULL;

  CREATE INDEX attempts_open ON attempts (since, job_id, replica) WHERE state NOT IN ('cleaned', 'retried');
  CREATE INDEX attempts_by_state ON attempts (state, outcome);
  CREATE INDEX attempts_again ON attempts (job_id, replica, attempt) WHERE attempt > 0;
  CREATE INDEX artifacts_by_job ON artifacts (job_id, replica, kept_until);
  CREATE INDEX history_by_job ON history (job_id, id);

  -- The number of a batch is never used again, though its rows go.
  CREATE INDEX settlements_by_batch ON settlements (batch);
  INSERT INTO meta SELECT 'last-batch', coalesce(max(batch), 0) FROM settlements;
  `,
];

/**
 * Brings a journal to this program's version. Throws JOURNAL_NEWER.
 * @param to an older version, to see what becomes of a journal of that one
 */
export function migrate(db: DatabaseSync, to = migrations.length): void {
  const row = db.prepare("PRAGMA user_version").get() as { user_version: number };
  if (row.user_version > migrations.length) {
    throw new MarketError("JOURNAL_NEWER", "The journal was written by a newer version of this program.", {
      hint: "Use that version, or another data folder.",
    });
  }
  for (let version = row.user_version; version < to; version++) {
    db.exec(`BEGIN IMMEDIATE; ${migrations[version]} PRAGMA user_version = ${version + 1}; COMMIT`);
  }
}
