import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import { DOLLAR, Reason, runningJob, State, submittedResult } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

describe("JobMarket#decline", () => {
  it("gives everything back and takes no bond", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, requester, operator, nodeKey, terms, job, held, matchedAt } = on;
    await at(matchedAt + 30);
    await expect(market.connect(nodeKey).decline(terms))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, held, 0, 0, Reason.Declined);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, true]);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    await expectNothingLost(on);
  });

  it("ends with the accept window", async () => {
    const { market, nodeKey, terms, job, matchedAt } = await loadFixture(runningJob);
    await at(matchedAt + 31);
    await expect(market.connect(nodeKey).decline(terms))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, matchedAt + 30);
  });

  it("is for the node and its operator's controller", async () => {
    const { market, operator, requester, terms } = await loadFixture(runningJob);
    await expect(market.connect(requester).decline(terms))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, requester.address);
    await market.connect(operator).decline(terms);
  });

  it("refuses other terms, a second time, and a replica with a result", async () => {
    const { market, nodeKey, terms, job } = await loadFixture(runningJob);
    const cheaper = { ...terms, offer: { ...terms.offer, baseCharge: 4n } };
    for (const [other, replica] of [
      [cheaper, 0],
      [{ ...terms, replica: 1 }, 1],
    ] as const) {
      await expect(market.connect(nodeKey).decline(other))
        .to.be.revertedWithCustomError(market, "WrongTerms")
        .withArgs(job, replica);
    }
    await market.connect(nodeKey).decline(terms);
    await expect(market.connect(nodeKey).decline(terms))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Refunded, State.Active);
    const submitted = await loadFixture(submittedResult);
    await expect(submitted.market.connect(submitted.nodeKey).decline(submitted.terms))
      .to.be.revertedWithCustomError(submitted.market, "WrongState")
      .withArgs(submitted.job, 0, State.Submitted, State.Active);
  });
});
