import { expect } from "chai";
import hre from "hardhat";
import { loadFixture } from "../support/actors.ts";
import { deployedMarket } from "../support/market.ts";

describe("TestToken", () => {
  it("has the decimals of a stable coin and mints for anyone on a local chain", async () => {
    const { token, stranger } = await loadFixture(deployedMarket);
    await token.connect(stranger).mint(stranger, 5n);
    expect(await token.balanceOf(stranger)).to.equal(5n);
    expect(await token.decimals()).to.equal(6n);
    expect(await token.symbol()).to.equal("tUSD");
  });

  it("mints for nobody on any other chain", async () => {
    const { ethers } = await hre.network.create({ network: "default", override: { chainId: 1 } });
    const token = await ethers.deployContract("TestToken");
    const [anyone] = await ethers.getSigners();
    await expect(token.getFunction("mint")(anyone, 5n))
      .to.be.revertedWithCustomError(token, "NotALocalChain")
      .withArgs(1);
  });
});
