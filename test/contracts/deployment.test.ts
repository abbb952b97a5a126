import { jobMarketAbi } from "@berth/protocol";
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
    const desk = new ethers.Contract(await market.getAddress(), jobMarketAbi, ethers.provider);
    expect(await desk.getFunction("guardian")(), "nobody may stop new jobs").to.equal(ethers.ZeroAddress);
  });

  it("take another sink and a guardian", async () => {
    const { ethers, ignition } = await hre.network.create();
    const [guardian, stranger] = await ethers.getSigners();
    const sink = ethers.getAddress(`0x${"5".repeat(40)}`);
    const parameters = { Berth: { sink, guardian: guardian?.address ?? "" } };
    const { market } = await ignition.deploy(Berth, { parameters });
    const staking = await ethers.getContractAt("ProviderStaking", await market.getFunction("staking")());
    expect(await staking.getFunction("sink")()).to.equal(sink);
    const desk = new ethers.Contract(await market.getAddress(), jobMarketAbi, guardian);
    expect(await desk.getFunction("guardian")()).to.equal(guardian?.address);
    await desk.getFunction("setPaused")(true);
    expect(await desk.getFunction("paused")()).to.equal(true);
    await expect(desk.connect(stranger ?? null).getFunction("setPaused")(false))
      .to.be.revertedWithCustomError(desk, "NotGuardian")
      .withArgs(stranger?.address, guardian?.address);
  });

  it("deploy both halves of the market within what a chain takes", async () => {
    const { ethers, ignition } = await hre.network.create();
    const { market } = await ignition.deploy(Berth);
    const bytes = async (address: string) => ethers.dataLength(await ethers.provider.getCode(address));
    expect(await bytes(await market.getAddress())).to.be.at.most(24_576);
  });
});
