import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import { deployedMarket } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";
import { signPermit } from "../support/permit.ts";

async function fundedOperator() {
  const on = await deployedMarket();
  await on.token.mint(on.operator, 1000n);
  await on.token.mint(on.stranger, 1000n);
  return on;
}

describe("ProviderStaking#stake", () => {
  it("adds free stake, taken from whoever calls", async () => {
    const on = await loadFixture(fundedOperator);
    const { staking, token, operator, stranger, addresses } = on;
    await token.connect(stranger).approve(staking, 700n);
    await expect(staking.connect(stranger).stake(operator, token, 700n))
      .to.emit(staking, "Staked")
      .withArgs(operator.address, addresses.token, 700n, stranger.address);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([700n, 0n]);
    expect(await token.balanceOf(stranger)).to.equal(300n);
    await expectNothingLost(on);
  });

  it("refuses nothing", async () => {
    const { staking, token, operator } = await loadFixture(fundedOperator);
    await expect(staking.connect(operator).stake(operator, token, 0n)).to.be.revertedWithCustomError(
      staking,
      "ZeroAmount",
    );
  });

  it("refuses a token that moves another amount", async () => {
    const { staking, operator } = await loadFixture(fundedOperator);
    const fee = await ethers.deployContract("FeeToken");
    await fee.getFunction("mint")(operator, 100n);
    await fee.connect(operator).getFunction("approve")(staking, 100n);
    await expect(staking.connect(operator).stake(operator, fee, 100n))
      .to.be.revertedWithCustomError(staking, "WrongAmountMoved")
      .withArgs(await fee.getAddress(), 100n, 99n);
    expect(await staking.stakeOf(operator, fee)).to.deep.equal([0n, 0n]);
  });

  it("refuses an account that is no token", async () => {
    const { staking, operator, stranger } = await loadFixture(fundedOperator);
    await expect(staking.connect(operator).stake(operator, stranger, 1n))
      .to.be.revertedWithCustomError(staking, "NotAToken")
      .withArgs(stranger.address);
    const permit = [1n, 1n << 39n, 27, ethers.ZeroHash, ethers.ZeroHash] as const;
    await expect(staking.connect(operator).stakeWithPermit(operator, stranger, ...permit))
      .to.be.revertedWithCustomError(staking, "NotAToken")
      .withArgs(stranger.address);
  });

  it("keeps the stakes of each token apart", async () => {
    const { staking, token, operator } = await loadFixture(fundedOperator);
    await token.connect(operator).approve(staking, 300n);
    await staking.connect(operator).stake(operator, token, 300n);
    const other = await ethers.deployContract("TestToken");
    expect(await staking.stakeOf(operator, other)).to.deep.equal([0n, 0n]);
  });
});

describe("ProviderStaking#stakeWithPermit", () => {
  it("stakes in one transaction", async () => {
    const on = await loadFixture(fundedOperator);
    const { staking, token, operator } = on;
    const { deadline, v, r, s } = await signPermit(on, operator, on.addresses.staking, 400n);
    await staking.connect(operator).stakeWithPermit(operator, token, 400n, deadline, v, r, s);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([400n, 0n]);
    await expectNothingLost(on);
  });

  it("does not mind that somebody sent the permit first", async () => {
    const on = await loadFixture(fundedOperator);
    const { staking, token, operator, stranger } = on;
    const { deadline, v, r, s } = await signPermit(on, operator, on.addresses.staking, 400n);
    await token.connect(stranger).permit(operator, staking, 400n, deadline, v, r, s);
    await staking.connect(operator).stakeWithPermit(operator, token, 400n, deadline, v, r, s);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([400n, 0n]);
  });
});
