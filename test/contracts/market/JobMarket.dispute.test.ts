import { replicaCommitment, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import {
  arbitratedMarket,
  CHALLENGE,
  CLAIM,
  DEPOSIT,
  disputableResult,
  disputedResult,
  FEE,
  judgedResult,
  running,
} from "../support/disputes.ts";
import { addressOf, DOLLAR, matchJob, State, signRequest, submittedResult, termsFor } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

describe("JobMarket#dispute", () => {
  it("stops the settlement and takes the arbiter's fee in advance, to the last second of the challenge window", async () => {
    const on = await loadFixture(disputableResult);
    const { market, staking, token, requester, operator, terms, claim, job, submittedAt } = on;
    await at(submittedAt + CHALLENGE);
    await expect(market.connect(requester).dispute(terms, claim))
      .to.emit(market, "ReplicaDisputed")
      .withArgs(job, requester.address, 0, FEE);
    expect(await market.replicaOf(job, 0)).to.deep.equal([
      State.Disputed,
      BigInt(on.matchedAt),
      BigInt(submittedAt + CHALLENGE),
      replicaCommitment(terms, claim),
    ]);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - DEPOSIT - FEE);
    expect(await market.balanceOf(operator, token)).to.equal(0n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 1000n]);
    await expectNothingLost(on, DEPOSIT + FEE);
  });

  it("comes too late after the challenge window", async () => {
    const { market, requester, terms, claim, job, submittedAt } = await loadFixture(disputableResult);
    await at(submittedAt + CHALLENGE + 1);
    await expect(market.connect(requester).dispute(terms, claim))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, submittedAt + CHALLENGE);
  });

  it("is for a result that the verifier has not decided on, too", async () => {
    const on = await loadFixture(judgedResult);
    const { market, requester, terms, claim, job } = on;
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Judging);
    await market.connect(requester).dispute(terms, claim);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Disputed);
    await expectNothingLost(on, DEPOSIT + FEE);
  });

  it("is for whoever controls the requester, and for nobody else", async () => {
    const { market, identity, requester, operator, nodeKey, stranger, arbiter, heir, ...on } =
      await loadFixture(disputableResult);
    for (const other of [operator, nodeKey, stranger, arbiter]) {
      await expect(market.connect(other).dispute(on.terms, on.claim))
        .to.be.revertedWithCustomError(market, "NotRequester")
        .withArgs(on.job, other.address);
    }
    await identity.connect(requester).changeOwner(requester, heir);
    await expect(market.connect(requester).dispute(on.terms, on.claim))
      .to.be.revertedWithCustomError(market, "NotRequester")
      .withArgs(on.job, requester.address);
    await market.connect(heir).dispute(on.terms, on.claim);
    expect(await market.balanceOf(requester, on.token)).to.equal(100n * DOLLAR - DEPOSIT - FEE);
  });

  it("is not the payer's, who may only approve", async () => {
    const on = await loadFixture(arbitratedMarket);
    const { market, payer, requester, nodeKey } = on;
    const request = on.request({ payer: addressOf(payer) });
    await matchJob(on, { request, offers: [on.offer()], payerSignature: await signRequest(on, payer, request) });
    const terms = termsFor(on, request, on.offer());
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    await expect(market.connect(payer).dispute(terms, CLAIM))
      .to.be.revertedWithCustomError(market, "NotRequester")
      .withArgs(terms.job.jobId, payer.address);
    await market.connect(requester).dispute(terms, CLAIM);
    expect(await market.balanceOf(requester, on.token)).to.equal(100n * DOLLAR - FEE);
    expect(await market.balanceOf(payer, on.token)).to.equal(100n * DOLLAR - DEPOSIT);
    await expectNothingLost(on, DEPOSIT + FEE);
  });

  it("needs an arbiter", async () => {
    const { market, requester, terms, claim, job } = await loadFixture(submittedResult);
    await expect(market.connect(requester).dispute(terms, claim))
      .to.be.revertedWithCustomError(market, "NotArbiter")
      .withArgs(job, requester.address, ZERO_ADDRESS);
  });

  it("needs the fee on the requester's balance", async () => {
    const { market, token, requester, terms, claim, job, addresses } = await loadFixture(disputableResult);
    const rest = ((await market.balanceOf(requester, token)) as bigint) - FEE + 1n;
    await market.connect(requester).withdraw(requester, token, rest, requester);
    await expect(market.connect(requester).dispute(terms, claim))
      .to.be.revertedWithCustomError(market, "BalanceTooLow")
      .withArgs(requester.address, addresses.token, FEE - 1n, FEE);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Submitted);
  });

  it("needs a result, happens once, and leaves nothing to approve", async () => {
    const active = await running(await loadFixture(arbitratedMarket));
    await expect(active.market.connect(active.requester).dispute(active.terms, CLAIM))
      .to.be.revertedWithCustomError(active.market, "WrongState")
      .withArgs(active.job, 0, State.Active, State.Submitted);
    const { market, requester, terms, claim, job } = await loadFixture(disputedResult);
    for (const call of [
      market.connect(requester).dispute(terms, claim),
      market.connect(requester).approve(terms, claim),
    ]) {
      await expect(call)
        .to.be.revertedWithCustomError(market, "WrongState")
        .withArgs(job, 0, State.Disputed, State.Submitted);
    }
  });

  it("names the result that was submitted, under the terms that were matched", async () => {
    const { market, requester, terms, claim, job } = await loadFixture(disputableResult);
    const cheaper = { ...terms, job: { ...terms.job, arbiterFee: 0n } };
    for (const [named, claimed] of [
      [terms, { ...claim, charge: claim.charge + 1n }],
      [cheaper, claim],
    ] as const) {
      await expect(market.connect(requester).dispute(named, claimed))
        .to.be.revertedWithCustomError(market, "WrongClaim")
        .withArgs(job, 0);
    }
  });
});

describe("JobMarket#finalize, of a dispute", () => {
  it("pays the node and returns the fee when the arbiter was silent", async () => {
    const on = await loadFixture(disputedResult);
    const { market, staking, token, requester, operator, arbiter, stranger, terms, claim, job, disputedAt } = on;
    await at(disputedAt + 3600);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WindowOpen")
      .withArgs(job, 0, disputedAt + 3600);
    await at(disputedAt + 3601);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, claim.charge, DEPOSIT - claim.charge);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(claim.charge);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - claim.charge);
    expect(await market.balanceOf(arbiter, token)).to.equal(0n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("is the requester's own risk where the verifier had not decided: an arbiter's silence pays", async () => {
    const on = await loadFixture(judgedResult);
    const { market, token, requester, operator, terms, claim, submittedAt } = on;
    await market.connect(requester).dispute(terms, claim);
    await at(submittedAt + CHALLENGE + 3601);
    await market.finalize(terms, claim);
    expect(await market.balanceOf(operator, token)).to.equal(claim.charge);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - claim.charge);
    await expectNothingLost(on);
  });
});
