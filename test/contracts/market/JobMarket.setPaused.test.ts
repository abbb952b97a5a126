import { ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture } from "../support/actors.ts";
import { disputedResult } from "../support/disputes.ts";
import { earnedDown, HEARTBEAT, runningLease } from "../support/leases.ts";
import { DOLLAR, matchJob, NO_CLAIM, readyMarket, runningJob, State, submittedResult } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

describe("JobMarket#setPaused", () => {
  it("stops new jobs and lets them through again", async () => {
    const on = await loadFixture(readyMarket);
    const { market, guardian, requester, nodeKey } = on;
    expect(await market.guardian()).to.equal(guardian.address);
    const posted = on.request({ nonce: ethers.id("posted") as `0x${string}` });
    await market.connect(requester).post(posted, "0x", "0x");
    await expect(market.connect(guardian).setPaused(true)).to.emit(market, "NewJobsPausedSet").withArgs(true);
    expect(await market.paused()).to.equal(true);
    for (const call of [
      () => market.connect(requester).post(on.request(), "0x", "0x"),
      () => market.connect(nodeKey).accept(posted, on.offer(), []),
      () => matchJob(on),
      () => matchJob(on, { request: posted }),
    ]) {
      await expect(call()).to.be.revertedWithCustomError(market, "NewJobsPaused");
    }
    await expect(market.connect(guardian).setPaused(false)).to.emit(market, "NewJobsPausedSet").withArgs(false);
    expect(await market.paused()).to.equal(false);
    await matchJob(on);
    await market.connect(nodeKey).accept(posted, on.offer(), []);
  });

  it("stops nothing that runs, and nobody's money", async () => {
    const submitted = await loadFixture(submittedResult);
    await submitted.market.connect(submitted.guardian).setPaused(true);
    await submitted.market.connect(submitted.requester).approve(submitted.terms, submitted.claim);
    await submitted.market
      .connect(submitted.operator)
      .withdraw(submitted.operator, submitted.token, 40n, submitted.heir);
    await submitted.staking.connect(submitted.operator).requestExit(submitted.operator, submitted.token, 10n * DOLLAR);
    await expectNothingLost(submitted);

    const active = await loadFixture(runningJob);
    await active.market.connect(active.guardian).setPaused(true);
    await at(active.matchedAt + 301);
    await active.market.finalize(active.terms, NO_CLAIM);
    expect((await active.market.replicaOf(active.job, 0)).state).to.equal(State.Refunded);

    const disputed = await loadFixture(disputedResult);
    await disputed.market.connect(disputed.guardian).setPaused(true);
    await disputed.market.connect(disputed.arbiter).rule(disputed.terms, disputed.claim, 0n);
    expect((await disputed.market.replicaOf(disputed.job, 0)).state).to.equal(State.Settled);

    const { market, token, guardian, requester, operator, nodeKey, terms, matchedAt } = await loadFixture(runningLease);
    await market.connect(guardian).setPaused(true);
    await market.connect(requester).topUp(terms, 10);
    await at(matchedAt + HEARTBEAT);
    await market.connect(nodeKey).claim(terms);
    await market.connect(requester).close(terms);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, HEARTBEAT));
  });

  it("is the guardian's alone", async () => {
    const { market, guardian, deployer, requester, operator } = await loadFixture(readyMarket);
    for (const other of [deployer, requester, operator]) {
      await expect(market.connect(other).setPaused(true))
        .to.be.revertedWithCustomError(market, "NotGuardian")
        .withArgs(other.address, guardian.address);
    }
    expect(await market.paused()).to.equal(false);
  });
});

describe("JobMarket#setGuardian", () => {
  it("hands the right on", async () => {
    const { market, guardian, heir } = await loadFixture(readyMarket);
    await expect(market.connect(guardian).setGuardian(heir)).to.emit(market, "GuardianChanged").withArgs(heir.address);
    expect(await market.guardian()).to.equal(heir.address);
    await expect(market.connect(guardian).setPaused(true))
      .to.be.revertedWithCustomError(market, "NotGuardian")
      .withArgs(guardian.address, heir.address);
    await market.connect(heir).setPaused(true);
    expect(await market.paused()).to.equal(true);
  });

  it("ends it for good when it is handed to nobody", async () => {
    const { market, guardian } = await loadFixture(readyMarket);
    await market.connect(guardian).setGuardian(ZERO_ADDRESS);
    expect(await market.guardian()).to.equal(ZERO_ADDRESS);
    for (const call of [market.connect(guardian).setPaused(true), market.connect(guardian).setGuardian(guardian)]) {
      await expect(call).to.be.revertedWithCustomError(market, "NotGuardian").withArgs(guardian.address, ZERO_ADDRESS);
    }
  });

  it("is the guardian's alone", async () => {
    const { market, guardian, deployer } = await loadFixture(readyMarket);
    await expect(market.connect(deployer).setGuardian(deployer))
      .to.be.revertedWithCustomError(market, "NotGuardian")
      .withArgs(deployer.address, guardian.address);
  });

  it("is nobody's in a market that was made without a guardian", async () => {
    const { identity, deployer, sink, stranger } = await loadFixture(readyMarket);
    const desk = await ethers.deployContract("MarketDesk", [identity]);
    const floor = await ethers.deployContract("JobMarket", [identity, desk, sink, ZERO_ADDRESS]);
    const market = await ethers.getContractAt("MarketDesk", floor);
    expect(await market.getFunction("guardian")()).to.equal(ZERO_ADDRESS);
    for (const anybody of [deployer, stranger]) {
      await expect(market.connect(anybody).getFunction("setPaused")(true))
        .to.be.revertedWithCustomError(market, "NotGuardian")
        .withArgs(anybody.address, ZERO_ADDRESS);
    }
  });
});
