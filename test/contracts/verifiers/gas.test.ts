import { expect } from "chai";
import { attestedJob, quorumTwoOfThree } from "./support.ts";

const sum = (gas: Record<string, number>) => Object.values(gas).reduce((total, one) => total + one, 0);

describe("gas of judged jobs", () => {
  it("is saved by carrying the openings of a quorum together", async () => {
    const [together, apart] = [await quorumTwoOfThree(), await quorumTwoOfThree(false)];
    expect(sum(together)).to.be.below(sum(apart) - 70_000);
  });

  it("needs two transactions for an attested job", async () => {
    expect(Object.keys(await attestedJob())).to.deep.equal(["match", "submit"]);
  });
});
