import type { Address, Hex, NodeUse, Request } from "@berth/protocol";
import { accountId, nodeId } from "./book.ts";

/** What a match that was sent but is not on chain yet takes: capacity, stake, and the payer's money. */
export interface Hold {
  jobId: Hex;
  nodes: { operator: Address; index: number }[];
  /** What each of the nodes gives. */
  resources: Pick<Request, "cpuMilli" | "memoryMiB" | "diskMiB" | "gpus">;
  token: Address;
  bond: bigint;
  payer: Address;
  /** Token units still to be debited; 0 for a posted request, whose price is reserved. */
  spent: bigint;
}

type Occupied = Omit<NodeUse, "epoch">;

/** Sums of holds, as the engine subtracts them. */
export interface Holds {
  add(hold: Hold): void;
  use(operator: Address, index: number): Occupied;
  bonds(operator: Address, token: Address): bigint;
  spent(payer: Address, token: Address): bigint;
}

const NONE: Occupied = { active: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 };

export function createHolds(holds: Iterable<Hold> = []): Holds {
  const uses = new Map<string, Occupied>();
  const bonds = new Map<string, bigint>();
  const spent = new Map<string, bigint>();
  const sums: Holds = {
    add({ nodes, resources, token, bond, payer, spent: price }) {
      for (const { operator, index } of nodes) {
        const now = uses.get(nodeId(operator, index)) ?? NONE;
        uses.set(nodeId(operator, index), {
          active: now.active + 1,
          cpuMilli: now.cpuMilli + resources.cpuMilli,
          memoryMiB: now.memoryMiB + resources.memoryMiB,
          diskMiB: now.diskMiB + resources.diskMiB,
          gpus: now.gpus + resources.gpus,
        });
        increase(bonds, accountId(operator, token), bond);
      }
      increase(spent, accountId(payer, token), price);
    },
    use: (operator, index) => uses.get(nodeId(operator, index)) ?? NONE,
    bonds: (operator, token) => bonds.get(accountId(operator, token)) ?? 0n,
    spent: (payer, token) => spent.get(accountId(payer, token)) ?? 0n,
  };
  for (const hold of holds) sums.add(hold);
  return sums;
}

function increase(map: Map<string, bigint>, key: string, by: bigint): void {
  map.set(key, (map.get(key) ?? 0n) + by);
}

/** The form in which a hold is stored. */
export type HoldJson = Omit<Hold, "bond" | "spent"> & { bond: string; spent: string };

export function holdToJson(hold: Hold): HoldJson {
  return { ...hold, bond: String(hold.bond), spent: String(hold.spent) };
}

export function holdFromJson(stored: HoldJson): Hold {
  return { ...stored, bond: BigInt(stored.bond), spent: BigInt(stored.spent) };
}
