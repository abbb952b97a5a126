import { setImmediate } from "node:timers/promises";
import type { BlockRef, FollowedBlock, FollowerStore, FollowStep } from "@berth/chain";
import { type Deployment, type Hex, MarketError, toJson } from "@berth/protocol";
import { blockDecoder, type DecodeBlock } from "../decode/events.ts";
import { preload } from "../project/preload.ts";
import { project } from "../project/project.ts";
import { type Changes, createWorkingSet, undoAbove } from "../project/working-set.ts";
import { recordChanges } from "../store/changes.ts";
import type { Copy, Database, Query } from "../store/database.ts";
import { encodeLogs, LOG_ROWS } from "./log-rows.ts";

/** How many of the newest blocks can be rolled back. */
export const WINDOW = 128;
/** Between that many the database hears more of the logs, which it writes meanwhile. */
const BLOCKS_PER_TURN = 8;

export interface FollowerStoreOptions {
  db: Database;
  deployment: Deployment;
  /** Called after the commit, so that what is in memory follows what is stored. */
  onCommitted: (changes: Changes) => void;
}

/** The follower's store: logs, projections, undo log and cursor of a step are one transaction. */
export function createFollowerStore({ db, deployment, onCommitted }: FollowerStoreOptions): FollowerStore {
  const decode = blockDecoder(deployment);
  return {
    async recentBlocks() {
      const rows = await db.query<{ number: string; hash: Hex }>(
        "SELECT number::text AS number, hex(hash) AS hash FROM blocks ORDER BY blocks.number DESC LIMIT $1::int",
        [WINDOW],
      );
      return rows.map(({ number, hash }): BlockRef => ({ number: Number(number), hash }));
    },
    async apply(step: FollowStep) {
      const changes = await db.transaction(async (query, copy) => {
        const done = step.type === "rollback" ? await rollback(query, step.to) : await write(query, copy, step, decode);
        await recordChanges(query, step, done, WINDOW);
        return done;
      });
      onCommitted(changes);
    },
  };
}

/** Throws REORG_TOO_DEEP unless `to` is a stored block: what was above it can then be undone, all of it. */
async function rollback(query: Query, to: BlockRef): Promise<Changes> {
  const [kept] = await query<{ hash: Hex }>("SELECT hex(hash) AS hash FROM blocks WHERE number = $1::bigint", [
    String(to.number),
  ]);
  if (kept?.hash !== to.hash) {
    throw new MarketError("REORG_TOO_DEEP", `Blocks above ${to.number} are gone, but what was before is not kept.`, {
      hint: "The chain changed deeper than the window. Is this still the same chain? Index it again from the start.",
    });
  }
  const changes = await undoAbove(query, to.number);
  await query("DELETE FROM logs WHERE block_number > $1::bigint", [String(to.number)]);
  await query("DELETE FROM blocks WHERE number > $1::bigint", [String(to.number)]);
  return changes;
}

async function write(query: Query, copy: Copy, { blocks, safe }: BlocksStep, decode: DecodeBlock): Promise<Changes> {
  const rows = createWorkingSet(query);
  const events = blocks.map(decode);
  await preload(events.flat(), rows);
  // A reorganisation that reaches below the window stops everything, so nothing of that is kept but the cursor.
  const isRecent = ({ number }: BlockRef) => number > safe - WINDOW;
  const copied = insertLogs(copy, blocks);
  copied.catch(() => {}); // seen below
  for (const [i, block] of blocks.entries()) {
    rows.beginBlock(block.number, isRecent(block));
    for (const event of events[i] ?? []) await project(event, rows);
    if (i % BLOCKS_PER_TURN === 0) await setImmediate();
  }
  await copied;
  const changes = await rows.flush(copy);
  const kept = blocks.filter((block, i) => isRecent(block) || i === blocks.length - 1);
  await insertBlocks(query, kept);
  const [first] = kept;
  if (first !== undefined && !blocks.every(isRecent)) await forgetBelow(query, "$1::bigint", first.number);
  else await prune(query);
  return changes;
}

type BlocksStep = Extract<FollowStep, { type: "blocks" }>;

async function insertBlocks(query: Query, blocks: readonly FollowedBlock[]): Promise<void> {
  await query(
    `INSERT INTO blocks (number, hash, parent_hash, timestamp)
     SELECT number::bigint, unhex(hash), unhex(parent), timestamp::bigint
     FROM json_to_recordset($1::json) AS r(number text, hash text, parent text, timestamp text)`,
    [
      toJson(
        blocks.map(({ number, hash, parentHash, timestamp }) => ({ number, hash, parent: parentHash, timestamp })),
      ),
    ],
  );
}

async function insertLogs(copy: Copy, blocks: readonly FollowedBlock[]): Promise<void> {
  const rows = encodeLogs(blocks);
  if (rows !== undefined) await copy(LOG_ROWS, rows);
}

/** What lies below the window can no longer be rolled back. */
async function prune(query: Query): Promise<void> {
  await forgetBelow(query, "(SELECT number FROM blocks ORDER BY number DESC OFFSET $1::bigint LIMIT 1)", WINDOW - 1);
}

/** A block is known only while all that came after it can be undone. `oldest`: SQL of the first that stays, with one parameter. */
async function forgetBelow(query: Query, oldest: string, param: number): Promise<void> {
  await query(
    `WITH oldest AS (SELECT ${oldest} AS block), forgotten AS (
       DELETE FROM undo USING oldest WHERE undo.block_number < oldest.block)
     DELETE FROM blocks USING oldest WHERE blocks.number < oldest.block`,
    [String(param)],
  );
}
