import { type Claim, chargeOfDown, depositOf, MODE, replicaCommitment } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import {
  DOLLAR,
  jobId,
  matchJob,
  NO_CLAIM,
  publishNode,
  readyMarket,
  runningJob,
  State,
  submittedResult,
  termsFor,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const claim: Claim = { resultHash: ethers.id("result") as `0x${string}`, resultBytes: 512n, charge: 5n };

/** A job that lasts longer than a replaced key may act. */
async function longJob() {
  const on = await loadFixture(readyMarket);
  const request = on.request({ submitWindow: 2 * 3600 });
  await matchJob(on, { request });
  return { ...on, terms: termsFor(on, request, on.offer()) };
}

describe("JobMarket#submit", () => {
  it("posts a result, frees the node and keeps the bond locked", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, operator, nodeKey, terms, job, matchedAt, held } = on;
    await at(matchedAt + 20);
    await expect(market.connect(nodeKey).submit(terms, claim, "0x"))
      .to.emit(market, "ResultSubmitted")
      .withArgs(job, operator.address, 0, false, Object.values(claim));
    expect(await market.replicaOf(job, 0)).to.deep.equal([
      State.Submitted,
      BigInt(matchedAt),
      BigInt(matchedAt + 20),
      replicaCommitment(terms, claim),
    ]);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, 0n, true]);
    expect(await market.balanceOf(operator, token)).to.equal(0n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 1000n]);
    await expectNothingLost(on, held);
  });

  for (const seconds of [1, 37, 60, 61, 299]) {
    it(`allows what ${seconds} seconds cost and not a unit more`, async () => {
      const { market, nodeKey, terms, job, matchedAt, held } = await loadFixture(runningJob);
      const most = chargeOfDown(terms, seconds);
      expect(most < held).to.equal(true);
      await at(matchedAt + seconds);
      await expect(market.connect(nodeKey).submit(terms, { ...claim, charge: most + 1n }, "0x"))
        .to.be.revertedWithCustomError(market, "ChargeTooHigh")
        .withArgs(job, 0, most + 1n, most);
      const again = await loadFixture(runningJob);
      await at(matchedAt + seconds);
      await again.market.connect(nodeKey).submit(again.terms, { ...claim, charge: most }, "0x");
    });
  }

  it("counts to the last second of the submit window", async () => {
    const late = await loadFixture(runningJob);
    await at(late.matchedAt + 301);
    await expect(late.market.connect(late.nodeKey).submit(late.terms, claim, "0x"))
      .to.be.revertedWithCustomError(late.market, "WindowClosed")
      .withArgs(late.job, 0, late.matchedAt + 300);
    const justInTime = await loadFixture(runningJob);
    await at(justInTime.matchedAt + 300);
    await justInTime.market.connect(justInTime.nodeKey).submit(justInTime.terms, claim, "0x");
  });

  it("refuses an empty result", async () => {
    const { market, nodeKey, terms, job } = await loadFixture(runningJob);
    await expect(market.connect(nodeKey).submit(terms, NO_CLAIM, "0x"))
      .to.be.revertedWithCustomError(market, "EmptyResult")
      .withArgs(job, 0);
  });

  it("refuses strangers, other terms and a second result", async () => {
    const { market, operator, nodeKey, stranger, terms, job } = await loadFixture(submittedResult);
    await expect(market.connect(nodeKey).submit(terms, claim, "0x"))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Submitted, State.Active);
    const running = await loadFixture(runningJob);
    await expect(running.market.connect(stranger).submit(running.terms, claim, "0x"))
      .to.be.revertedWithCustomError(running.market, "NotNode")
      .withArgs(operator.address, 0, stranger.address);
    const later = { ...running.terms, job: { ...running.terms.job, submitWindow: 9999 } };
    await expect(running.market.connect(nodeKey).submit(later, claim, "0x"))
      .to.be.revertedWithCustomError(running.market, "WrongTerms")
      .withArgs(running.job, 0);
  });

  it("is not for leases, which are paid by `claim`", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ mode: MODE.lease, heartbeatSeconds: 60 });
    await matchJob(on, { request });
    const terms = termsFor(on, request, on.offer());
    await expect(on.market.connect(on.nodeKey).submit(terms, claim, "0x"))
      .to.be.revertedWithCustomError(on.market, "WrongMode")
      .withArgs(terms.job.jobId, MODE.lease);
  });

  it("works for a key that expired, for a replaced key in its last hour, for its successor and for the operator", async () => {
    const overlapping = await loadFixture(runningJob);
    await publishNode(overlapping, overlapping.operator, overlapping.newNodeKey);
    await overlapping.market.connect(overlapping.nodeKey).submit(overlapping.terms, claim, "0x");

    const rotated = await longJob();
    await publishNode(rotated, rotated.operator, rotated.newNodeKey);
    await time.increase(3601);
    await expect(
      rotated.market.connect(rotated.nodeKey).submit(rotated.terms, claim, "0x"),
    ).to.be.revertedWithCustomError(rotated.market, "NotNode");
    await rotated.market.connect(rotated.newNodeKey).submit(rotated.terms, claim, "0x");

    const revoked = await loadFixture(runningJob);
    await revoked.identity.connect(revoked.operator).revokeNode(revoked.operator, 0);
    await expect(
      revoked.market.connect(revoked.nodeKey).submit(revoked.terms, claim, "0x"),
    ).to.be.revertedWithCustomError(revoked.market, "NotNode");
    await revoked.market.connect(revoked.operator).submit(revoked.terms, claim, "0x");

    const expired = await loadFixture(runningJob);
    await publishNode(expired, expired.operator, expired.nodeKey, { validTo: expired.matchedAt + 10 });
    await at(expired.matchedAt + 200);
    await expired.market.connect(expired.nodeKey).submit(expired.terms, claim, "0x");
  });

  it("reads the claim with the proof behind it: bytes that nobody asked for change nothing", async () => {
    const on = await loadFixture(runningJob);
    await at(on.matchedAt + 20);
    await on.market.connect(on.nodeKey).submit(on.terms, claim, "0x1234");
    expect((await on.market.replicaOf(on.job, 0)).commitment).to.equal(replicaCommitment(on.terms, claim));
  });
});

describe("JobMarket#submit, where the orders leave no time to challenge", () => {
  async function instantJob() {
    const on = await readyMarket();
    const request = on.request({ challengeWindow: 0, maxSeconds: 60 });
    await matchJob(on, { request });
    return { ...on, terms: termsFor(on, request, on.offer()), job: jobId(on, request), matchedAt: await time.latest() };
  }

  it("settles in the same transaction", async () => {
    const on = await loadFixture(instantJob);
    const { market, staking, token, requester, operator, nodeKey, terms, job, matchedAt } = on;
    const held = depositOf(terms);
    const claimed = { ...claim, charge: 40n };
    await at(matchedAt + 50);
    const submitting = market.connect(nodeKey).submit(terms, claimed, "0x");
    await expect(submitting)
      .to.emit(market, "ResultSubmitted")
      .withArgs(job, operator.address, 0, false, Object.values(claimed));
    await expect(submitting)
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, 40, held - 40n);
    await expect(submitting).to.emit(staking, "Unlocked").withArgs(operator.address, on.addresses.token, 1000);
    expect(await market.replicaOf(job, 0)).to.deep.equal([
      State.Settled,
      BigInt(matchedAt),
      BigInt(matchedAt + 50),
      replicaCommitment(terms, claimed),
    ]);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, 0n, true]);
    expect(await market.balanceOf(operator, token)).to.equal(40n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 40n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("pays once", async () => {
    const { market, requester, nodeKey, terms, job } = await loadFixture(instantJob);
    await market.connect(nodeKey).submit(terms, claim, "0x");
    for (const call of [
      market.connect(nodeKey).submit(terms, claim, "0x"),
      market.connect(requester).approve(terms, claim),
      market.connect(requester).finalize(terms, claim),
      market.connect(nodeKey).decline(terms, 0),
    ]) {
      await expect(call).to.be.revertedWithCustomError(market, "WrongState");
    }
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
  });

  it("pays no more than the time took, and nothing after the submit window", async () => {
    const { market, nodeKey, terms, job, matchedAt } = await loadFixture(instantJob);
    await at(matchedAt + 10);
    const most = chargeOfDown(terms, 10);
    await expect(market.connect(nodeKey).submit(terms, { ...claim, charge: most + 1n }, "0x"))
      .to.be.revertedWithCustomError(market, "ChargeTooHigh")
      .withArgs(job, 0, most + 1n, most);
    await at(matchedAt + 301);
    await expect(market.connect(nodeKey).submit(terms, claim, "0x"))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, matchedAt + 300);
  });

  it("needs a window of zero: one second is a window", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ challengeWindow: 1 });
    await matchJob(on, { request });
    const terms = termsFor(on, request, on.offer());
    await on.market.connect(on.nodeKey).submit(terms, claim, "0x");
    expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Submitted);
    expect(await on.market.balanceOf(on.operator, on.token)).to.equal(0n);
  });
});
