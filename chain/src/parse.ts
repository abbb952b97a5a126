import type { Address, Hex, UnixSeconds } from "@berth/protocol";
import { rpcInconsistent } from "./errors.ts";

/** A block's height and hash. Heights are JavaScript numbers here, as in SQL and JSON. */
export interface BlockRef {
  number: number;
  hash: Hex;
}
export interface BlockHeader extends BlockRef {
  parentHash: Hex;
  timestamp: UnixSeconds;
  logsBloom: Hex;
  /** wei; undefined on chains without EIP-1559 */
  baseFeePerGas: bigint | undefined;
}
/** A log as the chain stores it. Addresses are lower case. */
export interface RawLog {
  address: Address;
  topics: readonly Hex[];
  data: Hex;
  blockNumber: number;
  blockHash: Hex;
  transactionHash: Hex;
  transactionIndex: number;
  logIndex: number;
}

/** Reads a JSON-RPC quantity as a number. Throws `RPC_INCONSISTENT`. */
export function quantity(value: unknown, what: string): number {
  if (typeof value === "string" && /^0x[0-9a-f]{1,14}$/i.test(value)) {
    const number = Number.parseInt(value, 16);
    if (Number.isSafeInteger(number)) return number;
  }
  throw rpcInconsistent(`The RPC gave no ${what}.`);
}

/** Reads a JSON-RPC quantity of any size. Throws `RPC_INCONSISTENT`. */
export function bigQuantity(value: unknown, what: string): bigint {
  if (typeof value === "string" && /^0x[0-9a-f]{1,64}$/i.test(value)) return BigInt(value);
  throw rpcInconsistent(`The RPC gave no ${what}.`);
}

/** Reads hex digits of a fixed (`bytes`) or any length. Throws `RPC_INCONSISTENT`. */
export function hex(value: unknown, what: string, bytes?: number): Hex {
  const fits = typeof value === "string" && /^0x[0-9a-f]*$/i.test(value) && value.length % 2 === 0;
  if (!fits || (bytes !== undefined && value.length !== 2 + 2 * bytes)) {
    throw rpcInconsistent(`The RPC gave no ${what}.`);
  }
  return value.toLowerCase() as Hex;
}

/** Reads a block header. Throws `RPC_INCONSISTENT` for null and for anything incomplete. */
export function parseHeader(value: unknown, what: string): BlockHeader {
  const block = object(value, what);
  return {
    number: quantity(block["number"], `number of ${what}`),
    hash: hex(block["hash"], `hash of ${what}`, 32),
    parentHash: hex(block["parentHash"], `parent of ${what}`, 32),
    timestamp: quantity(block["timestamp"], `time of ${what}`),
    logsBloom: hex(block["logsBloom"], `bloom filter of ${what}`, 256),
    baseFeePerGas:
      block["baseFeePerGas"] === undefined || block["baseFeePerGas"] === null
        ? undefined
        : bigQuantity(block["baseFeePerGas"], `base fee of ${what}`),
  };
}

/** Reads a list of logs. Throws `RPC_INCONSISTENT` for null, a pending log or a removed one. */
export function parseLogs(value: unknown, what: string): RawLog[] {
  if (!Array.isArray(value)) throw rpcInconsistent(`The RPC gave no logs of ${what}.`);
  return value.map((item) => {
    const log = object(item, `log of ${what}`);
    if (log["removed"] === true) throw rpcInconsistent(`The RPC gave a removed log of ${what}.`);
    const topics = log["topics"];
    if (!Array.isArray(topics)) throw rpcInconsistent(`The RPC gave a log without topics of ${what}.`);
    return {
      address: hex(log["address"], "address of a log", 20),
      topics: topics.map((topic) => hex(topic, "topic of a log", 32)),
      data: hex(log["data"], "data of a log"),
      blockNumber: quantity(log["blockNumber"], "block number of a log"),
      blockHash: hex(log["blockHash"], "block hash of a log", 32),
      transactionHash: hex(log["transactionHash"], "transaction of a log", 32),
      transactionIndex: quantity(log["transactionIndex"], "transaction index of a log"),
      logIndex: quantity(log["logIndex"], "index of a log"),
    };
  });
}

export function object(value: unknown, what: string): Record<string, unknown> {
  if (value === null || typeof value !== "object") throw rpcInconsistent(`The RPC gave no ${what}.`);
  return value as Record<string, unknown>;
}

export function toQuantity(value: number | bigint): Hex {
  return `0x${value.toString(16)}`;
}
