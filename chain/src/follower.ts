import { type Address, type ErrorJson, errorToJson, type Hex, MarketError } from "@berth/protocol";
import type { Logger } from "pino";
import { createBlockReader, type FollowedBlock, readHead, span } from "./block-reader.ts";
import { isTooLarge, rpcInconsistent, toMarketError } from "./errors.ts";
import type { BlockHeader, BlockRef } from "./parse.ts";
import type { Rpc } from "./rpc.ts";
import { backoffMs, createAlarm } from "./wait.ts";

/** What the consumer does next. `blocks` come in rising order; `rollback` undoes every block above `to`. */
export type FollowStep =
  | {
      type: "blocks";
      /** During backfill only blocks with logs and the last of each range; near the head, every block. */
      blocks: FollowedBlock[];
      /** Highest block the RPC knows. */
      head: number;
      /** Highest block with enough confirmations to be emitted. */
      safe: number;
    }
  | { type: "rollback"; to: BlockRef };

/** The consumer's side. It owns the cursor, so that blocks and cursor are written in one transaction. */
export interface FollowerStore {
  /** The newest stored blocks, newest first, at least `windowSize` where there are as many; empty before the first step. */
  recentBlocks(): BlockRef[] | Promise<BlockRef[]>;
  /** Writes the step and the new cursor atomically. A throw stops the follower with that error. */
  apply(step: FollowStep): void | Promise<void>;
}

export interface FollowOptions {
  rpc: Rpc;
  addresses: readonly Address[];
  /** Height of the first block whose logs matter: where the contracts were deployed. */
  fromBlock: number;
  /** Emit only up to head − confirmations; 0 is the head. */
  confirmations: number;
  store: FollowerStore;
  /** Called after a step was applied. */
  onBatch?: (step: FollowStep) => void;
  /** Called with every head that is higher than those before it, or takes known blocks away; it has no confirmations yet. */
  onHead?: (head: BlockHeader) => void;
  signal: AbortSignal;
  log: Logger;
  /** Wait between looks at the head, in milliseconds. */
  pollMs?: number;
  /** Most blocks in one eth_getLogs. Shrinks when the RPC finds it too much or the logs are many, and grows again. */
  maxRange?: number;
  /** About how many logs a step of the backfill should have. */
  logsPerStep?: number;
  /** How many blocks deep a reorganisation may be. */
  windowSize?: number;
  /** Read every header during backfill, which proves that no log is missing. Off: faster, trusts the RPC's ranges. */
  verifyBackfill?: boolean;
}

export interface FollowerStatus {
  /** `behind`: the RPC's chain is shorter than what is known. `unavailable`: it does not answer, or not sensibly. */
  state: "starting" | "catching-up" | "following" | "behind" | "unavailable" | "stopped";
  head: number | null;
  cursor: BlockRef | null;
  /** Blocks that could be applied already. Null until the head is known. */
  lagBlocks: number | null;
  /** Unix milliseconds since when the RPC has been behind or unavailable. */
  behindSince: number | null;
  lastError: ErrorJson | null;
}

export interface Follower {
  status(): FollowerStatus;
  /** Look at the head now instead of at the next poll. */
  poke(): void;
  /** Resolves when the follower first stands at the newest block it may emit. Stays pending when that never happens. */
  readonly synced: Promise<void>;
  /** Resolves after an abort; rejects with `REORG_TOO_DEEP` or with what the store threw. */
  readonly done: Promise<void>;
}

const LIVE_BLOCKS_PER_STEP = 32;
/** Small, as nobody knows yet how many logs there are. */
const FIRST_RANGE = 200;
const ANCESTORS_PER_CALL = 16;

/**
 * Follows the chain by hash. A lower head is an RPC behind, not a reorganisation, until another hash is seen at a known
 * height; errors and empty answers are unknowns that are asked again. Every step is awaited before the next is made.
 */
export function followChain(options: FollowOptions): Follower {
  const { rpc, addresses, fromBlock, confirmations, store, onBatch, onHead, signal, log } = options;
  const { pollMs = 1000, maxRange = 2000, windowSize = 128, verifyBackfill = true } = options;
  const { logsPerStep = 4000 } = options;
  const reader = createBlockReader(rpc, addresses, log);
  const alarm = createAlarm();
  const status: FollowerStatus = {
    state: "starting",
    head: null,
    cursor: null,
    lagBlocks: null,
    behindSince: null,
    lastError: null,
  };
  const { promise: synced, resolve: markSynced } = Promise.withResolvers<void>();
  /** Known blocks, newest first. */
  let known: BlockRef[] = [];
  let newest: BlockRef | undefined;
  let range = Math.min(maxRange, FIRST_RANGE);
  /** The RPC found so many blocks too much; forgotten little by little. */
  let tooLarge = Number.POSITIVE_INFINITY;
  /** The range after the last one, being read while that one is written. */
  let ahead: { from: number; after: Hex; blocks: Promise<FollowedBlock[]> } | undefined;
  /** In a row. */
  let failures = 0;

  const done = run().finally(() => {
    status.state = "stopped";
  });
  return { status: () => ({ ...status }), poke: alarm.ring, synced, done };

  async function run(): Promise<void> {
    known = (await store.recentBlocks()).toSorted((a, b) => b.number - a.number).slice(0, windowSize);
    status.cursor = known[0] ?? null;
    while (!signal.aborted) {
      let step: FollowStep | undefined;
      try {
        step = await nextStep();
        failures = 0;
        status.lastError = null;
        if (status.state !== "behind") status.behindSince = null;
      } catch (error) {
        if (signal.aborted) return;
        const failure = toMarketError(error, { action: "Following the chain" });
        if (failure.code === "REORG_TOO_DEEP") throw failure;
        failures += 1;
        unhealthy("unavailable", failure);
        if (failures === 1) log.warn({ err: failure, cursor: status.cursor }, "rpc trouble, trying again");
        rpc.rotate();
      }
      if (step !== undefined) {
        await store.apply(step);
        remember(step);
        onBatch?.(step);
        continue;
      }
      await alarm.wait(failures > 0 ? backoffMs(failures, pollMs) : pollMs, signal);
    }
  }

  /** One look at the chain: the step to take, or undefined when there is nothing to do. Changes nothing stored. */
  async function nextStep(): Promise<FollowStep | undefined> {
    const head = await readHead(rpc, signal);
    status.head = head.number;
    const safe = head.number - confirmations;
    const cursor = known[0];
    if (cursor !== undefined) {
      const standing = await compare(head, cursor);
      if (standing === "behind") {
        unhealthy("behind");
        rpc.rotate();
        return undefined;
      }
      if (standing === "replaced") {
        noteHead(head, true);
        return { type: "rollback", to: await commonAncestor(head) };
      }
    }
    noteHead(head);
    const next = cursor === undefined ? Math.min(fromBlock, Math.max(0, safe - windowSize)) : cursor.number + 1;
    status.lagBlocks = Math.max(0, safe - next + 1);
    if (next > safe) {
      status.state = "following";
      status.behindSince = null;
      markSynced();
      return undefined;
    }
    if (status.state !== "following") status.state = "catching-up";
    const far = safe - next >= windowSize;
    const blocks = far ? await readFarAhead(next, safe - windowSize) : await readNear(next, safe, head);
    return { type: "blocks", blocks, head: head.number, safe };
  }

  /** An RPC that is a block behind the one asked before says nothing new; another block as high is news, deep or not. */
  function noteHead(head: BlockHeader, isOtherBranch = false): void {
    const isNew = newest === undefined || head.number > newest.number;
    const isOther = head.hash !== newest?.hash && (isOtherBranch || head.number === newest?.number);
    if (!isNew && !isOther) return;
    newest = head;
    onHead?.(head);
  }

  async function compare(head: BlockHeader, cursor: BlockRef): Promise<"same" | "behind" | "replaced"> {
    if (head.number < cursor.number) {
      const seen = known.find((ref) => ref.number === head.number);
      return seen === undefined || seen.hash === head.hash ? "behind" : "replaced";
    }
    if (head.number === cursor.number + 1 && head.parentHash === cursor.hash) return "same";
    const [now] = head.number === cursor.number ? [head] : await reader.headers([cursor.number], signal);
    return now?.hash === cursor.hash ? "same" : "replaced";
  }

  /** The newest known block that the chain of `head` still has. Throws `REORG_TOO_DEEP` when it has none. */
  async function commonAncestor(head: BlockHeader): Promise<BlockRef> {
    const candidates = known.filter((ref) => ref.number < head.number);
    for (let i = 0; i < candidates.length; i += ANCESTORS_PER_CALL) {
      const chunk = candidates.slice(i, i + ANCESTORS_PER_CALL);
      const headers = await reader.headers(
        chunk.map((ref) => ref.number),
        signal,
      );
      const found = chunk.find((ref, at) => headers[at]?.hash === ref.hash);
      if (found === undefined) continue;
      if (found === known[0]) throw rpcInconsistent(`The RPC gave two hashes for block ${found.number}.`);
      return found;
    }
    const oldest = known.at(-1);
    throw new MarketError("REORG_TOO_DEEP", `None of the ${known.length} known blocks is on the chain any more.`, {
      hint: `The chain changed below block ${oldest?.number}. Is this still the same chain? After a new devnet, remove the data folder.`,
    });
  }

  /** One range, and the start of the next: the RPC works while the store does. */
  async function readFarAhead(from: number, last: number): Promise<FollowedBlock[]> {
    const cursor = known[0];
    const isNext = ahead !== undefined && ahead.from === from && ahead.after === cursor?.hash;
    const reading = isNext ? ahead?.blocks : undefined;
    ahead = undefined;
    const blocks = await (reading ?? readFar(from, last, cursor));
    const end = blocks.at(-1);
    if (end !== undefined && end.number < last) {
      ahead = { from: end.number + 1, after: end.hash, blocks: readFar(end.number + 1, last, end) };
      ahead.blocks.catch(() => {}); // seen when it is asked for
    }
    return blocks;
  }

  /** Backfill: one range of logs, of blocks that follow `after`. */
  async function readFar(from: number, last: number, after: BlockRef | undefined): Promise<FollowedBlock[]> {
    const start = Math.max(from, Math.min(fromBlock, last));
    for (;;) {
      const to = Math.min(last, start + range - 1);
      try {
        const blocks = await reader.blocksInRange({ from: start, to, verify: verifyBackfill, after }, signal);
        range = nextRange(blocks, to - start + 1);
        return blocks.map((block) => (block.number < fromBlock ? { ...block, logs: [] } : block));
      } catch (error) {
        signal.throwIfAborted();
        if (!isTooLarge(error) || range === 1) throw error;
        tooLarge = to - start + 1;
        range = Math.max(1, Math.floor(tooLarge / 2));
        log.debug({ range, err: error }, "range of blocks was too large");
      }
    }
  }

  /** As many blocks as should have the wanted number of logs, going by the last range; at most twice as many as in that one. */
  function nextRange(blocks: readonly FollowedBlock[], size: number): number {
    const logs = blocks.reduce((sum, block) => sum + block.logs.length, 0);
    const fitting = logs === 0 ? maxRange : Math.ceil((size * logsPerStep) / logs);
    tooLarge = Math.ceil(tooLarge * 1.05);
    return Math.max(1, Math.min(maxRange, fitting, size * 2, tooLarge - 1));
  }

  /** Near the head: every block, its logs by its hash. */
  async function readNear(from: number, last: number, head: BlockHeader): Promise<FollowedBlock[]> {
    const to = Math.min(last, from + Math.max(1, LIVE_BLOCKS_PER_STEP >> failures) - 1);
    const headers = from === head.number ? [head] : await reader.headers(span(from, to), signal);
    await reader.checkLinks(headers, known[0], signal);
    const before = headers.filter((h) => h.number < fromBlock);
    const blocks = before.map(({ number, hash, parentHash, timestamp }) => ({
      number,
      hash,
      parentHash,
      timestamp,
      logs: [],
    }));
    return [...blocks, ...(await reader.blocksByHash(headers.slice(before.length), signal))];
  }

  function remember(step: FollowStep): void {
    if (step.type === "rollback") {
      known = known.filter((ref) => ref.number <= step.to.number);
      log.info({ to: step.to.number, hash: step.to.hash }, "chain reorganised, rolled back");
    } else {
      const refs = step.blocks.map(({ number, hash }) => ({ number, hash })).reverse();
      known = [...refs, ...known].slice(0, windowSize);
    }
    status.cursor = known[0] ?? null;
    if (status.head !== null && status.cursor !== null) {
      status.lagBlocks = Math.max(0, status.head - confirmations - status.cursor.number);
    }
  }

  function unhealthy(state: "behind" | "unavailable", error?: MarketError): void {
    status.state = state;
    status.behindSince ??= Date.now();
    if (error !== undefined) status.lastError = errorToJson(error);
  }
}
