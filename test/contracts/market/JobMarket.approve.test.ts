import { replicaCommitment } from "@berth/protocol";
import { expect } from "chai";
import { loadFixture, time } from "../support/actors.ts";
import {
  addressOf,
  DOLLAR,
  matchJob,
  NO_CLAIM,
  readyMarket,
  runningJob,
  State,
  signRequest,
  submittedResult,
  termsFor,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

describe("JobMarket#approve", () => {
  it("pays the claimed charge at once and returns the rest and the bond", async () => {
    const on = await loadFixture(submittedResult);
    const { market, staking, token, requester, operator, terms, claim, job, held, matchedAt, submittedAt } = on;
    await expect(market.connect(requester).approve(terms, claim))
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, 40, held - 40n);
    expect(await market.replicaOf(job, 0)).to.deep.equal([
      State.Settled,
      BigInt(matchedAt),
      BigInt(submittedAt),
      replicaCommitment(terms, claim),
    ]);
    expect(await market.balanceOf(operator, token)).to.equal(40n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 40n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("is for the requester and for the payer", async () => {
    const on = await loadFixture(submittedResult);
    const { market, operator, nodeKey, terms, claim, job } = on;
    for (const other of [operator, nodeKey]) {
      await expect(market.connect(other).approve(terms, claim))
        .to.be.revertedWithCustomError(market, "NotRequester")
        .withArgs(job, other.address);
    }

    const paid = await loadFixture(readyMarket);
    const request = paid.request({ payer: addressOf(paid.payer) });
    await matchJob(paid, { request, payerSignature: await signRequest(paid, paid.payer, request) });
    const paidTerms = termsFor(paid, request, paid.offer());
    await time.increase(50);
    await paid.market.connect(nodeKey).submit(paidTerms, claim, "0x");
    await paid.market.connect(paid.payer).approve(paidTerms, claim);
    expect(await paid.market.balanceOf(paid.payer, paid.token)).to.equal(100n * DOLLAR - 40n);
    expect(await paid.market.balanceOf(paid.requester, paid.token)).to.equal(100n * DOLLAR);
    await expectNothingLost(paid);
  });

  it("refuses another claim than the one submitted", async () => {
    const { market, requester, terms, claim, job } = await loadFixture(submittedResult);
    for (const other of [NO_CLAIM, { ...claim, charge: 39n }, { ...claim, resultBytes: 513n }]) {
      await expect(market.connect(requester).approve(terms, other))
        .to.be.revertedWithCustomError(market, "WrongClaim")
        .withArgs(job, 0);
    }
  });

  it("refuses other terms than the match came to", async () => {
    const { market, requester, terms, claim, job } = await loadFixture(submittedResult);
    for (const other of [
      { ...terms, job: { ...terms.job, maxSeconds: 61 } },
      { ...terms, assignment: { ...terms.assignment, baseCharge: 6n } },
    ]) {
      await expect(market.connect(requester).approve(other, claim))
        .to.be.revertedWithCustomError(market, "WrongClaim")
        .withArgs(job, 0);
    }
  });

  it("needs a result, and happens once", async () => {
    const running = await loadFixture(runningJob);
    await expect(running.market.connect(running.requester).approve(running.terms, NO_CLAIM))
      .to.be.revertedWithCustomError(running.market, "WrongState")
      .withArgs(running.job, 0, State.Active, State.Submitted);
    const { market, requester, terms, claim, job } = await loadFixture(submittedResult);
    await market.connect(requester).approve(terms, claim);
    await expect(market.connect(requester).approve(terms, claim))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Submitted);
  });
});
