import type { Address, Hex, UnixSeconds } from "@berth/protocol";
import type { Logger } from "pino";
import { bloomTest } from "./bloom.ts";
import type { RpcCall, RpcOutcome } from "./endpoint.ts";
import { isMethodMissing, rpcInconsistent, toMarketError } from "./errors.ts";
import { type BlockHeader, type BlockRef, object, parseHeader, parseLogs, type RawLog, toQuantity } from "./parse.ts";
import type { Rpc } from "./rpc.ts";

/** A block with the logs of the followed addresses, in the order of `logIndex`. */
export interface FollowedBlock extends BlockRef {
  parentHash: Hex;
  timestamp: UnixSeconds;
  logs: RawLog[];
}

export interface BlockRange {
  from: number;
  /** included */
  to: number;
  verify: boolean;
  /** The block that `from` must follow, where it is known. */
  after: BlockRef | undefined;
}

/** Reads blocks and trusts no answer that contradicts itself: every doubt is thrown as `RPC_INCONSISTENT`. */
export interface BlockReader {
  headers(numbers: readonly number[], signal: AbortSignal): Promise<BlockHeader[]>;
  /**
   * Throws `RPC_INCONSISTENT` unless neighbours, `after` and the first one too, are parent and child. Development chains
   * that mine many blocks at once give some of them wrong parents; those pass when both still have the same hash.
   */
  checkLinks(headers: readonly BlockHeader[], after: BlockRef | undefined, signal: AbortSignal): Promise<void>;
  /** The blocks of `headers` with exactly the logs that belong to their hashes. */
  blocksByHash(headers: readonly BlockHeader[], signal: AbortSignal): Promise<FollowedBlock[]>;
  /**
   * The blocks in [from, to] that have logs, and block `to`. With `verify`, every header of the range is read too, which
   * proves the chain of hashes and, by the bloom filters, that no block's logs are missing.
   */
  blocksInRange(range: BlockRange, signal: AbortSignal): Promise<FollowedBlock[]>;
}

/** After this many equal, empty answers a bloom match is held for a false positive, where no receipts can tell. */
const EMPTY_ANSWERS_BELIEVED = 3;

export async function readHead(rpc: Rpc, signal?: AbortSignal): Promise<BlockHeader> {
  return parseHeader(await ask(rpc, "eth_getBlockByNumber", ["latest", false], signal), "the latest block");
}

/** Throws `RPC_INCONSISTENT` when the RPC does not have the block (yet). */
export async function readHeader(rpc: Rpc, number: number, signal?: AbortSignal): Promise<BlockHeader> {
  return asked(number, await ask(rpc, "eth_getBlockByNumber", [toQuantity(number), false], signal));
}

export function createBlockReader(rpc: Rpc, addresses: readonly Address[], log: Logger): BlockReader {
  const mayHold = bloomTest(addresses);
  const emptyAnswers = new Map<Hex, number>();

  async function many(calls: readonly RpcCall[], signal: AbortSignal): Promise<unknown[]> {
    return (await rpc.requestMany(calls, { signal })).map(unwrap);
  }

  function headerCalls(numbers: readonly number[]): RpcCall[] {
    return numbers.map((n) => ({ method: "eth_getBlockByNumber", params: [toQuantity(n), false] }));
  }

  async function headers(numbers: readonly number[], signal: AbortSignal) {
    const blocks = await many(headerCalls(numbers), signal);
    return numbers.map((n, i) => asked(n, blocks[i]));
  }

  async function checkLinks(chain: readonly BlockHeader[], after: BlockRef | undefined, signal: AbortSignal) {
    const unlinked: BlockRef[] = [];
    for (const [i, block] of chain.entries()) {
      const before = i === 0 ? after : chain[i - 1];
      if (before !== undefined && before.number + 1 === block.number && before.hash !== block.parentHash) {
        unlinked.push(before, block);
      }
    }
    if (unlinked.length === 0) return;
    const again = await headers(
      unlinked.map(({ number }) => number),
      signal,
    );
    const moved = unlinked.find(({ hash }, i) => again[i]?.hash !== hash);
    if (moved !== undefined) throw rpcInconsistent(`Block ${moved.number} changed while it was being read.`);
    log.warn({ block: unlinked[1]?.number, links: unlinked.length / 2 }, "blocks name parents that are not theirs");
  }

  /** Asks the receipts whether a block whose bloom filter matches really has no log of ours. */
  async function confirmEmpty(header: BlockHeader, signal: AbortSignal): Promise<void> {
    const [outcome] = await rpc.requestMany([{ method: "eth_getBlockReceipts", params: [header.hash] }], { signal });
    if (outcome !== undefined && "error" in outcome && isMethodMissing(outcome.error)) {
      const seen = (emptyAnswers.get(header.hash) ?? 0) + 1;
      emptyAnswers.set(header.hash, seen);
      if (seen < EMPTY_ANSWERS_BELIEVED) throw missingLogs(header);
      emptyAnswers.delete(header.hash);
      log.warn({ block: header.number, hash: header.hash }, "bloom filter matched but no log came");
      return;
    }
    const receipts = unwrap(outcome);
    if (!Array.isArray(receipts) || receipts.length === 0) throw missingLogs(header);
    for (const receipt of receipts) {
      const { logs, blockHash } = object(receipt, "receipt");
      if (blockHash !== header.hash) throw missingLogs(header);
      if (parseLogs(logs, "a receipt").some(isOurs)) throw missingLogs(header);
    }
  }

  async function blocksByHash(wanted: readonly BlockHeader[], signal: AbortSignal): Promise<FollowedBlock[]> {
    const answers = await many(
      wanted.map(({ hash }) => ({ method: "eth_getLogs", params: [{ address: addresses, blockHash: hash }] })),
      signal,
    );
    const blocks: FollowedBlock[] = [];
    for (const [i, header] of wanted.entries()) {
      const logs = parseLogs(answers[i], `block ${header.number}`);
      if (logs.length === 0 && mayHold(header.logsBloom)) await confirmEmpty(header, signal);
      blocks.push(withLogs(header, logs));
    }
    return blocks;
  }

  function isOurs({ address }: RawLog): boolean {
    return addresses.some((ours) => ours.toLowerCase() === address);
  }

  function withLogs(header: BlockHeader, logs: RawLog[]): FollowedBlock {
    const { number, hash, parentHash, timestamp } = header;
    for (const item of logs) {
      if (item.blockHash !== hash || item.blockNumber !== number || !isOurs(item)) {
        throw rpcInconsistent(`The RPC gave a log for block ${number} that is not of that block.`);
      }
    }
    logs.sort((a, b) => a.logIndex - b.logIndex);
    if (logs.some((item, i) => item.logIndex === logs[i - 1]?.logIndex)) {
      throw rpcInconsistent(`The RPC gave the same log of block ${number} twice.`);
    }
    return { number, hash, parentHash, timestamp, logs };
  }

  async function blocksInRange({ from, to, verify, after }: BlockRange, signal: AbortSignal) {
    const filter = { address: addresses, fromBlock: toQuantity(from), toBlock: toQuantity(to) };
    const logs = parseLogs(await request(rpc, "eth_getLogs", [filter], signal), `blocks ${from} to ${to}`);
    const byNumber = Map.groupBy(logs, (item) => item.blockNumber);
    const numbers = verify ? span(from, to) : [...new Set([...byNumber.keys(), to])].sort((a, b) => a - b);
    const read = await headers(numbers, signal);
    await checkLinks(read, after, signal);
    if (logs.some(({ blockNumber }) => blockNumber < from || blockNumber > to)) {
      throw rpcInconsistent(`The RPC gave logs outside of blocks ${from} to ${to}.`);
    }
    const doubtful = read.filter((h) => !byNumber.has(h.number) && mayHold(h.logsBloom));
    const reread = new Map((await blocksByHash(doubtful, signal)).map((block) => [block.number, block]));
    return read
      .map((h) => reread.get(h.number) ?? withLogs(h, byNumber.get(h.number) ?? []))
      .filter((block) => block.logs.length > 0 || block.number === to);
  }

  return { headers, checkLinks, blocksByHash, blocksInRange };
}

/** All heights from `from` to `to`, both included. */
export function span(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
}

function asked(number: number, block: unknown): BlockHeader {
  const header = parseHeader(block, `block ${number}`);
  if (header.number !== number) throw rpcInconsistent(`The RPC gave block ${header.number} for block ${number}.`);
  return header;
}

function missingLogs(header: BlockHeader): Error {
  return rpcInconsistent(`The RPC gave no logs of block ${header.number}, though its bloom filter matches.`);
}

function unwrap(outcome: RpcOutcome | undefined): unknown {
  if (outcome === undefined) throw rpcInconsistent("The RPC left a call unanswered.");
  if ("error" in outcome) throw toMarketError(outcome.error, { action: "Reading the chain" });
  return outcome.result;
}

async function ask(rpc: Rpc, method: string, params: readonly unknown[], signal?: AbortSignal): Promise<unknown> {
  try {
    return await request(rpc, method, params, signal);
  } catch (error) {
    signal?.throwIfAborted();
    throw toMarketError(error, { action: "Reading the chain" });
  }
}

function request(rpc: Rpc, method: string, params: readonly unknown[], signal?: AbortSignal): Promise<unknown> {
  return rpc.request(method, params, { signal });
}
