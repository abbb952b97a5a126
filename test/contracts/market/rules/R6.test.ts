// R6, nobody farms: not by rulings, verdicts, silent leases or base charges. The rest is in ../attacks.test.ts.
import { expect } from "chai";
import { at, loadFixture, time } from "../../support/actors.ts";
import {
  arbitratedMarket,
  BOND,
  CHALLENGE,
  COMPENSATION,
  DEPOSIT,
  disputedResult,
  FEE,
  judgedResult,
  Manner,
  running,
  Verdict,
} from "../../support/disputes.ts";
import { earnedDown, HEARTBEAT, runningLease } from "../../support/leases.ts";
import {
  type Deployed,
  DOLLAR,
  jobId,
  matchJob,
  NO_CLAIM,
  readyMarket,
  runningJob,
  termsFor,
  text32,
} from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

/** Everything that the accounts can take out of market and staking, and their stake. */
async function worth(on: Deployed, accounts: { address: string }[]) {
  let sum = 0n;
  for (const { address } of accounts) {
    const { free, locked } = await on.staking.stakeOf(address, on.token);
    const [balance, owed] = [on.market.balanceOf(address, on.token), on.staking.owedTo(address, on.token)];
    sum += ((await balance) as bigint) + ((await owed) as bigint) + free + locked;
  }
  return sum;
}

describe("R6: nobody farms rulings, verdicts, silence or base charges", () => {
  it("a requester and an arbiter in one hand take of a bond what both sides signed, and no more", async () => {
    const on = await loadFixture(disputedResult);
    const { market, requester, operator, arbiter, terms, claim } = on;
    await market.connect(arbiter).rule(terms, claim, 0n);
    // The deposit is back, and the gain is compensation and fee; the rest of the bond is the sink's.
    expect(await worth(on, [requester, arbiter])).to.equal(100n * DOLLAR + COMPENSATION + FEE);
    expect(await worth(on, [on.sink])).to.equal(BOND - COMPENSATION - FEE);
    expect(await worth(on, [operator])).to.equal(10n * DOLLAR - BOND);
  });

  it("all three in one hand lose by a ruling", async () => {
    for (const award of [0n, 400n, 799n]) {
      const on = await loadFixture(disputedResult);
      const all = [on.requester, on.operator, on.arbiter];
      await on.market.connect(on.arbiter).rule(on.terms, on.claim, award);
      const lost = await worth(on, [on.sink]);
      expect(await worth(on, all)).to.equal(110n * DOLLAR - lost);
      await expectNothingLost(on);
    }
  });

  it("a verifier in the requester's hand gains it nothing: what it condemns goes to the sink whole", async () => {
    const on = await loadFixture(judgedResult);
    const { market, verifier, requester, stranger, sink, terms, claim, submittedAt } = on;
    await verifier.set(Manner.Answers, Verdict.Fails);
    await at(submittedAt + CHALLENGE + 1);
    await market.connect(requester).finalize(terms, claim);
    expect(await worth(on, [requester, stranger])).to.equal(100n * DOLLAR);
    expect(await worth(on, [sink])).to.equal(BOND);
  });

  it("a requester who makes a node late and finalizes itself gets a tenth of the bond and its compensation", async () => {
    const on = await loadFixture(readyMarket);
    const { market, requester, sink } = on;
    const greedy = on.request({ bounty: 101n });
    await expect(matchJob(on, { request: greedy }))
      .to.be.revertedWithCustomError(market, "BadRequest")
      .withArgs(jobId(on, greedy), text32("bounty"));
    const request = on.request({ bounty: 100n, compensationBps: 1000 });
    await matchJob(on, { request });
    await time.increase(301);
    await market.connect(requester).finalize(termsFor(on, request, on.offer()), NO_CLAIM);
    expect(await worth(on, [requester])).to.equal(100n * DOLLAR + 100n + 6n);
    expect(await worth(on, [sink])).to.equal(1000n - 106n);
  });

  it("requester, operator and whoever closes, in one hand, lose by a lease that falls silent", async () => {
    const on = await loadFixture(runningLease);
    const { market, requester, operator, stranger, sink, terms, matchedAt } = on;
    await at(matchedAt + 2 * HEARTBEAT + 1);
    await market.connect(stranger).close(terms);
    const lost = await worth(on, [sink]);
    expect(lost > 0n).to.equal(true);
    expect(await worth(on, [requester, operator, stranger])).to.equal(110n * DOLLAR - lost);
    await expectNothingLost(on);
  });

  it("a compensation for a lease is a share of its first deposit: topping up buys no more of the bond", async () => {
    const on = await loadFixture(runningLease);
    const { market, staking, token, requester, stranger, terms, matchedAt } = on;
    await market.connect(requester).topUp(terms, 1_000_000);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    await market.connect(stranger).close(terms);
    expect(await staking.owedTo(requester, token)).to.equal(52n);
    await expectNothingLost(on);
  });

  it("a node earns the base charge by any result, and by a result alone: not a unit more in no time", async () => {
    const on = await loadFixture(runningJob);
    const { market, token, operator, nodeKey, requester, terms, job, matchedAt } = on;
    const unavailable = { resultHash: `0x${"1".repeat(64)}`, resultBytes: 1n };
    await at(matchedAt + 1);
    await expect(market.connect(nodeKey).submit(terms, { ...unavailable, charge: 7n }, "0x"))
      .to.be.revertedWithCustomError(market, "ChargeTooHigh")
      .withArgs(job, 0, 7, 6);
    await market.connect(nodeKey).submit(terms, { ...unavailable, charge: 5n }, "0x");
    await market.connect(requester).approve(terms, { ...unavailable, charge: 5n });
    expect(await market.balanceOf(operator, token)).to.equal(5n);
    await expectNothingLost(on);
  });

  it("a lease pays its base charge once, however often it is claimed", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, matchedAt } = on;
    for (const seconds of [1, 2, 3, 4, 5]) {
      await at(matchedAt + seconds);
      await market.connect(nodeKey).claim(terms);
    }
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 5));
  });

  it("disputes are not free: a requester who disputes whatever it gets pays the fee each time", async () => {
    const ready = await loadFixture(arbitratedMarket);
    const { market, token, requester, arbiter, nodeKey } = ready;
    const claim = { resultHash: `0x${"1".repeat(64)}` as const, resultBytes: 1n, charge: 800n };
    for (const nonce of ["1", "2", "3"]) {
      const { terms } = await running(ready, { nonce: `0x${nonce.repeat(64)}` });
      await market.connect(nodeKey).submit(terms, claim, "0x");
      await market.connect(requester).dispute(terms, claim);
      await market.connect(arbiter).rule(terms, claim, claim.charge);
    }
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 3n * (800n + FEE));
    expect(await market.balanceOf(arbiter, token)).to.equal(3n * FEE);
    expect(DEPOSIT > 800n).to.equal(true);
    await expectNothingLost(ready);
  });
});
