import type { Address, Hex, JobId, NodeLimits } from "@berth/protocol";

/** Token units by account. */
export type Book = Readonly<Record<string, bigint>>;
export type Table<Row> = Readonly<Record<string, Row>>;

export interface Stake {
  free: bigint;
  locked: bigint;
}
export interface Exit {
  amount: bigint;
  readyAt: number;
}
export interface NodeUse {
  epoch: number;
  active: number;
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
  declinedAt: number;
  touched: boolean;
}
export interface Replica {
  state: number;
  matchedAt: number;
  lastAt: number;
  commitment: Hex;
}
export interface Lease {
  chargedSeconds: number;
  addedSeconds: number;
  closingAt: number;
}

/** All that market and staking store, of one token and of operators with one node each. A row that is missing is all zero. */
export interface Storage {
  readonly paused: boolean;
  readonly balances: Book;
  /** Tokens themselves: what accounts, market and staking have. */
  readonly wallets: Book;
  readonly stakes: Table<Stake>;
  readonly exits: Table<Exit>;
  readonly owed: Book;
  readonly uses: Table<NodeUse>;
  readonly limits: Table<NodeLimits>;
  readonly accepted: Table<boolean>;
  readonly replicas: Table<Replica>;
  readonly leases: Table<Lease>;
}

const NO_COMMITMENT: Hex = `0x${"0".repeat(42)}`;
export const noStake: Stake = { free: 0n, locked: 0n };
export const noExit: Exit = { amount: 0n, readyAt: 0 };
export const noReplica: Replica = { state: 0, matchedAt: 0, lastAt: 0, commitment: NO_COMMITMENT };
export const noLease: Lease = { chargedSeconds: 0, addedSeconds: 0, closingAt: 0 };
export const noLimits: NodeLimits = { maxBond: 0n, maxActive: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 };
export const noUse: NodeUse = {
  epoch: 0,
  active: 0,
  cpuMilli: 0,
  memoryMiB: 0,
  diskMiB: 0,
  gpus: 0,
  declinedAt: 0,
  touched: false,
};
export const empty: Storage = {
  paused: false,
  balances: {},
  wallets: {},
  stakes: {},
  exits: {},
  owed: {},
  uses: {},
  limits: {},
  accepted: {},
  replicas: {},
  leases: {},
};

/** The names of rows that have two parts. */
export const replicaKey = (jobId: JobId, replica: number) => `${jobId}/${replica}`;
export const acceptedKey = (operator: Address, what: Address) => `${operator}/${what}`;

type Tables = Omit<Storage, "paused">;

/** `storage` with one row of one table replaced. */
export function put<Name extends keyof Tables>(
  storage: Storage,
  table: Name,
  key: string,
  row: Tables[Name][string],
): Storage {
  return { ...storage, [table]: { ...storage[table], [key]: row } };
}

/** `storage` without rows that are all zero, which a chain cannot tell from missing ones. */
export function withoutZeros(storage: Storage): Storage {
  const tables = Object.entries(storage).map(([name, table]) => [
    name,
    typeof table === "boolean" ? table : Object.fromEntries(Object.entries(table).filter(([, row]) => !isZero(row))),
  ]);
  return Object.fromEntries(tables) as Storage;
}

function isZero(row: unknown): boolean {
  if (typeof row === "object" && row !== null) return Object.values(row).every(isZero);
  return row === 0 || row === 0n || row === false || row === NO_COMMITMENT;
}
