import { expect } from "chai";
import { createRecent } from "../../../indexer/src/intake/recent.ts";

describe("createRecent", () => {
  it("keeps no more than it may, and forgets first what was not asked for longest", () => {
    const recent = createRecent(3);
    for (const key of ["a", "b", "c"]) recent.add(key);
    expect(recent.has("a")).to.equal(true);
    recent.add("d");
    expect(["a", "b", "c", "d"].map(recent.has)).to.deep.equal([true, false, true, true]);
    recent.add("d");
    expect(recent.size).to.equal(3);
  });
});
