import { expect } from "chai";
import { at, ethers, loadFixture } from "../support/actors.ts";
import {
  DOLLAR,
  jobId,
  limitsFor,
  matchJob,
  NO_CLAIM,
  Reason,
  readyMarket,
  runningJob,
  State,
  submittedResult,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

describe("JobMarket#finalize", () => {
  it("pays a result that nobody disputed, by anybody, once the challenge window has passed", async () => {
    const on = await loadFixture(submittedResult);
    const { market, staking, token, operator, stranger, terms, claim, job, submittedAt, held } = on;
    await at(submittedAt + 600);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WindowOpen")
      .withArgs(job, 0, submittedAt + 600);
    await at(submittedAt + 601);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, 40, held - 40n);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(40n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("refunds a replica without a result and slashes its bond, victim first", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, requester, operator, stranger, terms, job, matchedAt, held } = on;
    await at(matchedAt + 300);
    await expect(market.connect(stranger).finalize(terms, NO_CLAIM))
      .to.be.revertedWithCustomError(market, "WindowOpen")
      .withArgs(job, 0, matchedAt + 300);
    await at(matchedAt + 301);
    const compensation = 3n; // 5 % of 69, rounded down
    const finalizing = market.connect(stranger).finalize(terms, NO_CLAIM);
    await expect(finalizing)
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, held, 1000, compensation, Reason.TimedOut);
    await expect(finalizing)
      .to.emit(staking, "Slashed")
      .withArgs(operator.address, on.addresses.token, 1000, requester.address, compensation);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR + compensation);
    expect(await market.balanceOf(stranger, token)).to.equal(0n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 0n]);
    expect(await staking.sinkBalance(token)).to.equal(1000n - compensation);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, true]);
    await expectNothingLost(on);
  });

  it("never compensates with more than the bond", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ bond: 2n, compensationBps: 1000 });
    await matchJob(on, { request });
    await at(Number((await on.market.replicaOf(jobId(on, request), 0)).matchedAt) + 301);
    await on.market.connect(on.stranger).finalize({ request, offer: on.offer(), replica: 0 }, NO_CLAIM);
    expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR + 2n);
    expect(await on.staking.sinkBalance(on.token)).to.equal(0n);
    await expectNothingLost(on);
  });

  it("ends a job without a bond as well", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ bond: 0n });
    await matchJob(on, { request });
    await at(Number((await on.market.replicaOf(jobId(on, request), 0)).matchedAt) + 301);
    await expect(on.market.connect(on.stranger).finalize({ request, offer: on.offer(), replica: 0 }, NO_CLAIM))
      .to.emit(on.market, "ReplicaRefunded")
      .withArgs(jobId(on, request), on.operator.address, 0, 69, 0, 0, Reason.TimedOut);
    await expectNothingLost(on);
  });

  it("credits what really arrived when a token begins to take a fee", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, requester, operator, stranger } = on;
    const fee = await ethers.deployContract("FeeToken");
    const token = (await fee.getAddress()) as `0x${string}`;
    const call = (by: typeof requester, name: string, ...args: unknown[]) => fee.connect(by).getFunction(name)(...args);
    await call(stranger, "setFree", true);
    for (const [owner, spender] of [
      [requester, market],
      [operator, staking],
    ] as const) {
      await call(owner, "mint", owner, 5000n);
      await call(owner, "approve", spender, 5000n);
    }
    await market.connect(requester).deposit(requester, token, 5000n);
    await staking.connect(operator).stake(operator, token, 5000n);
    const limits = limitsFor(on, { tokens: [token] });
    await market.connect(operator).setNodeLimits(operator, 0, limits);
    const [request, offer] = [on.request({ token, maxPrice: 5000n }), on.offer({ token })];
    await matchJob(on, { request, offers: [offer], limits: [limits] });
    await call(stranger, "setFree", false);
    await at(Number((await market.replicaOf(jobId(on, request), 0)).matchedAt) + 301);
    await expect(market.connect(stranger).finalize({ request, offer, replica: 0 }, NO_CLAIM))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(jobId(on, request), operator.address, 0, 69, 1000, 2, Reason.TimedOut);
    expect(await market.balanceOf(requester, token)).to.equal(await fee.getFunction("balanceOf")(market));
  });

  it("refuses a claim where there is none, and another claim than the one submitted", async () => {
    const running = await loadFixture(runningJob);
    await at(running.matchedAt + 301);
    for (const claim of [
      { ...NO_CLAIM, charge: 1n },
      { ...NO_CLAIM, resultBytes: 1n },
    ]) {
      await expect(running.market.finalize(running.terms, claim))
        .to.be.revertedWithCustomError(running.market, "WrongClaim")
        .withArgs(running.job, 0);
    }
    const { market, terms, claim, job, submittedAt } = await loadFixture(submittedResult);
    await at(submittedAt + 601);
    await expect(market.finalize(terms, { ...claim, charge: 45n }))
      .to.be.revertedWithCustomError(market, "WrongClaim")
      .withArgs(job, 0);
  });

  it("refuses other terms and a replica that has ended", async () => {
    const { market, terms, claim, job, submittedAt } = await loadFixture(submittedResult);
    await at(submittedAt + 601);
    const other = { ...terms, offer: { ...terms.offer, operator: terms.request.requester } };
    await expect(market.finalize(other, claim)).to.be.revertedWithCustomError(market, "WrongTerms").withArgs(job, 0);
    await market.finalize(terms, claim);
    await expect(market.finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Submitted);
  });
});
