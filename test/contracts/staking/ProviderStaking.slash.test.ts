import { expect } from "chai";
import { ethers, loadFixture, networkHelpers, time } from "../support/actors.ts";
import { DOLLAR, deployedMarket, NO_CLAIM, readyMarket, runningJob } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

/** A job whose time passed, so that its operator was slashed. */
async function slashedOperator() {
  const on = await runningJob();
  await time.increaseTo(on.matchedAt + 301);
  await on.market.connect(on.stranger).finalize(on.terms, NO_CLAIM);
  return on;
}

/** Staking with the market's account under the test's control. */
async function marketAccount() {
  const on = await readyMarket();
  await networkHelpers.impersonateAccount(on.addresses.market);
  await networkHelpers.setBalance(on.addresses.market, 10n ** 18n);
  const asMarket = on.staking.connect(await ethers.getSigner(on.addresses.market));
  return { ...on, asMarket };
}

describe("ProviderStaking#lock, #unlock and #slash", () => {
  it("obey the market alone", async () => {
    const { staking, token, operator, stranger } = await loadFixture(readyMarket);
    for (const call of [
      staking.connect(stranger).lock(operator, token, 1n),
      staking.connect(stranger).unlock(operator, token, 1n),
      staking.connect(stranger).slash(operator, token, 1n, stranger, 1n),
    ]) {
      await expect(call).to.be.revertedWithCustomError(staking, "NotMarket").withArgs(stranger.address);
    }
  });

  it("move stake between free and locked", async () => {
    const { asMarket, staking, token, operator, addresses } = await loadFixture(marketAccount);
    await expect(asMarket.lock(operator, token, 4n * DOLLAR))
      .to.emit(staking, "Locked")
      .withArgs(operator.address, addresses.token, 4n * DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([6n * DOLLAR, 4n * DOLLAR]);
    await expect(asMarket.lock(operator, token, 7n * DOLLAR))
      .to.be.revertedWithCustomError(staking, "StakeTooLow")
      .withArgs(operator.address, addresses.token, 6n * DOLLAR, 7n * DOLLAR);
    await expect(asMarket.unlock(operator, token, DOLLAR))
      .to.emit(staking, "Unlocked")
      .withArgs(operator.address, addresses.token, DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([7n * DOLLAR, 3n * DOLLAR]);
  });

  it("never take more than is locked, and never pay the victim more than is taken", async () => {
    const { asMarket, staking, token, operator, requester, addresses } = await loadFixture(marketAccount);
    await asMarket.lock(operator, token, 100n);
    await expect(asMarket.slash(operator, token, 101n, requester, 0n)).to.be.revertedWithPanic(0x11);
    await expect(asMarket.unlock(operator, token, 101n)).to.be.revertedWithPanic(0x11);
    await expect(asMarket.slash(operator, token, 100n, requester, 5000n))
      .to.emit(staking, "Slashed")
      .withArgs(operator.address, addresses.token, 100n, requester.address, 100n);
    expect(await staking.sinkBalance(token)).to.equal(0n);
  });
});

describe("ProviderStaking#withdrawSink", () => {
  it("pays the sink what slashes left, whoever calls", async () => {
    const on = await loadFixture(slashedOperator);
    const { staking, token, stranger, sink, addresses } = on;
    const left = 1000n - 3n; // the bond less 5 % of the deposit of 69
    expect(await staking.sinkBalance(token)).to.equal(left);
    await expect(staking.connect(stranger).withdrawSink(token))
      .to.emit(staking, "SinkWithdrawn")
      .withArgs(addresses.token, left);
    expect(await token.balanceOf(sink)).to.equal(left);
    await expect(staking.connect(stranger).withdrawSink(token)).to.be.revertedWithCustomError(staking, "ZeroAmount");
    await expectNothingLost(on);
  });
});

describe("ProviderStaking", () => {
  it("was made by its market and knows both its neighbours", async () => {
    const { staking, addresses, sink } = await loadFixture(deployedMarket);
    expect(await staking.market()).to.equal(addresses.market);
    expect(await staking.identity()).to.equal(addresses.identity);
    expect(await staking.sink()).to.equal(sink.address);
    expect(await staking.EXIT_DELAY()).to.equal(604_800n);
  });
});
