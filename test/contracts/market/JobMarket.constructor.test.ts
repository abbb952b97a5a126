import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import { deployedMarket } from "../support/market.ts";

describe("JobMarket#constructor", () => {
  it("refuses a desk without code, whose every call would succeed and do nothing", async () => {
    const { market, addresses, sink, guardian, stranger } = await loadFixture(deployedMarket);
    const deployed = ethers.deployContract("JobMarket", [addresses.identity, stranger, sink, guardian]);
    await expect(deployed).to.be.revertedWithCustomError(market, "DeskWithoutCode").withArgs(stranger);
  });
});
