import { expect } from "chai";
import hre from "hardhat";
import Berth from "../../ignition/modules/Berth.ts";
import BerthLocal from "../../ignition/modules/BerthLocal.ts";

describe("the deployment modules", () => {
  it("deploy a market whose parts know each other, and send slashed stake where nobody earns by it", async () => {
    const { ethers, ignition } = await hre.network.create();
    const { identity, market, testToken } = await ignition.deploy(BerthLocal);
    const stakingAddress = await market.getFunction("staking")();
    const staking = await ethers.getContractAt("ProviderStaking", stakingAddress);
    expect(await market.getFunction("identity")()).to.equal(await identity.getAddress());
    expect(await staking.getFunction("market")()).to.equal(await market.getAddress());
    expect(await staking.getFunction("sink")()).to.equal("0x000000000000000000000000000000000000dEaD");
    expect(await testToken.getFunction("symbol")()).to.equal("tUSD");
  });

  it("take another sink", async () => {
    const { ethers, ignition } = await hre.network.create();
    const sink = ethers.getAddress(`0x${"5".repeat(40)}`);
    const { market } = await ignition.deploy(Berth, { parameters: { Berth: { sink } } });
    const staking = await ethers.getContractAt("ProviderStaking", await market.getFunction("staking")());
    expect(await staking.getFunction("sink")()).to.equal(sink);
  });
});
