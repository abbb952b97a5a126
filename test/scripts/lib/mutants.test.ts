import { expect } from "chai";
import { mutantsOf } from "../../../scripts/lib/mutants.ts";

const broken = (...lines: string[]) => mutantsOf("a.sol", lines.join("\n")).map(({ is }) => is.trim());

describe("mutantsOf", () => {
  it("turns each place of a line by itself", () => {
    expect(broken("if (a > b && c >= d) {")).to.have.members([
      "if (a >= b && c >= d) {",
      "if (a > b && c > d) {",
      "if (a > b || c >= d) {",
    ]);
    expect(broken("x = a + b + c;")).to.deep.equal(["x = a - b + c;", "x = a + b - c;"]);
    expect(broken("return good ? one : two;")).to.deep.equal(["return good ? two : one;"]);
  });

  it("forgets movements, states, checks and events", () => {
    for (const line of [
      "_credit(to, token, 1);",
      "_requireController(owner);",
      "replica.lastAt = now;",
      "_balances[account][token] = 1;",
      "if (over) revert Over(1);",
      "emit Moved(a, b);",
      "token.give(to, amount);",
    ]) {
      expect(broken(`    ${line}`), line).to.deep.equal([""]);
    }
  });

  it("leaves comments, declarations and loops alone", () => {
    expect(broken("// a > b", "/// a > b", "event A(b == c);", "for (uint i = 0; i < 1; ++i) {")).to.deep.equal([]);
    expect(broken("uint x; // a > b")).to.deep.equal([]);
  });

  it("says where a mutant is, and changes that line only", () => {
    const [mutant] = mutantsOf("a.sol", "contract A {\nfunction f() {\nx = a + b;\n}");
    expect(mutant).to.deep.equal({
      file: "a.sol",
      within: "f",
      line: 3,
      was: "x = a + b;",
      is: "x = a - b;",
      source: "contract A {\nfunction f() {\nx = a - b;\n}",
    });
  });
});
