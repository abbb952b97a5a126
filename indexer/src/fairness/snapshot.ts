import { type Address, type Hex, type Offer, orderToJson, type Request } from "@berth/protocol";
import type { BookNode, BookOffer, BookView } from "../book/book.ts";
import type { HoldJson } from "../book/holds.ts";
import { keccak } from "../intake/keccak.ts";
import { climb, hexOf, leafHash, type Proof, rootOf, treeOf } from "./merkle.ts";

type OrderJson<T> = { [K in keyof T]: T[K] extends bigint ? string : T[K] };

/** Offers in the book at most for a snapshot to be taken: it looks at each of them. */
export const MOST_OFFERS = 5_000;

/** An offer as a decision saw it, with everything that stands behind it. */
export interface Leaf {
  offerHash: Hex;
  offer: OrderJson<Offer>;
  seq: number;
  signer: Address;
  node: (Omit<BookNode, "limits"> & { limits: Record<string, number | string> | null }) | null;
  /** Token units, of the offer's token. */
  stake: { free: string; locked: string };
  accepts: readonly Address[];
  deactivated: boolean;
}

/** What a decision saw besides the offers. */
export interface Round {
  /** Unix seconds at which the matches were expected on chain. */
  now: number;
  /** The newest block in the book. */
  block: number;
  matcher: Address;
  paused: boolean;
  /** The requests that it matched, as it matched them: others took nothing. */
  orders: RoundOrder[];
  /** What matches under way had taken. */
  holds: HoldJson[];
}

export interface RoundOrder {
  jobId: Hex;
  request: OrderJson<Request>;
  posted: boolean;
  receivedAtMs: number;
  operators: readonly Address[] | null;
  /** Token units that the payer had. */
  balance: string;
  /** Offers that the market had refused for it. */
  barred: Hex[];
}

/** The text that is hashed: always the same for the same facts. */
export function leafText({ offerHash, offer, seq, signer }: BookOffer, standing: Standing): string {
  const { node, stake, accepts, deactivated } = standing;
  const leaf: Leaf = {
    offerHash,
    offer: orderToJson(offer) as OrderJson<Offer>,
    seq,
    signer,
    node: nodeJson(node),
    stake: { free: String(stake.free), locked: String(stake.locked) },
    accepts: [...accepts].sort(),
    deactivated,
  };
  return JSON.stringify(leaf);
}

/** What stands behind an offer. The book replaces these and never changes them, so the same ones have the same content. */
export interface Standing {
  node: BookNode | undefined;
  stake: { free: bigint; locked: bigint };
  accepts: readonly Address[];
  deactivated: boolean;
}

export function standingOf(book: BookView, { operator, index, token }: Offer): Standing {
  return {
    node: book.node(operator, index),
    stake: book.stake(operator, token),
    accepts: book.accepts(operator),
    deactivated: book.deactivated(operator),
  };
}

/** What is published: the round, the tree of the offers, and how many those are. */
export function rootOfSnapshot(roundText: string, tree: Uint8Array, offers: number): Hex {
  const count = Buffer.alloc(8);
  count.writeBigUInt64BE(BigInt(offers));
  const round = keccak(Buffer.concat([Buffer.from([2]), Buffer.from(roundText)]));
  return hexOf(keccak(Buffer.concat([Buffer.from([3]), round, tree, count])));
}

/** The root that a snapshot in full comes to. */
export function rootOfLeaves(roundText: string, leaves: readonly string[]): Hex {
  return rootOfSnapshot(roundText, rootOf(treeOf(leaves.map(leafHash))), leaves.length);
}

/** Does `proof` show that `leaf` is one of the `offers` offers of the snapshot that was published as `root`? */
export function isIncluded(
  root: Hex,
  { roundText, leaf, proof, offers }: { roundText: string; leaf: string; proof: Proof; offers: number },
): boolean {
  return rootOfSnapshot(roundText, climb(leafHash(leaf), proof), offers) === root;
}

function nodeJson(node: BookNode | undefined): Leaf["node"] {
  if (node === undefined) return null;
  const { operator, index, key, validTo, limits, use } = node;
  const { epoch, active, cpuMilli, memoryMiB, diskMiB, gpus } = use;
  return {
    operator,
    index,
    key,
    validTo,
    limits: limits === null ? null : limitsJson(limits),
    use: { epoch, active, cpuMilli, memoryMiB, diskMiB, gpus },
  };
}

function limitsJson(limits: NonNullable<BookNode["limits"]>): Record<string, number | string> {
  const { maxBond, maxActive, cpuMilli, memoryMiB, diskMiB, gpus } = limits;
  return { maxBond: String(maxBond), maxActive, cpuMilli, memoryMiB, diskMiB, gpus };
}
