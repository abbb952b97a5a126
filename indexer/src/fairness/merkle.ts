import type { Hex } from "@berth/protocol";
import { keccak } from "../intake/keccak.ts";

/** The way from a leaf up to the root: the sibling of each level, null where the node has none. */
export interface Proof {
  /** Place of the leaf, from 0. */
  place: number;
  siblings: (Hex | null)[];
}

const LEAF = Buffer.from([0]);
const NODE = Buffer.from([1]);
const EMPTY = Buffer.alloc(32);

/** Leaves and nodes are told apart by their first byte, so that no node passes for a leaf. */
export function leafHash(text: string): Buffer {
  return Buffer.from(keccak(Buffer.concat([LEAF, Buffer.from(text)])));
}

/** All levels of the tree, leaves first. A node without a sibling rises as it is. */
export function treeOf(leaves: readonly Buffer[]): Buffer[][] {
  const levels = [[...leaves]];
  for (let level = levels[0] as Buffer[]; level.length > 1; level = levels.at(-1) as Buffer[]) {
    const above: Buffer[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const [left, right] = [level[i] as Buffer, level[i + 1]];
      above.push(right === undefined ? left : join(left, right));
    }
    levels.push(above);
  }
  return levels;
}

export function rootOf(levels: readonly Buffer[][]): Buffer {
  return levels.at(-1)?.[0] ?? EMPTY;
}

export function proofOf(levels: readonly Buffer[][], place: number): Proof {
  const siblings = levels.slice(0, -1).map((level, height) => {
    const sibling = level[(place >> height) ^ 1];
    return sibling === undefined ? null : hexOf(sibling);
  });
  return { place, siblings };
}

/** The root that a leaf and its proof come to. */
export function climb(leaf: Buffer, { place, siblings }: Proof): Buffer {
  return siblings.reduce<Buffer>((node, sibling, height) => {
    if (sibling === null) return node;
    const other = Buffer.from(sibling.slice(2), "hex");
    return (place >> height) & 1 ? join(other, node) : join(node, other);
  }, leaf);
}

export function hexOf(bytes: Uint8Array): Hex {
  return `0x${Buffer.from(bytes).toString("hex")}`;
}

function join(left: Buffer, right: Buffer): Buffer {
  return Buffer.from(keccak(Buffer.concat([NODE, left, right])));
}
