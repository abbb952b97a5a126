// R10, leases: neither side gets more out of time than the other side gave.
import { expect } from "chai";
import { at, ethers, loadFixture, networkHelpers } from "../../support/actors.ts";
import {
  DEPOSIT,
  earnedDown,
  HEARTBEAT,
  leaseWithoutNotice,
  NOTICE,
  PAID_SECONDS,
  runningLease,
  startLease,
} from "../../support/leases.ts";
import { DOLLAR, readyMarket, State } from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

describe("R10: leases", () => {
  it("a node that sleeps and wakes in time for its claims is paid for half of the time", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, matchedAt } = on;
    for (let seconds = 2 * HEARTBEAT; seconds <= 8 * HEARTBEAT; seconds += 2 * HEARTBEAT) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 4 * HEARTBEAT));
    await expectNothingLost(on, DEPOSIT - earnedDown(terms, 4 * HEARTBEAT));
  });

  it("a second claim in the same block pays nothing", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, matchedAt } = on;
    const { provider } = ethers;
    await provider.send("evm_setAutomine", [false]);
    const gasLimit = 200_000n;
    const sent = [
      await market.connect(nodeKey).claim(terms, { gasLimit }),
      await market.connect(operator).claim(terms, { gasLimit }),
    ];
    await at(matchedAt + 60);
    await networkHelpers.mine();
    await provider.send("evm_setAutomine", [true]);
    for (const one of sent) expect((await one.wait())?.blockNumber).to.equal((await sent[0].wait())?.blockNumber);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 60));
  });

  it("a requester who gave notice loses at most the notice, however late anybody ends the lease", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, operator, nodeKey, stranger, terms, matchedAt } = on;
    for (const seconds of [90, 180, 270]) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + 300);
    await market.connect(requester).close(terms);
    for (const seconds of [360, 450, 540]) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await at(matchedAt + 100_000);
    await market.connect(stranger).close(terms);
    const most = earnedDown(terms, 300 + NOTICE);
    expect(await market.balanceOf(operator, token)).to.equal(most);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - most);
    await expectNothingLost(on);
  });

  it("neither side can push the end of a notice back", async () => {
    const { market, requester, operator, nodeKey, payer, terms, job, matchedAt } = await loadFixture(runningLease);
    await at(matchedAt + 10);
    await market.connect(requester).close(terms);
    const closingAt = matchedAt + 10 + NOTICE;
    for (const call of [
      () => market.connect(nodeKey).close(terms),
      () => market.connect(operator).close(terms),
      () => market.connect(payer).topUp(terms, 1000),
    ]) {
      await expect(call()).to.be.revertedWithCustomError(market, "AlreadyClosing").withArgs(job, 0, closingAt);
    }
    await market.connect(nodeKey).claim(terms);
    expect((await market.leaseOf(job, 0)).closingAt).to.equal(BigInt(closingAt));
  });

  it("a requester cannot use a node for nothing by closing before it claims", async () => {
    const on = await loadFixture(leaseWithoutNotice);
    const { market, token, requester, operator, terms, matchedAt } = on;
    await at(matchedAt + HEARTBEAT);
    await market.connect(requester).close(terms);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, HEARTBEAT));
    await expectNothingLost(on);
  });

  it("nor by taking its money out while the lease runs", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, operator, nodeKey, terms, matchedAt } = on;
    const rest = 100n * DOLLAR - DEPOSIT;
    await market.connect(requester).withdraw(requester, token, rest, requester);
    for (let seconds = HEARTBEAT; seconds <= PAID_SECONDS; seconds += HEARTBEAT) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    await market.connect(operator).withdraw(operator, token, earnedDown(terms, PAID_SECONDS), operator);
    await expectNothingLost(on, 1n);
  });

  it("a node that vanished holds nobody's money: anybody ends its lease after two heartbeats", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, requester, stranger, terms, job, matchedAt } = on;
    await market.connect(requester).topUp(terms, 1_000_000);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    await market.connect(stranger).close(terms);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earnedDown(terms, HEARTBEAT));
    await expectNothingLost(on);
  });

  it("a claim in the last second of two heartbeats keeps the bond, one second later it is gone", async () => {
    for (const [late, bond] of [
      [0, 0n],
      [1, 1000n],
    ] as const) {
      const on = await startLease(await loadFixture(readyMarket), { noticeSeconds: 0 });
      const { market, staking, token, operator, nodeKey, requester, terms, matchedAt } = on;
      await at(matchedAt + 2 * HEARTBEAT + late);
      if (late === 0) await market.connect(nodeKey).claim(terms);
      await market.connect(requester).close(terms);
      expect((await staking.stakeOf(operator, token)).free).to.equal(10n * DOLLAR - bond);
      await expectNothingLost(on);
    }
  });
});
