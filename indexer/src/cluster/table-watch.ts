import { type FollowerStatus, type Rpc, readHead } from "@berth/chain";
import { errorToJson, type Hex } from "@berth/protocol";
import type { Database } from "../store/database.ts";

/** How far the tables are that another process writes: what its follower would say, found from outside. */
export interface TableWatch {
  status(): FollowerStatus;
  /** Unix seconds of the newest block; 0 before the first. */
  blockTime(): number;
  /** Looks at the chain's head and at the tables. */
  look(): Promise<void>;
  /** Forgets that the tables were ever as new as the chain. */
  restart(): void;
}

/** How long the tables may lag until they no longer count as following: another process may be taking over. */
const LATE_MS = 5_000;

export interface TableWatchOptions {
  rpc: Rpc;
  db: Pick<Database, "query">;
  fromBlock: number;
  confirmations: number;
  signal: AbortSignal;
  nowMs?: () => number;
}

export function createTableWatch(options: TableWatchOptions): TableWatch {
  const { rpc, db, fromBlock, confirmations, signal, nowMs = Date.now } = options;
  const status: FollowerStatus = {
    state: "starting",
    head: null,
    cursor: null,
    lagBlocks: null,
    behindSince: null,
    lastError: null,
  };
  let time = 0;
  let lateSince: number | null = null;

  return {
    status: () => ({ ...status }),
    blockTime: () => time,
    restart() {
      status.state = "starting";
      lateSince = null;
    },
    async look() {
      try {
        // The head first: what is in the tables a moment later is at least as new as they were then.
        const head = await readHead(rpc, signal);
        await readCursor();
        status.head = head.number;
        status.lastError = null;
        status.behindSince = null;
        const next = status.cursor === null ? Math.min(fromBlock, head.number) : status.cursor.number + 1;
        status.lagBlocks = Math.max(0, head.number - confirmations - next + 1);
        if (status.lagBlocks === 0) lateSince = null;
        else lateSince ??= nowMs();
        const isLate = lateSince !== null && nowMs() - lateSince > LATE_MS;
        if (status.lagBlocks === 0) status.state = "following";
        else if (status.state !== "following" || isLate) status.state = "catching-up";
      } catch (error) {
        if (signal.aborted) return;
        status.state = "unavailable";
        status.behindSince ??= nowMs();
        status.lastError = errorToJson(error);
      }
    },
  };

  async function readCursor(): Promise<void> {
    const [row] = await db.query<{ number: string; hash: Hex; time: string }>(
      `SELECT number::text AS number, hex(hash) AS hash, timestamp::text AS time
       FROM blocks ORDER BY blocks.number DESC LIMIT 1`,
    );
    status.cursor = row === undefined ? null : { number: Number(row.number), hash: row.hash };
    time = Math.max(time, Number(row?.time ?? 0));
  }
}
