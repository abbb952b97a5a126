import { expect } from "chai";
import fc from "fast-check";
import { interfaceName } from "../../../provider-node/src/mesh/interface-name.ts";

describe("interfaceName", () => {
  it("fits Linux and stays the same for the same run and index", () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(), (runId, index) => {
        expect(interfaceName(runId, index)).to.match(/^[a-z0-9]{1,15}$/);
        expect(interfaceName(runId, index)).to.equal(interfaceName(runId, index));
      }),
    );
  });

  it("differs between runs and between the nodes of one run", () => {
    const names = ["a1", "b2", "a"].flatMap((run) => [0, 1, 11].map((index) => interfaceName(run, index)));
    expect(new Set(names).size).to.equal(names.length);
  });
});
