import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import {
  BOND,
  BOUNTY,
  COMPENSATION,
  DEPOSIT,
  earnedDown,
  HEARTBEAT,
  leaseRequest,
  leaseWithoutNotice,
  NOTICE,
  PAID_SECONDS,
  runningLease,
  startLease,
} from "../support/leases.ts";
import { addressOf, DOLLAR, readyMarket, runningJob, State, signRequest } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const STAKED = 10n * DOLLAR;

describe("JobMarket#close, with a notice", () => {
  for (const side of ["requester", "operator", "nodeKey"] as const) {
    it(`is given by the ${side === "nodeKey" ? "node" : side} and starts the clock`, async () => {
      const on = await loadFixture(runningLease);
      const { market, staking, token, operator, terms, job, matchedAt } = on;
      await at(matchedAt + 70);
      await expect(market.connect(on[side]).close(terms))
        .to.emit(market, "LeaseClosing")
        .withArgs(job, on[side].address, 0, matchedAt + 70 + NOTICE);
      expect(await market.leaseOf(job, 0)).to.deep.equal([0n, 0n, BigInt(matchedAt + 70 + NOTICE)]);
      expect((await market.replicaOf(job, 0)).state).to.equal(State.Active);
      expect((await market.useOf(operator, 0)).active).to.equal(1n);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - BOND, BOND]);
      await expectNothingLost(on, DEPOSIT);
    });
  }

  it("is given by the payer as well, to whom the rest returns", async () => {
    const on = await readyMarket();
    const { market, token, payer, requester, stranger } = on;
    const forPayer = { payer: addressOf(payer) };
    const signature = await signRequest(on, payer, leaseRequest(on, forPayer));
    const { terms, matchedAt } = await startLease(on, forPayer, signature);
    await at(matchedAt + 50);
    await market.connect(payer).close(terms);
    await at(matchedAt + 50 + NOTICE + 1);
    await market.connect(stranger).close(terms);
    // A heartbeat, because the node never claimed.
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR - earnedDown(terms, HEARTBEAT));
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    await expectNothingLost(on);
  });

  it("ends the lease for anybody when it has run out: what was earned is paid, the rest and the bond go back", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, requester, operator, nodeKey, stranger, sink, terms, job, matchedAt } = on;
    await at(matchedAt + 70);
    await market.connect(requester).close(terms);
    const end = 70 + NOTICE;
    for (const seconds of [100, 200, 300]) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + end);
    await expect(market.connect(stranger).close(terms))
      .to.be.revertedWithCustomError(market, "NotParty")
      .withArgs(job, stranger.address);
    await at(matchedAt + end + 1);
    const [paid, earned] = [earnedDown(terms, 300), earnedDown(terms, end)];
    await expect(market.connect(stranger).close(terms))
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, earned - paid, DEPOSIT - earned);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, 0n, true]);
    expect(await market.balanceOf(operator, token)).to.equal(earned);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earned);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    for (const nobody of [requester, stranger, sink]) expect(await staking.owedTo(nobody, token)).to.equal(0n);
    await expectNothingLost(on);
  });

  it("is given once", async () => {
    const { market, requester, nodeKey, terms, job, matchedAt } = await loadFixture(runningLease);
    await at(matchedAt + 70);
    await market.connect(requester).close(terms);
    for (const party of [requester, nodeKey]) {
      await expect(market.connect(party).close(terms))
        .to.be.revertedWithCustomError(market, "AlreadyClosing")
        .withArgs(job, 0, matchedAt + 70 + NOTICE);
    }
  });

  it("is not a stranger's to give", async () => {
    const { market, stranger, otherOperator, guardian, terms, job } = await loadFixture(runningLease);
    for (const other of [stranger, otherOperator, guardian]) {
      await expect(market.connect(other).close(terms))
        .to.be.revertedWithCustomError(market, "NotParty")
        .withArgs(job, other.address);
    }
  });

  it("charges nothing of a heartbeat that the notice cuts off", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, operator, nodeKey, terms, matchedAt } = on;
    await at(matchedAt + 1);
    await market.connect(nodeKey).close(terms);
    for (const seconds of [90, 180, 230]) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + 9000);
    await market.close(terms);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 1 + NOTICE));
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earnedDown(terms, 1 + NOTICE));
    await expectNothingLost(on);
  });
});

describe("JobMarket#close, without a notice period", () => {
  for (const side of ["requester", "operator", "nodeKey"] as const) {
    it(`ends the lease at once, by the ${side === "nodeKey" ? "node" : side}`, async () => {
      const on = await loadFixture(leaseWithoutNotice);
      const { market, staking, token, requester, operator, nodeKey, terms, job, matchedAt } = on;
      await at(matchedAt + 80);
      await market.connect(nodeKey).claim(terms);
      await at(matchedAt + 140);
      const [paid, earned] = [earnedDown(terms, 80), earnedDown(terms, 140)];
      await expect(market.connect(on[side]).close(terms))
        .to.emit(market, "ReplicaSettled")
        .withArgs(job, operator.address, 0, earned - paid, DEPOSIT - earned);
      expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
      expect((await market.useOf(operator, 0)).active).to.equal(0n);
      expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earned);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
      await expectNothingLost(on);
    });
  }

  it("pays the base charge of a lease that was closed before its first claim", async () => {
    const on = await loadFixture(leaseWithoutNotice);
    const { market, token, requester, operator, terms, matchedAt } = on;
    await at(matchedAt + 1);
    await market.connect(requester).close(terms);
    expect(await market.balanceOf(operator, token)).to.equal(6n); // 5 and one second at 1.05
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 6n);
    await expectNothingLost(on);
  });

  it("is still for the parties alone", async () => {
    const { market, stranger, terms, job } = await loadFixture(leaseWithoutNotice);
    await expect(market.connect(stranger).close(terms))
      .to.be.revertedWithCustomError(market, "NotParty")
      .withArgs(job, stranger.address);
  });
});

describe("JobMarket#close, of a lease whose deposit is used up", () => {
  it("is anybody's, and slashes nobody", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, requester, operator, nodeKey, stranger, terms, job, matchedAt } = on;
    for (let seconds = HEARTBEAT; seconds < PAID_SECONDS; seconds += HEARTBEAT) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + PAID_SECONDS);
    await expect(market.connect(stranger).close(terms))
      .to.be.revertedWithCustomError(market, "NotParty")
      .withArgs(job, stranger.address);
    // The node cannot claim its last heartbeat any more, but is paid for it.
    await at(matchedAt + PAID_SECONDS + 1);
    await market.connect(stranger).close(terms);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, PAID_SECONDS));
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earnedDown(terms, PAID_SECONDS));
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    await expectNothingLost(on);
  });

  it("slashes nobody for a silence that the deposit would not have paid for", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, operator, nodeKey, stranger, terms, matchedAt } = on;
    // After the last claim 199 seconds are left, one less than two heartbeats.
    for (const seconds of [100, 200, 300, 400, 500, 600, 700, 800, 801]) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + 5000);
    await market.connect(stranger).close(terms);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 901));
    await expectNothingLost(on);
  });
});

describe("JobMarket#close, of a lease whose node fell silent", () => {
  it("is anybody's after two heartbeats: the bond goes to the payer, to whoever called, and to the sink", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, requester, operator, stranger, sink, terms, job, matchedAt } = on;
    await at(matchedAt + 2 * HEARTBEAT);
    await expect(market.connect(stranger).close(terms))
      .to.be.revertedWithCustomError(market, "NotParty")
      .withArgs(job, stranger.address);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    const earned = earnedDown(terms, HEARTBEAT);
    const closing = market.connect(stranger).close(terms);
    await expect(closing)
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, earned, DEPOSIT - earned);
    await expect(closing).to.emit(staking, "Slashed").withArgs(operator.address, on.addresses.token, BOND, BOND);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect((await market.useOf(operator, 0)).active).to.equal(0n);
    expect(await market.balanceOf(operator, token)).to.equal(earned);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earned);
    expect(await staking.owedTo(requester, token)).to.equal(COMPENSATION);
    expect(await staking.owedTo(stranger, token)).to.equal(BOUNTY);
    expect(await staking.owedTo(sink, token)).to.equal(BOND - COMPENSATION - BOUNTY);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - BOND, 0n]);
    await expectNothingLost(on);
  });

  it("counts from the last claim, and what was claimed stays paid", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, requester, operator, nodeKey, stranger, terms, matchedAt } = on;
    await at(matchedAt + 150);
    await market.connect(nodeKey).claim(terms);
    await at(matchedAt + 150 + 2 * HEARTBEAT + 1);
    await market.connect(stranger).close(terms);
    const earned = earnedDown(terms, 2 * HEARTBEAT);
    expect(await market.balanceOf(operator, token)).to.equal(earned);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earned);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - BOND, 0n]);
    await expectNothingLost(on);
  });

  it("is no way out for the node, with or without a notice period", async () => {
    for (const fixture of [runningLease, leaseWithoutNotice]) {
      const on = await loadFixture(fixture);
      const { market, staking, token, operator, terms, matchedAt } = on;
      await at(matchedAt + 2 * HEARTBEAT + 1);
      await market.connect(operator).close(terms);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - BOND, 0n]);
      await expectNothingLost(on);
    }
  });

  it("costs the bond where the deposit would just have paid for two heartbeats", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, operator, nodeKey, stranger, terms, matchedAt } = on;
    // After the last claim 200 seconds are left: the silence outlasts the deposit in the same second.
    for (let seconds = HEARTBEAT; seconds <= PAID_SECONDS - 2 * HEARTBEAT; seconds += HEARTBEAT) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + PAID_SECONDS + 1);
    await market.connect(stranger).close(terms);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - BOND, 0n]);
    await expectNothingLost(on);
  });

  it("costs nothing once a notice was given, but ends the lease all the same: a notice is no way to keep a deposit", async () => {
    for (const side of ["requester", "nodeKey"] as const) {
      const on = await loadFixture(runningLease);
      const { market, staking, token, requester, operator, stranger, terms, job, matchedAt } = on;
      await at(matchedAt + 5);
      await market.connect(on[side]).close(terms);
      await at(matchedAt + 2 * HEARTBEAT);
      await expect(market.connect(stranger).close(terms))
        .to.be.revertedWithCustomError(market, "NotParty")
        .withArgs(job, stranger.address);
      expect(5 + NOTICE > 2 * HEARTBEAT + 1).to.equal(true);
      await at(matchedAt + 2 * HEARTBEAT + 1);
      await market.connect(stranger).close(terms);
      expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
      expect(await staking.owedTo(stranger, token)).to.equal(0n);
      expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earnedDown(terms, HEARTBEAT));
      await expectNothingLost(on);
    }
  });
});

describe("JobMarket#close", () => {
  it("happens once", async () => {
    const { market, requester, terms, job } = await loadFixture(leaseWithoutNotice);
    await market.connect(requester).close(terms);
    await expect(market.connect(requester).close(terms))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Active);
  });

  it("is for leases, under the terms that were matched", async () => {
    const lease = await loadFixture(runningLease);
    const sooner = { ...lease.terms, job: { ...lease.terms.job, noticeSeconds: 0 } };
    await expect(lease.market.connect(lease.requester).close(sooner))
      .to.be.revertedWithCustomError(lease.market, "WrongTerms")
      .withArgs(lease.job, 0);
    const batch = await loadFixture(runningJob);
    await expect(batch.market.connect(batch.requester).close(batch.terms))
      .to.be.revertedWithCustomError(batch.market, "WrongMode")
      .withArgs(batch.job, 0);
  });
});
