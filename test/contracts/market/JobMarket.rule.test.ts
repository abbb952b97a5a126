import type { Claim } from "@berth/protocol";
import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import {
  ARBITER_WINDOW,
  arbitratedMarket,
  BOND,
  CLAIM,
  COMPENSATION,
  DEPOSIT,
  disputable,
  disputableResult,
  disputedResult,
  FEE,
  running,
} from "../support/disputes.ts";
import { addressOf, DOLLAR, matchJob, State, signRequest, termsFor } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const STAKED = 10n * DOLLAR;

describe("JobMarket#rule", () => {
  it("awards the whole charge to a node that was right: the requester loses the fee", async () => {
    const on = await loadFixture(disputedResult);
    const { market, staking, token, requester, operator, arbiter, sink, terms, claim, job } = on;
    await at(on.disputedAt + ARBITER_WINDOW);
    const ruling = market.connect(arbiter).rule(terms, claim, claim.charge);
    await expect(ruling).to.emit(market, "ReplicaRuled").withArgs(job, arbiter.address, 0, claim.charge, 0);
    await expect(ruling)
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, claim.charge, DEPOSIT - claim.charge);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(claim.charge);
    expect(await market.balanceOf(arbiter, token)).to.equal(FEE);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - claim.charge - FEE);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    for (const nobody of [requester, arbiter, sink]) expect(await staking.owedTo(nobody, token)).to.equal(0n);
    await expectNothingLost(on);
  });

  it("denies everything: the whole bond goes, to the fee, the payer and the sink", async () => {
    const on = await loadFixture(disputedResult);
    const { market, staking, token, requester, operator, arbiter, sink, terms, claim, job } = on;
    const ruling = market.connect(arbiter).rule(terms, claim, 0n);
    await expect(ruling).to.emit(market, "ReplicaRuled").withArgs(job, arbiter.address, 0, 0, BOND);
    await expect(ruling).to.emit(market, "ReplicaSettled").withArgs(job, operator.address, 0, 0, DEPOSIT);
    await expect(ruling).to.emit(staking, "Slashed").withArgs(operator.address, on.addresses.token, BOND, BOND);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(0n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await market.balanceOf(arbiter, token)).to.equal(0n);
    expect(await staking.owedTo(requester, token)).to.equal(COMPENSATION);
    expect(await staking.owedTo(arbiter, token)).to.equal(FEE);
    expect(await staking.owedTo(sink, token)).to.equal(BOND - FEE - COMPENSATION);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - BOND, 0n]);
    await expectNothingLost(on);
  });

  it("awards a part: the bond is slashed in proportion to what was denied", async () => {
    const on = await loadFixture(disputedResult);
    const { market, staking, token, requester, operator, arbiter, sink, terms, claim, job } = on;
    const fault = 375n; // of 1,000, as 300 of 800 were denied
    const ruling = market.connect(arbiter).rule(terms, claim, 500n);
    await expect(ruling).to.emit(market, "ReplicaRuled").withArgs(job, arbiter.address, 0, 500, fault);
    await expect(ruling)
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, 500, DEPOSIT - 500n);
    await expect(ruling).to.emit(staking, "Slashed").withArgs(operator.address, on.addresses.token, BOND, fault);
    expect(await market.balanceOf(operator, token)).to.equal(500n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 500n);
    expect(await staking.owedTo(requester, token)).to.equal(COMPENSATION);
    expect(await staking.owedTo(arbiter, token)).to.equal(FEE);
    expect(await staking.owedTo(sink, token)).to.equal(fault - FEE - COMPENSATION);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - fault, 0n]);
    await expectNothingLost(on);
  });

  it("takes at least the fee from a node that was wrong by a little, and the payer gets what is left over", async () => {
    for (const [award, fault] of [
      [799n, FEE], // an eight-hundredth of the bond would be 1
      [688n, 140n],
    ] as const) {
      const on = await loadFixture(disputedResult);
      const { market, staking, token, requester, operator, arbiter, sink, terms, claim } = on;
      await market.connect(arbiter).rule(terms, claim, award);
      expect(await staking.owedTo(arbiter, token)).to.equal(FEE);
      expect(await staking.owedTo(requester, token)).to.equal(fault - FEE);
      expect(await staking.owedTo(sink, token)).to.equal(0n);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - fault, 0n]);
      expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - award);
      await expectNothingLost(on);
    }
  });

  it("compensates the payer and returns the fee to the requester who advanced it", async () => {
    const on = await loadFixture(arbitratedMarket);
    const { market, staking, token, requester, payer, nodeKey, arbiter } = on;
    const request = on.request({ payer: addressOf(payer) });
    await matchJob(on, { request, offers: [on.offer()], payerSignature: await signRequest(on, payer, request) });
    const terms = termsFor(on, request, on.offer());
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    await market.connect(requester).dispute(terms, CLAIM);
    await market.connect(arbiter).rule(terms, CLAIM, 0n);
    for (const one of [requester, payer]) expect(await market.balanceOf(one, token)).to.equal(100n * DOLLAR);
    expect(await staking.owedTo(payer, token)).to.equal(COMPENSATION);
    expect(await staking.owedTo(requester, token)).to.equal(0n);
    await expectNothingLost(on);
  });

  it("finds no fault in a node that charged nothing", async () => {
    const free: Claim = { ...CLAIM, charge: 0n };
    const on = await disputable(free);
    const { market, staking, token, requester, operator, arbiter, terms, job } = on;
    await market.connect(requester).dispute(terms, free);
    await expect(market.connect(arbiter).rule(terms, free, 0n))
      .to.emit(market, "ReplicaRuled")
      .withArgs(job, arbiter.address, 0, 0, 0);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    expect(await market.balanceOf(arbiter, token)).to.equal(FEE);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - FEE);
    await expectNothingLost(on);
  });

  it("works without a bond and so without a fee", async () => {
    const on = await loadFixture(arbitratedMarket);
    const offer = (replaced = {}) => on.offer({ arbiterFee: 0n, ...replaced });
    const bare = await running({ ...on, offer }, { bond: 0n, arbiterFee: 0n });
    const { market, staking, token, requester, operator, arbiter, nodeKey, terms, job } = bare;
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    await market.connect(requester).dispute(terms, CLAIM);
    await expect(market.connect(arbiter).rule(terms, CLAIM, 300n))
      .to.emit(market, "ReplicaRuled")
      .withArgs(job, arbiter.address, 0, 300, 0);
    expect(await market.balanceOf(operator, token)).to.equal(300n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    await expectNothingLost(bare);
  });

  it("is the arbiter's alone", async () => {
    const { market, requester, operator, nodeKey, guardian, terms, claim, job, arbiter } =
      await loadFixture(disputedResult);
    for (const other of [requester, operator, nodeKey, guardian]) {
      await expect(market.connect(other).rule(terms, claim, 0n))
        .to.be.revertedWithCustomError(market, "NotArbiter")
        .withArgs(job, other.address, arbiter.address);
    }
  });

  it("comes too late after the arbiter's window", async () => {
    const { market, arbiter, terms, claim, job, disputedAt } = await loadFixture(disputedResult);
    await at(disputedAt + ARBITER_WINDOW + 1);
    await expect(market.connect(arbiter).rule(terms, claim, 0n))
      .to.be.revertedWithCustomError(market, "WindowClosed")
      .withArgs(job, 0, disputedAt + ARBITER_WINDOW);
  });

  it("awards at most what was claimed", async () => {
    const { market, arbiter, terms, claim, job } = await loadFixture(disputedResult);
    await expect(market.connect(arbiter).rule(terms, claim, claim.charge + 1n))
      .to.be.revertedWithCustomError(market, "AwardTooHigh")
      .withArgs(job, 0, claim.charge + 1n, claim.charge);
  });

  it("needs a dispute, and ends it once", async () => {
    const on = await loadFixture(disputableResult);
    await expect(on.market.connect(on.arbiter).rule(on.terms, on.claim, 0n))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(on.job, 0, State.Submitted, State.Disputed);
    const { market, arbiter, stranger, terms, claim, job, disputedAt } = await loadFixture(disputedResult);
    await market.connect(arbiter).rule(terms, claim, 0n);
    await expect(market.connect(arbiter).rule(terms, claim, claim.charge))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Disputed);
    await at(disputedAt + ARBITER_WINDOW + 1);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Submitted);
  });

  it("names the result that was submitted", async () => {
    const { market, arbiter, terms, claim, job } = await loadFixture(disputedResult);
    await expect(market.connect(arbiter).rule(terms, { ...claim, charge: claim.charge - 1n }, 0n))
      .to.be.revertedWithCustomError(market, "WrongClaim")
      .withArgs(job, 0);
  });
});
