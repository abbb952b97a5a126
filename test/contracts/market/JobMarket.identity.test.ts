import { expect } from "chai";
import { loadFixture } from "../support/actors.ts";
import { deployedMarket } from "../support/market.ts";

describe("JobMarket#identity", () => {
  it("is the registry that says who speaks for an account, the same in staking", async () => {
    const { market, staking, addresses } = await loadFixture(deployedMarket);
    expect(await market.identity()).to.equal(addresses.identity);
    expect(await staking.identity()).to.equal(addresses.identity);
  });
});
