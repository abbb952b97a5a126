import { type Address, type Hex, operatorTree } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { concatHex, encodeAbiParameters, keccak256 } from "viem";

const account = (number: number) => `0x${number.toString(16).padStart(40, "0")}` as Address;
const lists = fc.uniqueArray(fc.nat(1 << 20), { minLength: 1, maxLength: 40 }).map((numbers) => numbers.map(account));

describe("operatorTree", () => {
  it("proves each operator, as MerkleProof.sol climbs to the root, and nobody else", () => {
    fc.assert(
      fc.property(lists, (operators) => {
        const tree = operatorTree(operators);
        for (const operator of operators) {
          const proof = tree.proofOf(operator) ?? [];
          expect(climb(leaf(operator), proof)).to.equal(tree.root);
          expect(proof.length).to.be.at.most(Math.ceil(Math.log2(operators.length)));
        }
        expect(tree.proofOf(account(1 << 21))).to.equal(undefined);
      }),
    );
  });

  it("has the same root for the same operators in any order and case", () => {
    fc.assert(
      fc.property(lists, (operators) => {
        const upper = operators.toReversed().map((one) => `0x${one.slice(2).toUpperCase()}` as Address);
        expect(operatorTree(upper).root).to.equal(operatorTree(operators).root);
      }),
    );
  });

  it("is the leaf alone for one operator", () => {
    const tree = operatorTree([account(7)]);
    expect([tree.root, tree.proofOf(account(7))]).to.deep.equal([leaf(account(7)), []]);
  });

  it("refuses an empty list", () => {
    expect(() => operatorTree([])).to.throw("A list of allowed operators must name at least one.");
  });
});

/** What `JobMarket` hashes for an operator. */
function leaf(operator: Address): Hex {
  return keccak256(keccak256(encodeAbiParameters([{ type: "address" }], [operator])));
}

function climb(from: Hex, proof: readonly Hex[]): Hex {
  return proof.reduce(
    (node, next) => keccak256(concatHex(BigInt(node) < BigInt(next) ? [node, next] : [next, node])),
    from,
  );
}
