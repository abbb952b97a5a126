import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import { BOND, DEPOSIT, earnedDown, HEARTBEAT, heldUp, PAID_SECONDS, runningLease } from "../support/leases.ts";
import { DOLLAR, runningJob, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const MOST_SECONDS = 2 ** 32 - 1;

describe("JobMarket#topUp", () => {
  it("pays for more seconds out of the caller's balance", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, terms, job } = on;
    const added = heldUp(terms, PAID_SECONDS + 500) - DEPOSIT;
    await expect(market.connect(requester).topUp(terms, 500))
      .to.emit(market, "LeaseToppedUp")
      .withArgs(job, requester.address, 0, 500, added);
    expect(added).to.equal(526n);
    expect(await market.leaseOf(job, 0)).to.deep.equal([0n, 500n, 0n]);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - DEPOSIT - added);
    await expectNothingLost(on, DEPOSIT + added);
  });

  it("costs by many small sums what one would, to the last unit", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, terms, job } = on;
    for (const seconds of [1, 1, 1, 2, 3, 5, 8, 13, 1]) await market.connect(requester).topUp(terms, seconds);
    expect((await market.leaseOf(job, 0)).addedSeconds).to.equal(35n);
    const held = heldUp(terms, PAID_SECONDS + 35);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - held);
    await expectNothingLost(on, held);
  });

  it("keeps a lease alive past its first deposit, and pays the node for that", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, operator, nodeKey, terms, job, matchedAt } = on;
    const total = PAID_SECONDS + 150;
    for (let seconds = HEARTBEAT; seconds <= total; seconds += HEARTBEAT) {
      if (seconds === PAID_SECONDS) {
        await at(matchedAt + seconds - 1);
        await market.connect(requester).topUp(terms, 150);
      }
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + total);
    await market.connect(nodeKey).claim(terms);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, total));
    await at(matchedAt + total + 1);
    await expect(market.connect(nodeKey).claim(terms))
      .to.be.revertedWithCustomError(market, "LeaseOver")
      .withArgs(job, 0);
    await market.connect(on.stranger).close(terms);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earnedDown(terms, total));
    await expectNothingLost(on);
  });

  it("is for anybody, and what is not used goes back to the payer", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, requester, operator, payer, terms, job, matchedAt } = on;
    const added = heldUp(terms, PAID_SECONDS + 500) - DEPOSIT;
    await expect(market.connect(payer).topUp(terms, 500))
      .to.emit(market, "LeaseToppedUp")
      .withArgs(job, payer.address, 0, 500, added);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR - added);
    await at(matchedAt + 50);
    await market.connect(operator).close(terms);
    await at(matchedAt + 5000);
    await market.close(terms);
    const earned = earnedDown(terms, HEARTBEAT);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR + added - earned);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("refuses nothing, and money that is not there", async () => {
    const { market, token, requester, stranger, terms, addresses, job } = await loadFixture(runningLease);
    await expect(market.connect(requester).topUp(terms, 0)).to.be.revertedWithCustomError(market, "ZeroAmount");
    await expect(market.connect(stranger).topUp(terms, 1000))
      .to.be.revertedWithCustomError(market, "BalanceTooLow")
      .withArgs(stranger.address, addresses.token, 0, heldUp(terms, PAID_SECONDS + 1000) - DEPOSIT);
    expect(await market.leaseOf(job, 0)).to.deep.equal([0n, 0n, 0n]);
    expect(await market.balanceOf(stranger, token)).to.equal(0n);
  });

  it("refuses more seconds than a lease can count, and takes the last one", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, payer, terms, job } = on;
    await expect(market.connect(payer).topUp(terms, MOST_SECONDS - PAID_SECONDS + 1))
      .to.be.revertedWithCustomError(market, "LeaseTooLong")
      .withArgs(job, 0, 2 ** 32);
    const held = heldUp(terms, MOST_SECONDS);
    await on.token.mint(payer, held);
    await on.token.connect(payer).approve(market, held);
    await market.connect(payer).deposit(payer, token, held);
    await market.connect(payer).topUp(terms, MOST_SECONDS - PAID_SECONDS);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR + DEPOSIT);
    await expect(market.connect(payer).topUp(terms, 1))
      .to.be.revertedWithCustomError(market, "LeaseTooLong")
      .withArgs(job, 0, 2 ** 32);
    await expectNothingLost(on, held);
  });

  it("refuses a lease that closes, is over or has ended", async () => {
    const { market, requester, nodeKey, stranger, terms, job, matchedAt } = await loadFixture(runningLease);
    await at(matchedAt + 10);
    await market.connect(nodeKey).close(terms);
    await expect(market.connect(requester).topUp(terms, 1))
      .to.be.revertedWithCustomError(market, "AlreadyClosing")
      .withArgs(job, 0, matchedAt + 260);
    await at(matchedAt + 261);
    await expect(market.connect(requester).topUp(terms, 1))
      .to.be.revertedWithCustomError(market, "LeaseOver")
      .withArgs(job, 0);
    await market.connect(stranger).close(terms);
    await expect(market.connect(requester).topUp(terms, 1))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Active);
  });

  it("refuses a lease whose node fell silent: nobody saves a node from its slash by topping up", async () => {
    const { market, operator, requester, terms, job, matchedAt } = await loadFixture(runningLease);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    for (const anybody of [operator, requester]) {
      await expect(market.connect(anybody).topUp(terms, 500))
        .to.be.revertedWithCustomError(market, "LeaseOver")
        .withArgs(job, 0);
    }
  });

  it("is for leases, under the terms that were matched", async () => {
    const lease = await loadFixture(runningLease);
    const cheaper = { ...lease.terms, assignment: { ...lease.terms.assignment, rateX18: 1n } };
    await expect(lease.market.connect(lease.requester).topUp(cheaper, 1))
      .to.be.revertedWithCustomError(lease.market, "WrongTerms")
      .withArgs(lease.job, 0);
    const batch = await loadFixture(runningJob);
    await expect(batch.market.connect(batch.requester).topUp(batch.terms, 1))
      .to.be.revertedWithCustomError(batch.market, "WrongMode")
      .withArgs(batch.job, 0);
  });

  it("locks no more stake: the bond stays what both signed", async () => {
    const { market, staking, token, requester, operator, terms } = await loadFixture(runningLease);
    await market.connect(requester).topUp(terms, 100_000);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - BOND, BOND]);
  });
});
