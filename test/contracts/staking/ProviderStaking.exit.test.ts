import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import { DAY, DOLLAR, readyMarket, runningJob } from "../support/market.ts";
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
