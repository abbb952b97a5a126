import type { Address, ErrorJson, Hex } from "@berth/protocol";

/** queued → signed → sent → mined → final; `reverted` before signing, `failed` after mining or by policy. */
export type OutboxState = "queued" | "signed" | "sent" | "mined" | "final" | "reverted" | "failed";

/** One signed version of a transaction. Versions with the same nonce exclude each other on chain. */
export interface Attempt {
  nonce: number;
  hash: Hex;
  /** The signed bytes, stored before they are broadcast. */
  raw: Hex;
  /** wei per gas; both equal the gas price on chains without EIP-1559 */
  maxFeePerGas: bigint;
  maxPriorityFeePerGas: bigint;
  gas: bigint;
}

export interface Mined {
  hash: Hex;
  blockNumber: number;
  blockHash: Hex;
  success: boolean;
}

/** One transaction that must happen once. `key` is what it is known by, and what makes `enqueue` idempotent. */
export interface OutboxEntry {
  key: string;
  chainId: number;
  from: Address;
  to: Address;
  data: Hex;
  /** wei */
  value: bigint;
  gasLimit: bigint | null;
  /** wei that its gas may cost, where that is bounded */
  maxGasCost?: bigint;
  state: OutboxState;
  /** Of the attempts that may still be mined; null until signed. */
  nonce: number | null;
  attempts: Attempt[];
  mined: Mined | null;
  /** Why it stopped, or what it waits for. */
  error: ErrorJson | null;
  /** wei spent on gas: the most it can cost while in flight, the true cost once mined. */
  gasCost: bigint;
  /** Unix milliseconds. */
  createdAtMs: number;
  signedAtMs: number | null;
}

/** Where entries are kept. One process at a time per account: the lock is the caller's. Every write must be durable. */
export interface OutboxStore {
  /** Inserts unless the key exists; returns what is stored now. */
  insertIfAbsent(entry: OutboxEntry): OutboxEntry | Promise<OutboxEntry>;
  get(key: string): OutboxEntry | undefined | Promise<OutboxEntry | undefined>;
  /** Replaces the entry with the same key. */
  update(entry: OutboxEntry): void | Promise<void>;
  /** Entries that are queued, signed, sent or mined, in the order they were inserted. */
  listOpen(): OutboxEntry[] | Promise<OutboxEntry[]>;
  /** Sum of `gasCost` (wei) of the entries with `signedAtMs` at or after this Unix time in milliseconds. */
  gasCostSince(unixMs: number): bigint | Promise<bigint>;
}

export function isOpen({ state }: OutboxEntry): boolean {
  return state === "queued" || state === "signed" || state === "sent" || state === "mined";
}

/** Text for a database column; bigints become decimal strings. */
export function encodeEntry(entry: OutboxEntry): string {
  return JSON.stringify(entry, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value));
}

/** Reads what `encodeEntry` wrote. */
export function decodeEntry(text: string): OutboxEntry {
  const stored = JSON.parse(text) as OutboxEntry;
  return {
    ...stored,
    value: BigInt(stored.value),
    gasLimit: stored.gasLimit === null ? null : BigInt(stored.gasLimit),
    ...(stored.maxGasCost === undefined ? {} : { maxGasCost: BigInt(stored.maxGasCost) }),
    gasCost: BigInt(stored.gasCost),
    attempts: stored.attempts.map((attempt) => ({
      ...attempt,
      maxFeePerGas: BigInt(attempt.maxFeePerGas),
      maxPriorityFeePerGas: BigInt(attempt.maxPriorityFeePerGas),
      gas: BigInt(attempt.gas),
    })),
  };
}

/** Forgets everything with the process: for a client whose transactions end before it does. */
export function memoryOutboxStore(): OutboxStore {
  const entries = new Map<string, OutboxEntry>();
  return {
    insertIfAbsent(entry) {
      if (!entries.has(entry.key)) entries.set(entry.key, entry);
      return entries.get(entry.key) as OutboxEntry;
    },
    get: (key) => entries.get(key),
    update(entry) {
      entries.set(entry.key, entry);
    },
    listOpen: () => [...entries.values()].filter(isOpen),
    gasCostSince: (unixMs) =>
      [...entries.values()]
        .filter(({ signedAtMs }) => signedAtMs !== null && signedAtMs >= unixMs)
        .reduce((sum, { gasCost }) => sum + gasCost, 0n),
  };
}
