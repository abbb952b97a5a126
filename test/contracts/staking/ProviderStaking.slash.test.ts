import { expect } from "chai";
import { ethers, loadFixture, networkHelpers, time } from "../support/actors.ts";
import { DOLLAR, deployedMarket, NO_CLAIM, readyMarket, runningJob } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const MOST = (1n << 128n) - 1n;

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
      staking.connect(stranger).slash(operator, token, 1n, 1n, stranger, 1n, stranger, 0n),
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
    expect(await asMarket.lock.staticCall(operator, token, 6n * DOLLAR), "free and locked").to.equal(10n * DOLLAR);
    await expect(asMarket.lock(operator, token, 7n * DOLLAR))
      .to.be.revertedWithCustomError(staking, "StakeTooLow")
      .withArgs(operator.address, addresses.token, 6n * DOLLAR, 7n * DOLLAR);
    await expect(asMarket.unlock(operator, token, DOLLAR))
      .to.emit(staking, "Unlocked")
      .withArgs(operator.address, addresses.token, DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([7n * DOLLAR, 3n * DOLLAR]);
  });

  it("never free or take more than is locked", async () => {
    const { asMarket, staking, token, operator, requester, stranger } = await loadFixture(marketAccount);
    await asMarket.lock(operator, token, 100n);
    await expect(asMarket.unlock(operator, token, 101n)).to.be.revertedWithPanic(0x11);
    await expect(asMarket.slash(operator, token, 101n, 101n, requester, 0n, stranger, 0n)).to.be.revertedWithPanic(
      0x11,
    );
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 100n, 100n]);
  });
});

describe("ProviderStaking#slash", () => {
  it("shares what it takes: the victim's part, the helper's, and the rest for the sink", async () => {
    const on = await loadFixture(marketAccount);
    const { asMarket, staking, token, operator, requester, stranger, sink, addresses } = on;
    await asMarket.lock(operator, token, 150n);
    const before = await token.balanceOf(staking);
    const slashing = asMarket.slash(operator, token, 100n, 80n, requester, 30n, stranger, 20n);
    await expect(slashing).to.emit(staking, "Slashed").withArgs(operator.address, addresses.token, 100n, 80n);
    for (const [account, share] of [
      [requester, 30n],
      [stranger, 20n],
      [sink, 30n],
    ] as const) {
      await expect(slashing).to.emit(staking, "Owed").withArgs(account.address, addresses.token, share);
      expect(await staking.owedTo(account, token)).to.equal(share);
    }
    // What was not taken of the bond is free, and the bond of the other replica is not touched.
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 130n, 50n]);
    expect(await token.balanceOf(staking), "no token moves").to.equal(before);
    await expectNothingLost(on);
  });

  it("adds up what it owes, and says nothing of shares that are zero", async () => {
    const on = await loadFixture(marketAccount);
    const { asMarket, staking, token, operator, requester, sink } = on;
    await asMarket.lock(operator, token, 300n);
    await asMarket.slash(operator, token, 100n, 100n, requester, 60n, requester, 40n);
    expect(await staking.owedTo(requester, token)).to.equal(100n);
    expect(await staking.owedTo(sink, token)).to.equal(0n);
    await asMarket.slash(operator, token, 100n, 100n, requester, 1n, sink, 9n);
    expect(await staking.owedTo(requester, token)).to.equal(101n);
    expect(await staking.owedTo(sink, token)).to.equal(99n);
    const slashing = asMarket.slash(operator, token, 100n, 0n, ethers.ZeroAddress, 0n, ethers.ZeroAddress, 0n);
    await expect(slashing).not.to.emit(staking, "Owed");
    expect(await staking.owedTo(ethers.ZeroAddress, token)).to.equal(0n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 200n, 0n]);
    await expectNothingLost(on);
  });

  it("never takes more than the replica's bond, and never shares more than it takes", async () => {
    const { asMarket, staking, token, operator, requester, stranger } = await loadFixture(marketAccount);
    // Plenty is locked for other replicas, and none of it is in reach.
    await asMarket.lock(operator, token, DOLLAR);
    for (const [amount, compensation, reward] of [
      [101n, 0n, 0n],
      [100n, 101n, 0n],
      [100n, 0n, 101n],
      [100n, 60n, 41n],
      [100n, MOST, MOST],
    ] as const) {
      await expect(asMarket.slash(operator, token, 100n, amount, requester, compensation, stranger, reward))
        .to.be.revertedWithCustomError(staking, "SharesAboveSlash")
        .withArgs(amount, compensation + reward);
    }
    await asMarket.slash(operator, token, 100n, 100n, requester, 60n, stranger, 40n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([9n * DOLLAR, DOLLAR - 100n]);
  });
});

describe("ProviderStaking#collect", () => {
  it("pays what slashes left for an account, to whom its controller says, and once", async () => {
    const on = await loadFixture(slashedOperator);
    const { staking, token, requester, heir, sink, addresses } = on;
    const left = 1000n - 3n; // the bond less 5 % of the deposit of 69
    expect(await staking.owedTo(sink, token)).to.equal(left);
    await expect(staking.connect(sink).collect(sink, token, heir))
      .to.emit(staking, "Collected")
      .withArgs(sink.address, addresses.token, left, heir.address);
    expect(await token.balanceOf(heir)).to.equal(left);
    expect(await staking.owedTo(sink, token)).to.equal(0n);
    await expect(staking.connect(sink).collect(sink, token, heir))
      .to.be.revertedWithCustomError(staking, "NothingOwed")
      .withArgs(sink.address, addresses.token);
    await staking.connect(requester).collect(requester, token, requester);
    expect(await token.balanceOf(requester)).to.equal(3n);
    await expectNothingLost(on);
  });

  it("follows the identity: its owner collects, and its last owner once it is deactivated", async () => {
    const { identity, staking, token, requester, heir } = await loadFixture(slashedOperator);
    await identity.connect(requester).changeOwner(requester, heir);
    await expect(staking.connect(requester).collect(requester, token, requester))
      .to.be.revertedWithCustomError(staking, "NotController")
      .withArgs(requester.address, requester.address);
    await identity.connect(heir).changeOwner(requester, ethers.ZeroAddress);
    await staking.connect(heir).collect(requester, token, heir);
    expect(await token.balanceOf(heir)).to.equal(3n);
  });

  it("pays nobody who is owed nothing, and nothing in another token", async () => {
    const { staking, token, stranger, sink, addresses } = await loadFixture(slashedOperator);
    await expect(staking.connect(stranger).collect(stranger, token, stranger))
      .to.be.revertedWithCustomError(staking, "NothingOwed")
      .withArgs(stranger.address, addresses.token);
    const other = await (await ethers.deployContract("TestToken")).getAddress();
    await expect(staking.connect(sink).collect(sink, other, sink))
      .to.be.revertedWithCustomError(staking, "NothingOwed")
      .withArgs(sink.address, other);
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
