import { concatHex, encodeAbiParameters, keccak256 } from "viem";
import { MarketError } from "./errors.ts";
import type { Address, Hex } from "./units.ts";

/** The only operators that a request allows, as `request.operators` commits to them. */
export interface OperatorTree {
  /** What `request.operators` is set to. */
  root: Hex;
  /** What `matchJob` and `accept` take to show that `operator` is one of them; undefined when it is not. */
  proofOf(operator: Address): Hex[] | undefined;
}

/**
 * A Merkle tree of `operators`, in the form of OpenZeppelin's `StandardMerkleTree` of ["address"]. The order in which they are
 * given does not matter. Throws OPERATORS_EMPTY.
 */
export function operatorTree(operators: readonly Address[]): OperatorTree {
  const leaves = operators.map(leafOf).sort();
  const count = leaves.length;
  if (count === 0) throw new MarketError("OPERATORS_EMPTY", "A list of allowed operators must name at least one.");
  // The nodes in the order of a heap: the root, its two children, and so on; the leaves come last, backwards.
  const nodes = new Array<Hex>(2 * count - 1);
  for (const [i, leaf] of leaves.entries()) nodes[nodes.length - 1 - i] = leaf;
  for (let i = count - 2; i >= 0; i--) nodes[i] = parentOf(nodes[2 * i + 1] as Hex, nodes[2 * i + 2] as Hex);
  const places = new Map(nodes.slice(count - 1).map((leaf, i) => [leaf, count - 1 + i]));

  return {
    root: nodes[0] as Hex,
    proofOf(operator) {
      let at = places.get(leafOf(operator));
      if (at === undefined) return undefined;
      const proof: Hex[] = [];
      for (; at > 0; at = (at - 1) >> 1) proof.push(nodes[at % 2 === 0 ? at - 1 : at + 1] as Hex);
      return proof;
    },
  };
}

/** Hashed twice, so that no inner node can pass for a leaf. */
function leafOf(operator: Address): Hex {
  return keccak256(keccak256(encodeAbiParameters([{ type: "address" }], [operator.toLowerCase() as Address])));
}

function parentOf(a: Hex, b: Hex): Hex {
  return keccak256(concatHex(a < b ? [a, b] : [b, a]));
}
