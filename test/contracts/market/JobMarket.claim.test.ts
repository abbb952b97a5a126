import { replicaCommitment } from "@berth/protocol";
import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import { BOND, DEPOSIT, earnedDown, HEARTBEAT, NOTICE, PAID_SECONDS, runningLease } from "../support/leases.ts";
import { DOLLAR, publishNode, runningJob, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

describe("JobMarket#claim", () => {
  it("pays what was earned since the match, the base charge included", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, operator, requester, nodeKey, terms, job, matchedAt } = on;
    const earned = earnedDown(terms, 60);
    await at(matchedAt + 60);
    await expect(market.connect(nodeKey).claim(terms))
      .to.emit(market, "LeaseClaimed")
      .withArgs(job, operator.address, 0, 60, earned);
    expect(earned).to.equal(68n); // 5 and 60 seconds at 1.05248
    expect(await market.balanceOf(operator, token)).to.equal(earned);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - DEPOSIT);
    expect(await market.leaseOf(job, 0)).to.deep.equal([60n, 0n, 0n]);
    const times = [BigInt(matchedAt), BigInt(matchedAt + 60)];
    expect(await market.replicaOf(job, 0)).to.deep.equal([State.Active, ...times, replicaCommitment(terms)]);
    expect((await market.useOf(operator, 0)).active).to.equal(1n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - BOND, BOND]);
    await expectNothingLost(on, DEPOSIT - earned);
  });

  it("pays at most a heartbeat of the time since the last claim", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, job, matchedAt } = on;
    await at(matchedAt + 2 * HEARTBEAT);
    await market.connect(nodeKey).claim(terms);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, HEARTBEAT));
    await at(matchedAt + 4 * HEARTBEAT);
    await market.connect(nodeKey).claim(terms);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 2 * HEARTBEAT));
    expect((await market.leaseOf(job, 0)).chargedSeconds).to.equal(BigInt(2 * HEARTBEAT));
    await expectNothingLost(on, DEPOSIT - earnedDown(terms, 2 * HEARTBEAT));
  });

  it("pays by many claims what one would, to the last unit", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, matchedAt } = on;
    const times = [1, 2, 4, 7, 13, 29, 31, 58, 99];
    for (const seconds of times) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
      expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, seconds));
    }
    await expectNothingLost(on, DEPOSIT - earnedDown(terms, 99));
  });

  it("pays to the last second of the deposit and not longer", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, job, matchedAt } = on;
    for (let seconds = HEARTBEAT; seconds <= PAID_SECONDS; seconds += HEARTBEAT) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    const all = earnedDown(terms, PAID_SECONDS);
    expect(all).to.equal(DEPOSIT - 1n); // rounded down here and up there
    expect(await market.balanceOf(operator, token)).to.equal(all);
    await at(matchedAt + PAID_SECONDS + 1);
    await expect(market.connect(nodeKey).claim(terms))
      .to.be.revertedWithCustomError(market, "LeaseOver")
      .withArgs(job, 0);
    await expectNothingLost(on, DEPOSIT - all);
  });

  it("pays through the notice and not longer", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, requester, nodeKey, terms, job, matchedAt } = on;
    await at(matchedAt + 10);
    await market.connect(requester).close(terms);
    const end = 10 + NOTICE;
    for (const seconds of [90, 180, end]) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, end));
    await at(matchedAt + end + 1);
    await expect(market.connect(nodeKey).claim(terms))
      .to.be.revertedWithCustomError(market, "LeaseOver")
      .withArgs(job, 0);
    await expectNothingLost(on, DEPOSIT - earnedDown(terms, end));
  });

  it("comes too late after two silent heartbeats", async () => {
    const { market, nodeKey, terms, job, matchedAt } = await loadFixture(runningLease);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    await expect(market.connect(nodeKey).claim(terms))
      .to.be.revertedWithCustomError(market, "LeaseOver")
      .withArgs(job, 0);
  });

  it("comes too late when the lease was closed", async () => {
    const { market, nodeKey, stranger, terms, job, matchedAt } = await loadFixture(runningLease);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    await market.connect(stranger).close(terms);
    await expect(market.connect(nodeKey).claim(terms))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Active);
  });

  it("is for the node and its operator's controller, whatever became of their keys, and pays the operator", async () => {
    const on = await loadFixture(runningLease);
    const { market, identity, token, operator, requester, nodeKey, newNodeKey, stranger, heir, terms } = on;
    for (const other of [stranger, requester]) {
      await expect(market.connect(other).claim(terms))
        .to.be.revertedWithCustomError(market, "NotNode")
        .withArgs(operator.address, 0, other.address);
    }
    await publishNode(on, operator, newNodeKey, { wgKey: `0x${"7".repeat(64)}` });
    await market.connect(nodeKey).claim(terms);
    await market.connect(newNodeKey).claim(terms);
    await identity.connect(operator).changeOwner(operator, heir);
    await market.connect(heir).claim(terms);
    expect(await market.balanceOf(heir, token)).to.equal(0n);
    const elapsed = Number((await market.leaseOf(terms.job.jobId, 0)).chargedSeconds);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, elapsed));
  });

  it("is for leases, under the terms that were matched", async () => {
    const lease = await loadFixture(runningLease);
    const dearer = { ...lease.terms, assignment: { ...lease.terms.assignment, baseCharge: 6n } };
    await expect(lease.market.connect(lease.nodeKey).claim(dearer))
      .to.be.revertedWithCustomError(lease.market, "WrongTerms")
      .withArgs(lease.job, 0);
    const batch = await loadFixture(runningJob);
    await expect(batch.market.connect(batch.nodeKey).claim(batch.terms))
      .to.be.revertedWithCustomError(batch.market, "WrongMode")
      .withArgs(batch.job, 0);
  });

  it("is the only way that a lease is paid: it can be neither submitted nor finalized", async () => {
    const { market, nodeKey, stranger, terms, job, matchedAt } = await loadFixture(runningLease);
    const claim = { resultHash: `0x${"1".repeat(64)}`, resultBytes: 1n, charge: 1n };
    await expect(market.connect(nodeKey).submit(terms, claim, "0x"))
      .to.be.revertedWithCustomError(market, "WrongMode")
      .withArgs(job, 1);
    await at(matchedAt + 5000);
    const nothing = { resultHash: `0x${"0".repeat(64)}`, resultBytes: 0n, charge: 0n };
    await expect(market.connect(stranger).finalize(terms, nothing))
      .to.be.revertedWithCustomError(market, "WrongMode")
      .withArgs(job, 1);
  });
});
