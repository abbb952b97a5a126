import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import { DAY } from "../support/market.ts";
import { jurorAt, juryMarket, STAKE } from "./support.ts";

describe("JuryArbiter#stake", () => {
  it("adds to the caller's stake", async () => {
    const { jury, token, stranger } = await loadFixture(juryMarket);
    await token.mint(stranger, 30n);
    await token.connect(stranger).approve(jury, 30n);
    await expect(jury.connect(stranger).stake(token, 20n)).to.emit(jury, "Staked").withArgs(stranger, token, 20);
    await jury.connect(stranger).stake(token, 10n);
    expect(await jury.stakeOf(stranger, token)).to.deep.equal([30n, 0n, 0n]);
    expect(await token.balanceOf(jury)).to.equal(4n * STAKE + 30n);
  });

  it("refuses nothing, and tokens that take a fee", async () => {
    const { jury, token, stranger } = await loadFixture(juryMarket);
    await expect(jury.connect(stranger).stake(token, 0n)).to.be.revertedWithCustomError(jury, "ZeroAmount");
    const fee = await ethers.deployContract("FeeToken");
    await fee.getFunction("mint")(stranger, 1000n);
    await fee.connect(stranger).getFunction("approve")(jury, 1000n);
    await expect(jury.connect(stranger).stake(fee, 1000n)).to.be.revertedWithCustomError(jury, "WrongAmountMoved");
    await expect(jury.connect(stranger).stake(stranger, 1n))
      .to.be.revertedWithCustomError(jury, "NotAToken")
      .withArgs(stranger.address);
  });
});

describe("JuryArbiter#requestExit", () => {
  it("takes stake out of what counts, and restarts the clock for more", async () => {
    const on = await loadFixture(juryMarket);
    const { jury, token } = on;
    const juror = jurorAt(on, 0);
    const now = await time.latest();
    await at(now + 10);
    await expect(jury.connect(juror).requestExit(token, 300n))
      .to.emit(jury, "ExitRequested")
      .withArgs(juror, token, 300, now + 10 + 14 * DAY);
    expect(await jury.stakeOf(juror, token)).to.deep.equal([STAKE - 300n, 300n, BigInt(now + 10 + 14 * DAY)]);
    await at(now + 5000);
    await jury.connect(juror).requestExit(token, 500n);
    expect(await jury.stakeOf(juror, token)).to.deep.equal([0n, STAKE, BigInt(now + 5000 + 14 * DAY)]);
    expect(await jury.EXIT_DELAY()).to.equal(BigInt(14 * DAY));
  });

  it("refuses nothing, and more than there is", async () => {
    const on = await loadFixture(juryMarket);
    const { jury, token } = on;
    const juror = jurorAt(on, 0);
    await expect(jury.connect(juror).requestExit(token, 0n)).to.be.revertedWithCustomError(jury, "ZeroAmount");
    await expect(jury.connect(juror).requestExit(token, STAKE + 1n))
      .to.be.revertedWithCustomError(jury, "StakeTooLow")
      .withArgs(juror, token, STAKE, STAKE + 1n);
  });
});

describe("JuryArbiter#exit", () => {
  it("pays when the delay has passed, once", async () => {
    const on = await loadFixture(juryMarket);
    const { jury, token, heir } = on;
    const juror = jurorAt(on, 0);
    await expect(jury.connect(juror).exit(token, heir))
      .to.be.revertedWithCustomError(jury, "NothingLeaving")
      .withArgs(juror, token);
    await jury.connect(juror).requestExit(token, 300n);
    const readyAt = (await time.latest()) + 14 * DAY;
    await at(readyAt - 1);
    await expect(jury.connect(juror).exit(token, heir))
      .to.be.revertedWithCustomError(jury, "ExitNotReady")
      .withArgs(readyAt);
    await at(readyAt);
    await expect(jury.connect(juror).exit(token, heir)).to.emit(jury, "Exited").withArgs(juror, token, 300, heir);
    expect(await token.balanceOf(heir)).to.equal(300n);
    expect(await jury.stakeOf(juror, token)).to.deep.equal([STAKE - 300n, 0n, 0n]);
    await expect(jury.connect(juror).exit(token, heir)).to.be.revertedWithCustomError(jury, "NothingLeaving");
  });

  it("gives nothing twice to a token that calls back in the middle of the transfer", async () => {
    const on = await loadFixture(juryMarket);
    const { jury, stranger } = on;
    const hook = await ethers.deployContract("HookToken");
    await hook.getFunction("mint")(stranger, 100n);
    await hook.connect(stranger).getFunction("approve")(jury, 100n);
    await jury.connect(stranger).stake(hook, 100n);
    await jury.connect(stranger).requestExit(hook, 60n);
    await time.increase(14 * DAY);
    const again = jury.interface.encodeFunctionData("exit", [await hook.getAddress(), stranger.address]);
    await hook.getFunction("arm")(jury, again);
    await jury.connect(stranger).exit(hook, stranger);
    expect(await hook.getFunction("succeeded")()).to.equal(false);
    expect(await hook.getFunction("balanceOf")(jury)).to.equal(40n);
  });
});
