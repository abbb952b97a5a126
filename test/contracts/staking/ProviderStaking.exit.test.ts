import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import { DAY, DOLLAR, limitsFor, matchJob, NO_CLAIM, readyMarket, runningJob, termsFor } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const WAIT = 7 * DAY;

describe("ProviderStaking#requestExit", () => {
  it("takes free stake aside and says when it may leave", async () => {
    const on = await loadFixture(readyMarket);
    const { staking, token, operator, addresses } = on;
    const now = (await time.latest()) + 1;
    await at(now);
    await expect(staking.connect(operator).requestExit(operator, token, 4n * DOLLAR))
      .to.emit(staking, "ExitRequested")
      .withArgs(operator.address, addresses.token, 4n * DOLLAR, now + WAIT);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([6n * DOLLAR, 0n]);
    expect(await staking.exitOf(operator, token)).to.deep.equal([4n * DOLLAR, BigInt(now + WAIT)]);
    await expectNothingLost(on);
  });

  it("adds to an exit under way and starts its clock again", async () => {
    const { staking, token, operator } = await loadFixture(readyMarket);
    await staking.connect(operator).requestExit(operator, token, DOLLAR);
    await time.increase(WAIT);
    await staking.connect(operator).requestExit(operator, token, DOLLAR);
    const readyAt = (await time.latest()) + WAIT;
    expect(await staking.exitOf(operator, token)).to.deep.equal([2n * DOLLAR, BigInt(readyAt)]);
  });

  it("cannot touch the bond of an open replica", async () => {
    const { staking, token, operator, addresses } = await loadFixture(runningJob);
    const free = 10n * DOLLAR - 1000n;
    await expect(staking.connect(operator).requestExit(operator, token, free + 1n))
      .to.be.revertedWithCustomError(staking, "StakeTooLow")
      .withArgs(operator.address, addresses.token, free, free + 1n);
    await staking.connect(operator).requestExit(operator, token, free);
  });

  it("refuses nothing, and everybody but the controller", async () => {
    const { staking, token, operator, nodeKey } = await loadFixture(readyMarket);
    await expect(staking.connect(operator).requestExit(operator, token, 0n)).to.be.revertedWithCustomError(
      staking,
      "ZeroAmount",
    );
    await expect(staking.connect(nodeKey).requestExit(operator, token, 1n))
      .to.be.revertedWithCustomError(staking, "NotController")
      .withArgs(operator.address, nodeKey.address);
  });
});

describe("ProviderStaking#exit", () => {
  it("pays once the wait is over, and only once", async () => {
    const on = await loadFixture(readyMarket);
    const { staking, token, operator, heir, addresses } = on;
    await staking.connect(operator).requestExit(operator, token, 4n * DOLLAR);
    const readyAt = (await time.latest()) + WAIT;
    await at(readyAt - 1);
    await expect(staking.connect(operator).exit(operator, token, heir))
      .to.be.revertedWithCustomError(staking, "ExitNotReady")
      .withArgs(readyAt);
    await at(readyAt);
    await expect(staking.connect(operator).exit(operator, token, heir))
      .to.emit(staking, "Exited")
      .withArgs(operator.address, addresses.token, 4n * DOLLAR, heir.address);
    expect(await token.balanceOf(heir)).to.equal(4n * DOLLAR);
    await expect(staking.connect(operator).exit(operator, token, heir))
      .to.be.revertedWithCustomError(staking, "NoExit")
      .withArgs(operator.address, addresses.token);
    await expectNothingLost(on);
  });

  it("is open to the last owner of a deactivated operator, and to nobody else", async () => {
    const { identity, staking, token, operator, heir, nodeKey } = await loadFixture(readyMarket);
    await identity.connect(operator).changeOwner(operator, heir);
    await identity.connect(heir).changeOwner(operator, ethers.ZeroAddress);
    await staking.connect(heir).requestExit(operator, token, DOLLAR);
    await time.increase(WAIT);
    await expect(staking.connect(nodeKey).exit(operator, token, nodeKey))
      .to.be.revertedWithCustomError(staking, "NotController")
      .withArgs(operator.address, nodeKey.address);
    await staking.connect(heir).exit(operator, token, heir);
    expect(await token.balanceOf(heir)).to.equal(DOLLAR);
  });
});

describe("ProviderStaking#cancelExit", () => {
  it("makes everything on its way out free again", async () => {
    const on = await loadFixture(readyMarket);
    const { staking, token, operator, addresses } = on;
    await staking.connect(operator).requestExit(operator, token, 3n * DOLLAR);
    await staking.connect(operator).requestExit(operator, token, DOLLAR);
    await expect(staking.connect(operator).cancelExit(operator, token))
      .to.emit(staking, "ExitCancelled")
      .withArgs(operator.address, addresses.token, 4n * DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    expect(await staking.exitOf(operator, token)).to.deep.equal([0n, 0n]);
    await expectNothingLost(on);
  });

  it("works after the wait too, and leaves nothing to pay", async () => {
    const { staking, token, operator, heir, addresses } = await loadFixture(readyMarket);
    await staking.connect(operator).requestExit(operator, token, DOLLAR);
    await time.increase(WAIT + 1);
    await staking.connect(operator).cancelExit(operator, token);
    await expect(staking.connect(operator).exit(operator, token, heir))
      .to.be.revertedWithCustomError(staking, "NoExit")
      .withArgs(operator.address, addresses.token);
    expect(await token.balanceOf(heir)).to.equal(0n);
  });

  it("starts the next wait from nothing", async () => {
    const { staking, token, operator } = await loadFixture(readyMarket);
    await staking.connect(operator).requestExit(operator, token, 2n * DOLLAR);
    await time.increase(WAIT);
    await staking.connect(operator).cancelExit(operator, token);
    await staking.connect(operator).requestExit(operator, token, DOLLAR);
    const readyAt = (await time.latest()) + WAIT;
    expect(await staking.exitOf(operator, token)).to.deep.equal([DOLLAR, BigInt(readyAt)]);
    await expect(staking.connect(operator).exit(operator, token, operator))
      .to.be.revertedWithCustomError(staking, "ExitNotReady")
      .withArgs(readyAt);
  });

  it("refuses an exit that was not asked for, and everybody but the controller", async () => {
    const { identity, staking, token, operator, nodeKey, heir, addresses } = await loadFixture(readyMarket);
    await expect(staking.connect(operator).cancelExit(operator, token))
      .to.be.revertedWithCustomError(staking, "NoExit")
      .withArgs(operator.address, addresses.token);
    await staking.connect(operator).requestExit(operator, token, DOLLAR);
    await expect(staking.connect(nodeKey).cancelExit(operator, token))
      .to.be.revertedWithCustomError(staking, "NotController")
      .withArgs(operator.address, nodeKey.address);
    await identity.connect(operator).changeOwner(operator, heir);
    await staking.connect(heir).cancelExit(operator, token);
    expect(await staking.exitOf(operator, token)).to.deep.equal([0n, 0n]);
  });
});

describe("ProviderStaking, of an operator on its way out", () => {
  /** A job whose operator asked for everything but its bond at once, and took it when the wait was over. */
  async function leavingOperator() {
    const on = await readyMarket();
    const request = on.request({ submitWindow: 30 * DAY, bond: 4n * DOLLAR });
    const offer = on.offer({ maxBond: 4n * DOLLAR });
    await on.market.connect(on.operator).setNodeLimits(on.operator, 0, limitsFor({ maxBond: 4n * DOLLAR }));
    await matchJob(on, { request, offers: [offer] });
    const timedOut = (await time.latest()) + 30 * DAY + 1;
    await on.staking.connect(on.operator).requestExit(on.operator, on.token, 6n * DOLLAR);
    await time.increase(WAIT + DAY);
    return { ...on, terms: termsFor(on, request, offer), timedOut };
  }

  it("keeps the bond of an open replica, however long ago the exit was asked for", async () => {
    const on = await loadFixture(leavingOperator);
    const { staking, token, operator, addresses } = on;
    await staking.connect(operator).exit(operator, token, operator);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([0n, 4n * DOLLAR]);
    await expect(staking.connect(operator).requestExit(operator, token, 1n))
      .to.be.revertedWithCustomError(staking, "StakeTooLow")
      .withArgs(operator.address, addresses.token, 0, 1);
    await expectNothingLost(on, 69n);
  });

  for (const left of [true, false]) {
    it(`is slashed in full ${left ? "after it left" : "while its exit waits"}`, async () => {
      const on = await loadFixture(leavingOperator);
      const { market, staking, token, operator, requester, sink, stranger, terms, timedOut } = on;
      if (left) await staking.connect(operator).exit(operator, token, operator);
      await at(timedOut);
      await market.connect(stranger).finalize(terms, NO_CLAIM);
      expect(await staking.owedTo(requester, token)).to.equal(3n);
      expect(await staking.owedTo(sink, token)).to.equal(4n * DOLLAR - 3n);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([0n, 0n]);
      // What was on its way out is not part of the bond, and stays the operator's.
      if (!left) await staking.connect(operator).exit(operator, token, operator);
      expect(await token.balanceOf(operator)).to.equal(6n * DOLLAR);
      await expectNothingLost(on);
    });
  }
});
