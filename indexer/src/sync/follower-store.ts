import type { BlockRef, FollowedBlock, FollowerStore, FollowStep } from "@berth/chain";
import { type Deployment, type Hex, toJson } from "@berth/protocol";
import { decodeBlock } from "../decode/events.ts";
import { project } from "../project/project.ts";
import { type Changes, createWorkingSet, undoAbove } from "../project/working-set.ts";
import { recordChanges } from "../store/changes.ts";
import type { Database, Query } from "../store/database.ts";

/** How many of the newest blocks can be rolled back. */
export const WINDOW = 128;

export interface FollowerStoreOptions {
  db: Database;
  deployment: Deployment;
  /** Called after the commit, so that what is in memory follows what is stored. */
  onCommitted: (changes: Changes) => void;
}

/** The follower's store: logs, projections, undo log and cursor of a step are one transaction. */
export function createFollowerStore({ db, deployment, onCommitted }: FollowerStoreOptions): FollowerStore {
  return {
    async recentBlocks() {
      const rows = await db.query<{ number: string; hash: Hex }>(
        "SELECT number::text AS number, hex(hash) AS hash FROM blocks ORDER BY blocks.number DESC LIMIT $1::int",
        [WINDOW],
      );
      return rows.map(({ number, hash }): BlockRef => ({ number: Number(number), hash }));
    },
    async apply(step: FollowStep) {
      const changes = await db.transaction(async (query) => {
        const done =
          step.type === "rollback"
            ? await rollback(query, step.to.number)
            : await write(query, step.blocks, deployment);
        await recordChanges(query, step, done, WINDOW);
        return done;
      });
      onCommitted(changes);
    },
  };
}

async function rollback(query: Query, to: number): Promise<Changes> {
  const changes = await undoAbove(query, to);
  await query("DELETE FROM logs WHERE block_number > $1::bigint", [String(to)]);
  await query("DELETE FROM blocks WHERE number > $1::bigint", [String(to)]);
  return changes;
}

async function write(query: Query, blocks: readonly FollowedBlock[], deployment: Deployment): Promise<Changes> {
  const rows = createWorkingSet(query);
  for (const [i, block] of blocks.entries()) {
    rows.beginBlock(block.number, blocks.length - i <= WINDOW);
    for (const event of decodeBlock(deployment, block)) await project(event, rows);
  }
  const changes = await rows.flush();
  await insertBlocks(query, blocks.slice(-WINDOW));
  await insertLogs(query, blocks);
  await prune(query);
  return changes;
}

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

async function insertLogs(query: Query, blocks: readonly FollowedBlock[]): Promise<void> {
  const rows = blocks.flatMap(({ logs, timestamp }) =>
    logs.map((log) => ({
      block: log.blockNumber,
      log: log.logIndex,
      hash: log.blockHash,
      timestamp,
      tx: log.transactionHash,
      at: log.transactionIndex,
      address: log.address,
      topics: `0x${log.topics.map((topic) => topic.slice(2)).join("")}`,
      data: log.data,
    })),
  );
  if (rows.length === 0) return;
  await query(
    `INSERT INTO logs (block_number, log_index, block_hash, timestamp, transaction_hash, transaction_index, address,
                       topics, data)
     SELECT block::bigint, log::bigint, unhex(hash), timestamp::bigint, unhex(tx), at::bigint, unhex(address),
            unhex(topics), unhex(data)
     FROM json_to_recordset($1::json) AS r(block text, log text, hash text, timestamp text, tx text, at text,
                                           address text, topics text, data text)`,
    [toJson(rows)],
  );
}

/** What lies below the window can no longer be rolled back. */
async function prune(query: Query): Promise<void> {
  const [row] = await query<{ floor: string | null }>(
    "SELECT number::text AS floor FROM blocks ORDER BY blocks.number DESC OFFSET $1::int LIMIT 1",
    [WINDOW],
  );
  if (row?.floor === undefined || row.floor === null) return;
  await query("DELETE FROM blocks WHERE number <= $1::bigint", [row.floor]);
  await query("DELETE FROM undo WHERE block_number <= $1::bigint", [row.floor]);
}
