import { expect } from "chai";
import { markBranches, withoutMarks } from "../../../scripts/lib/branches.ts";

const SOURCE = `pragma solidity ^0.8.30;
contract C { // “quoted”, so bytes are not characters
    uint256 x;
    function f(uint256 y) external {
        if (y == 1) return;
        if (y == 2) x = 2;
        else if (y == 3) {
            x = 3;
        } else x = 4;
        for (uint256 i = 0; i < y; ++i) if (i == y) break;
        if (y > 4) while (x < y) ++x;
        x = y;
    }
}
`;

describe("markBranches", () => {
  it("gives both ways of every if a line of their own, and changes nothing else", () => {
    const marked = markBranches(SOURCE);
    expect(marked.split("\n").filter((line) => line === "0;")).to.have.length(10);
    const words = (text: string) => text.replaceAll(/\b0;/g, "").replaceAll(/[{}\s]|\belse\b/g, "");
    expect(words(marked)).to.equal(words(SOURCE));
    expect(marked).to.match(/if \(y == 1\) \{\n0;\nreturn; \} else \{\n0;\n\}\n/);
    expect(marked).to.match(/while \(x < y\) \+\+x; \} else \{\n0;\n\}\n {8}x = y;/);
  });

  it("refuses what is no Solidity", () => {
    expect(() => markBranches("contract {")).to.throw("Expected identifier");
  });
});

describe("withoutMarks", () => {
  const marked = markBranches(SOURCE);
  const marks = marked.split("\n").flatMap((line, at) => (line === "0;" ? [at + 1] : []));

  it("tells which ways were taken, by the lines of the source", () => {
    const taken = new Map(marks.map((line, at) => [line, at % 2 === 0]));
    expect(withoutMarks(marked, taken).branches).to.deep.equal(
      [5, 5, 6, 7, 7, 9, 10, 10, 11, 11].map((line, at) => ({ line, ran: at % 2 === 0 })),
    );
  });

  it("says that a line ran when all of its parts did", () => {
    const lines = marked.split("\n");
    const ran = new Map(lines.map((line, at) => [at + 1, line !== "return; } else {"]));
    const run = withoutMarks(marked, ran).lines;
    expect(run.get(5)).to.equal(false);
    expect([...run].filter(([, hit]) => !hit)).to.have.length(1);
    expect(Math.max(...run.keys())).to.equal(SOURCE.split("\n").length);
  });
});
