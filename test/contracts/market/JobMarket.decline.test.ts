import { depositOf, MODE } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import {
  addressOf,
  DOLLAR,
  jobId,
  matchJob,
  type Ready,
  Reason,
  readyMarket,
  runningJob,
  State,
  submittedResult,
  termsFor,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const HOUR = 3600;

/** A match of another request with the node's dearer offer, whose deposit is 1,064 token units. */
async function anotherMatch(on: Ready, text: string, bond = 1000n) {
  const request = on.request({ nonce: ethers.id(text) as `0x${string}`, bond });
  const offer = on.offer({ baseCharge: 1000n });
  await matchJob(on, { request, offers: [offer] });
  return termsFor(on, request, offer);
}

/** A gang of two. */
async function runningGang() {
  const on = await readyMarket();
  const request = on.request({ replicas: 2 });
  const offers = [on.offer(), on.offer({ operator: addressOf(on.otherOperator) })] as const;
  await matchJob(on, { request, offers: [...offers] });
  const matchedAt = await time.latest();
  const [first, second] = [termsFor(on, request, offers[0], 0), termsFor(on, request, offers[1], 1)];
  return { ...on, first, second, job: jobId(on, request), matchedAt };
}

describe("JobMarket#decline", () => {
  it("gives everything back and takes no bond", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, requester, operator, nodeKey, terms, job, held, matchedAt } = on;
    await at(matchedAt + 30);
    const declining = market.connect(nodeKey).decline(terms, 0);
    await expect(declining)
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, held, 0, Reason.Declined);
    await expect(declining).to.emit(staking, "Unlocked").withArgs(operator.address, on.addresses.token, 1000);
    await expect(declining).not.to.emit(staking, "Slashed");
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
    const declinedAt = BigInt(matchedAt + 30);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, declinedAt, true]);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    await expectNothingLost(on);
  });

  it("ends with the accept window", async () => {
    const { market, nodeKey, terms, job, matchedAt } = await loadFixture(runningJob);
    await at(matchedAt + 31);
    await expect(market.connect(nodeKey).decline(terms, 0))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, matchedAt + 30);
  });

  it("is for the node and its operator's controller", async () => {
    const { market, operator, requester, terms } = await loadFixture(runningJob);
    await expect(market.connect(requester).decline(terms, 0))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, requester.address);
    await market.connect(operator).decline(terms, 0);
  });

  it("refuses other terms, a second time, and a replica with a result", async () => {
    const { market, nodeKey, terms, job } = await loadFixture(runningJob);
    const cheaper = { ...terms, assignment: { ...terms.assignment, baseCharge: 4n } };
    await expect(market.connect(nodeKey).decline(cheaper, 0))
      .to.be.revertedWithCustomError(market, "WrongTerms")
      .withArgs(job, 0);
    const another = { ...terms, assignment: { ...terms.assignment, replica: 1 } };
    await expect(market.connect(nodeKey).decline(another, 1))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 1, State.None, State.Active);
    await market.connect(nodeKey).decline(terms, 0);
    await expect(market.connect(nodeKey).decline(terms, 0))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Refunded, State.Active);
    const submitted = await loadFixture(submittedResult);
    await expect(submitted.market.connect(submitted.nodeKey).decline(submitted.terms, 0))
      .to.be.revertedWithCustomError(submitted.market, "WrongState")
      .withArgs(submitted.job, 0, State.Submitted, State.Active);
  });
});

describe("JobMarket#decline, more than once an hour", () => {
  it("costs a hundredth of the deposit out of the bond, for the sink", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, requester, operator, nodeKey, sink, terms, matchedAt } = on;
    const second = await anotherMatch(on, "second");
    await at(matchedAt + 20);
    await market.connect(nodeKey).decline(terms, 0);
    await at(matchedAt + 21);
    const declining = market.connect(nodeKey).decline(second, 0);
    await expect(declining)
      .to.emit(market, "ReplicaRefunded")
      .withArgs(second.job.jobId, operator.address, 0, 1064, 10, Reason.Declined);
    await expect(declining).to.emit(staking, "Slashed").withArgs(operator.address, on.addresses.token, 1000, 10);
    expect(await staking.owedTo(sink, token)).to.equal(10n);
    expect(await staking.owedTo(nodeKey, token)).to.equal(0n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 10n, 0n]);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    const freeAt = BigInt(matchedAt + 20);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, freeAt, true]);
    await expectNothingLost(on);
  });

  it("costs until the hour is over, and is free again from then on", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, operator, nodeKey, sink, terms } = on;
    await market.connect(nodeKey).decline(terms, 0);
    const freeAt = await time.latest();
    await time.increaseTo(freeAt + HOUR - 10);
    const [last, first] = [await anotherMatch(on, "last"), await anotherMatch(on, "first")];
    await at(freeAt + HOUR - 1);
    await market.connect(nodeKey).decline(last, 0);
    expect(await staking.owedTo(sink, token)).to.equal(10n);
    await at(freeAt + HOUR);
    await market.connect(nodeKey).decline(first, 0);
    expect(await staking.owedTo(sink, token)).to.equal(10n);
    expect((await market.useOf(operator, 0)).declinedAt).to.equal(BigInt(freeAt + HOUR));
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 10n, 0n]);
    await expectNothingLost(on);
  });

  it("costs at most the bond", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, operator, nodeKey, sink, terms } = on;
    const [small, none] = [await anotherMatch(on, "small", 3n), await anotherMatch(on, "none", 0n)];
    for (const declined of [terms, small]) await market.connect(nodeKey).decline(declined, 0);
    const declining = market.connect(nodeKey).decline(none, 0);
    await expect(declining).to.emit(market, "ReplicaRefunded");
    for (const event of ["Unlocked", "Slashed"]) await expect(declining).not.to.emit(staking, event);
    expect(await staking.owedTo(sink, token)).to.equal(3n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 3n, 0n]);
    await expectNothingLost(on);
  });
});

describe("JobMarket#decline, of a gang that lost a member", () => {
  it("is free as long as results count, and leaves the hour alone", async () => {
    const on = await loadFixture(runningGang);
    const { market, staking, token, operator, otherOperator, nodeKey, otherNodeKey, job, matchedAt } = on;
    const dearer = await anotherMatch(on, "dearer");
    await market.connect(nodeKey).decline(dearer, 0);
    const freeAt = BigInt(await time.latest());
    await market.connect(otherNodeKey).decline(on.second, 1);
    await at(matchedAt + 300);
    await expect(market.connect(nodeKey).decline(on.first, 1))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, 69, 0, Reason.Left);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, freeAt, true]);
    for (const one of [operator, otherOperator]) {
      expect(await staking.stakeOf(one, token)).to.deep.equal([10n * DOLLAR, 0n]);
    }
    await expectNothingLost(on);
  });

  it("ends with the submit window", async () => {
    const { market, nodeKey, otherNodeKey, first, second, job, matchedAt } = await loadFixture(runningGang);
    await market.connect(otherNodeKey).decline(second, 1);
    await at(matchedAt + 301);
    await expect(market.connect(nodeKey).decline(first, 1))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, matchedAt + 300);
  });

  it("needs a member that was refunded: not one that runs, has a result, never was, or the node itself", async () => {
    const on = await loadFixture(runningGang);
    const { market, nodeKey, otherNodeKey, first, second, job, matchedAt } = on;
    await at(matchedAt + 40);
    const late = async (sibling: number) =>
      expect(market.connect(nodeKey).decline(first, sibling))
        .to.be.revertedWithCustomError(market, "WindowClosed")
        .withArgs(job, 0, matchedAt + 30);
    for (const sibling of [0, 1, 2, 65_535]) await late(sibling);
    const claim = { resultHash: ethers.id("result"), resultBytes: 1n, charge: 5n };
    await market.connect(otherNodeKey).submit(second, claim, "0x");
    await late(1);
    await market.connect(on.requester).approve(second, claim);
    await late(1);
  });

  it("is an ordinary decline while the gang is whole, whatever sibling is named", async () => {
    const on = await loadFixture(runningGang);
    const { market, operator, nodeKey, first, job } = on;
    await expect(market.connect(nodeKey).decline(first, 1))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, 69, 0, Reason.Declined);
    expect((await market.useOf(operator, 0)).declinedAt).to.equal(BigInt(await time.latest()));
  });
});

describe("JobMarket#decline, of a lease", () => {
  async function runningLease() {
    const on = await readyMarket();
    const request = on.request({ mode: MODE.lease, heartbeatSeconds: 60, acceptWindow: 120, maxSeconds: 600 });
    await matchJob(on, { request });
    return { ...on, terms: termsFor(on, request, on.offer()), job: jobId(on, request), matchedAt: await time.latest() };
  }

  it("gives everything back before the first claim", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, requester, operator, nodeKey, terms, job } = on;
    await market.connect(nodeKey).decline(terms, 0);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("is too late after the first claim, which paid out of the deposit", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, job, matchedAt } = on;
    await at(matchedAt + 60);
    await market.connect(nodeKey).claim(terms);
    const paid = (await market.balanceOf(operator, token)) as bigint;
    expect(paid > 0n).to.equal(true);
    await expect(market.connect(nodeKey).decline(terms, 0))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, matchedAt + 60);
    await expectNothingLost(on, depositOf(terms) - paid);
  });

  it("gives back what topped the deposit up", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, operator, nodeKey, payer, terms, job } = on;
    await market.connect(payer).topUp(terms, 100);
    const added = 100n * DOLLAR - ((await market.balanceOf(payer, token)) as bigint);
    expect(added > 0n).to.equal(true);
    await expect(market.connect(nodeKey).decline(terms, 0))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, depositOf(terms) + added, 0, Reason.Declined);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR + added);
    await expectNothingLost(on);
  });
});
