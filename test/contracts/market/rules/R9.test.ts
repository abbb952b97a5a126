// R9, silence: whose it is decides who pays, and it is worth buying to nobody.
import { expect } from "chai";
import { at, loadFixture } from "../../support/actors.ts";
import {
  ARBITER_WINDOW,
  CHALLENGE,
  disputableResult,
  disputedResult,
  judgedResult,
  Manner,
  Verdict,
} from "../../support/disputes.ts";
import { COMPENSATION, HEARTBEAT, startLease } from "../../support/leases.ts";
import { DOLLAR, matchJob, NO_CLAIM, readyMarket, State, termsFor } from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

describe("R9: silence", () => {
  it("of an arbiter earns it nothing, and a requester who bought it still pays the node in full", async () => {
    const on = await loadFixture(disputedResult);
    const { market, staking, token, requester, operator, arbiter, terms, claim, job, disputedAt } = on;
    await at(disputedAt + ARBITER_WINDOW + 1);
    await market.connect(requester).finalize(terms, claim);
    expect(await market.balanceOf(operator, token)).to.equal(claim.charge);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - claim.charge);
    expect(await market.balanceOf(arbiter, token)).to.equal(0n);
    expect(await staking.owedTo(arbiter, token)).to.equal(0n);
    await expect(market.connect(arbiter).rule(terms, claim, 0n))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Disputed);
    await expectNothingLost(on);
  });

  it("of an arbiter cannot be broken after its window, to squeeze a node that nobody finalized yet", async () => {
    const { market, requester, arbiter, terms, claim, job, disputedAt } = await loadFixture(disputedResult);
    await at(disputedAt + ARBITER_WINDOW + 1);
    await expect(market.connect(arbiter).rule(terms, claim, 0n))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, disputedAt + ARBITER_WINDOW);
    await expect(market.connect(requester).dispute(terms, claim))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Disputed, State.Submitted);
  });

  it("of nobody but a node pays a bounty: whoever finalizes anything else gets nothing", async () => {
    const ends = [
      async () => {
        const on = await loadFixture(disputableResult);
        await at(on.submittedAt + CHALLENGE + 1);
        await on.market.connect(on.stranger).finalize(on.terms, on.claim);
        return on;
      },
      async () => {
        const on = await loadFixture(disputedResult);
        await at(on.disputedAt + ARBITER_WINDOW + 1);
        await on.market.connect(on.stranger).finalize(on.terms, on.claim);
        return on;
      },
      ...[Verdict.Stands, Verdict.Fails, Verdict.Void].map((verdict) => async () => {
        const on = await loadFixture(judgedResult);
        await on.verifier.set(Manner.Answers, verdict);
        await at(on.submittedAt + CHALLENGE + 1);
        await on.market.connect(on.stranger).finalize(on.terms, on.claim);
        return on;
      }),
    ];
    for (const end of ends) {
      const on = await end();
      expect(await on.market.balanceOf(on.stranger, on.token)).to.equal(0n);
      expect(await on.staking.owedTo(on.stranger, on.token)).to.equal(0n);
      await expectNothingLost(on);
    }
  });

  it("of a node pays the victim first: a bounty never cuts into the compensation", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, requester, stranger, sink } = on;
    // A tenth of a deposit of 69 is 6; of a bond of 10 that leaves 4, of which the bounty is 1.
    const request = on.request({ bond: 10n, bounty: 1n, compensationBps: 1000 });
    await matchJob(on, { request });
    const { matchedAt } = await market.replicaOf(termsFor(on, request, on.offer()).job.jobId, 0);
    await at(Number(matchedAt) + 301);
    await market.connect(stranger).finalize(termsFor(on, request, on.offer()), NO_CLAIM);
    expect(await staking.owedTo(requester, token)).to.equal(6n);
    expect(await staking.owedTo(stranger, token)).to.equal(1n);
    expect(await staking.owedTo(sink, token)).to.equal(3n);
    await expectNothingLost(on);
  });

  it("of a leased node gives its finalizer a flat sum, whatever was at stake", async () => {
    for (const added of [0, 100_000]) {
      const on = await startLease(await loadFixture(readyMarket));
      const { market, staking, token, requester, stranger, terms, matchedAt } = on;
      if (added > 0) await market.connect(requester).topUp(terms, added);
      await at(matchedAt + 2 * HEARTBEAT + 1);
      await market.connect(stranger).close(terms);
      expect(await staking.owedTo(stranger, token)).to.equal(100n);
      expect(await staking.owedTo(requester, token)).to.equal(COMPENSATION);
      await expectNothingLost(on);
    }
  });
});
