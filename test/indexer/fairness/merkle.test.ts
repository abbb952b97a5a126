import { expect } from "chai";
import { climb, leafHash, proofOf, rootOf, treeOf } from "../../../indexer/src/fairness/merkle.ts";

describe("the tree of a snapshot", () => {
  it("proves each leaf at its place and no other, whatever their number", () => {
    for (let count = 1; count <= 33; count++) {
      const leaves = Array.from({ length: count }, (_, i) => leafHash(`leaf ${i}`));
      const tree = treeOf(leaves);
      for (const [place, leaf] of leaves.entries()) {
        const proof = proofOf(tree, place);
        expect(climb(leaf, proof).equals(rootOf(tree)), `${place} of ${count}`).to.equal(true);
        expect(climb(leafHash("another"), proof).equals(rootOf(tree)), `another at ${place}`).to.equal(false);
      }
    }
  });

  it("has a root of zeros without leaves", () => {
    expect(rootOf(treeOf([])).equals(Buffer.alloc(32))).to.equal(true);
  });
});
