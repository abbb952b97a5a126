import type { FollowStep } from "@berth/chain";
import { toJson } from "@berth/protocol";
import type { Changes } from "../project/working-set.ts";
import type { Query } from "./database.ts";

/** Events that are kept, so that a listener who was away can catch up. */
export const KEEP_EVENTS = 50_000;
const PRUNE_EVERY = 1_000;
/** What a removed row is about: who took part in it is known no more, so nobody may miss it. */
export const ABOUT_ANYBODY = "*";

/** One event of the change stream, as it is stored. Sequence numbers have no gaps. */
export interface Change {
  seq: number;
  /** The table of the row, or `reorg`, or `backfill`. */
  entity: string;
  /** Accounts and jobs that it is about, separated by blanks; ABOUT_ANYBODY for a row that was removed. */
  about: string;
  /** JSON. */
  body: string;
}

/**
 * Notes what a step changed, in the step's own transaction, so that the stream has each change exactly once. A range
 * deeper than `window` below the head is one event: whoever listens reads the lists again.
 */
export async function recordChanges(query: Query, step: FollowStep, changes: Changes, window: number): Promise<void> {
  const events = eventsOf(step, changes, window);
  if (events.length === 0) return;
  const [row] = await query<{ seq: string }>(
    `WITH last AS (UPDATE change_counter SET seq = seq + $2::bigint RETURNING seq)
     INSERT INTO changes (seq, entity, about, body)
     SELECT last.seq - $2::bigint + r.n::bigint, r.entity, r.about, r.body
     FROM last, json_to_recordset($1::json) AS r(n text, entity text, about text, body text)
     RETURNING (SELECT last.seq FROM last)::text AS seq`,
    [toJson(events.map((event, i) => ({ n: i + 1, ...event }))), String(events.length)],
  );
  const seq = Number(row?.seq);
  if (seq % PRUNE_EVERY >= events.length) return;
  await query("DELETE FROM changes WHERE seq <= $1::bigint", [String(seq - KEEP_EVENTS)]);
}

/** The events after `seq`, oldest first. */
export async function changesAfter(query: Query, seq: number, limit: number): Promise<Change[]> {
  const rows = await query<Omit<Change, "seq"> & { seq: string }>(
    `SELECT seq::text AS seq, entity, about, body FROM changes
     WHERE changes.seq > $1::bigint ORDER BY changes.seq LIMIT $2::int`,
    [String(seq), limit],
  );
  return rows.map((row) => ({ ...row, seq: Number(row.seq) }));
}

/** The first event that is still kept and the last that there was; `first` is `last + 1` when none is kept. */
export async function changeRange(query: Query): Promise<{ first: number; last: number }> {
  const [row] = await query<{ first: string | null; last: string }>(
    "SELECT (SELECT min(seq) FROM changes)::text AS first, seq::text AS last FROM change_counter",
  );
  const last = Number(row?.last ?? 0);
  return { first: Number(row?.first ?? last + 1), last };
}

function eventsOf(step: FollowStep, changes: Changes, window: number): Omit<Change, "seq">[] {
  if (step.type === "rollback") {
    const { number, hash } = step.to;
    const reorg = { entity: "reorg", about: "", body: toJson({ block: { number, hash } }) };
    return [reorg, ...rowEvents(changes, { number, hash })];
  }
  const newest = step.blocks.at(-1);
  if (newest === undefined) return [];
  const { number, hash } = newest;
  if (number > step.safe - window) return rowEvents(changes, { number, hash });
  const changed = Object.values(changes).some(({ size }) => size > 0);
  return changed ? [{ entity: "backfill", about: "", body: toJson({ block: { number, hash } }) }] : [];
}

function rowEvents(changes: Changes, block: { number: number; hash: string }): Omit<Change, "seq">[] {
  return Object.entries(changes).flatMap(([entity, rows]: [string, Map<string, object | null>]) =>
    [...rows].map(([key, row]) => ({ entity, about: aboutOf(key, row), body: toJson({ block, key, row }) })),
  );
}

/** By what a listener can ask for it: what its key names, and who takes part. */
function aboutOf(key: string, row: object | null): string {
  if (row === null) return ABOUT_ANYBODY;
  const { operator, requester, payer } = row as Record<string, unknown>;
  const named = [...key.split("|"), operator, requester, payer];
  return [...new Set(named)].filter((value) => typeof value === "string" && value.startsWith("0x")).join(" ");
}
