import { type Hex, MarketError } from "@berth/protocol";
import type { Query } from "../store/database.ts";
import { leafHash, rootOf, treeOf } from "./merkle.ts";
import { type Leaf, rootOfSnapshot } from "./snapshot.ts";
import { leavesOf } from "./snapshots.ts";

/** A tree of offers with the place of each. */
export interface OfferTree {
  levels: Buffer[][];
  places: Map<Hex, number>;
}

/** A snapshot as `snapshotOf` gives it. */
interface Found {
  round: number;
  text: string;
}

/** The trees that were asked for last. A root stands for one content, so nothing makes a tree wrong later. */
export interface Trees {
  /**
   * The tree of the snapshot that was published as `root`; whoever asks meanwhile waits for the same one.
   * Throws SNAPSHOT_UNKNOWN when it was forgotten while it was read.
   */
  of(query: Query, root: Hex, found: Found): Promise<OfferTree>;
}

export function createTrees(most: number): Trees {
  /** Least recently asked for first. */
  const kept = new Map<Hex, Promise<OfferTree>>();

  return {
    of(query, root, found) {
      const tree = kept.get(root) ?? readTree(query, root, found);
      kept.delete(root);
      kept.set(root, tree);
      tree.catch(() => {
        if (kept.get(root) === tree) kept.delete(root);
      });
      const [oldest] = kept.keys();
      if (kept.size > most && oldest !== undefined) kept.delete(oldest);
      return tree;
    },
  };
}

async function readTree(query: Query, root: Hex, { round, text }: Found): Promise<OfferTree> {
  const places = new Map<Hex, number>();
  const hashes: Buffer[] = [];
  let after: Hex | undefined;
  for (let page = await leavesOf(query, round, after); page.length > 0; page = await leavesOf(query, round, after)) {
    for (const leaf of page) {
      after = (JSON.parse(leaf) as Leaf).offerHash;
      places.set(after, hashes.length);
      hashes.push(leafHash(leaf));
    }
  }
  const levels = treeOf(hashes);
  if (rootOfSnapshot(text, rootOf(levels), hashes.length) === root) return { levels, places };
  throw new MarketError("SNAPSHOT_UNKNOWN", `The snapshot with the root ${root} is not kept here any more.`);
}
