// What a verifier says, and what happens when it says nothing or something that means nothing.
import { replicaCommitment } from "@berth/protocol";
import { expect } from "chai";
import { at, loadFixture, time } from "../support/actors.ts";
import {
  ARBITER_WINDOW,
  BOND,
  CHALLENGE,
  CLAIM,
  DEPOSIT,
  judgedResult,
  Manner,
  running,
  Verdict,
  verifiedMarket,
} from "../support/disputes.ts";
import { DOLLAR, Reason, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const STAKED = 10n * DOLLAR;
/** Every way of not saying anything: its name, and what the verifier does. */
const SILENCES: [string, (typeof Manner)["Answers"], bigint][] = [
  ["says that it does not know yet", Manner.Answers, Verdict.Pending],
  ["says something that means nothing", Manner.Answers, 4n],
  ["says it with a stray bit", Manner.Answers, (1n << 255n) + Verdict.Stands],
  ["reverts", Manner.Reverts, Verdict.Stands],
  ["burns all its gas", Manner.Burns, Verdict.Stands],
  ["answers with less than a word", Manner.Mumbles, Verdict.Stands],
  ["answers with a megabyte", Manner.Bombs, Verdict.Stands],
];

describe("JobMarket#submit, with a verifier", () => {
  for (const manner of [Manner.Answers, Manner.Floods]) {
    it(`stands unless disputed when the verifier says so${manner === Manner.Floods ? ", however much more it says" : ""}`, async () => {
      const on = await running(await loadFixture(verifiedMarket));
      const { market, verifier, operator, nodeKey, terms, job, matchedAt } = on;
      await verifier.set(manner, Verdict.Stands);
      await at(matchedAt + 50);
      await expect(market.connect(nodeKey).submit(terms, CLAIM, "0x"))
        .to.emit(market, "ResultSubmitted")
        .withArgs(job, operator.address, 0, false, [CLAIM.resultHash, CLAIM.resultBytes, CLAIM.charge]);
      const commitment = replicaCommitment(terms, CLAIM);
      const times = [BigInt(matchedAt), BigInt(matchedAt + 50)];
      expect(await market.replicaOf(job, 0)).to.deep.equal([State.Submitted, ...times, commitment]);
      await expectNothingLost(on, DEPOSIT);
    });
  }

  it("settles at once when the verifier says that it stands and nobody may challenge it", async () => {
    const on = await instantJob();
    const { market, staking, token, verifier, operator, requester, nodeKey, terms, job } = on;
    await verifier.set(Manner.Answers, Verdict.Stands);
    await expect(market.connect(nodeKey).submit(terms, CLAIM, "0x"))
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, CLAIM.charge, DEPOSIT - CLAIM.charge);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - CLAIM.charge);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    await expectNothingLost(on);
  });

  for (const verdict of [Verdict.Fails, Verdict.Void]) {
    it(`refuses a result of which the verifier says ${verdict === Verdict.Fails ? "that it fails" : "that nobody can say"}: the node may try again`, async () => {
      const on = await running(await loadFixture(verifiedMarket));
      const { market, verifier, verifierAddress, nodeKey, terms, job } = on;
      await verifier.set(Manner.Answers, verdict);
      await expect(market.connect(nodeKey).submit(terms, CLAIM, "0x"))
        .to.be.revertedWithCustomError(market, "ResultRefused")
        .withArgs(job, 0, verifierAddress);
      expect((await market.replicaOf(job, 0)).state).to.equal(State.Active);
      await verifier.set(Manner.Answers, Verdict.Stands);
      await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    });
  }

  for (const [what, manner, word] of SILENCES) {
    it(`waits for a verifier that ${what}: it neither pays nor refuses`, async () => {
      const on = await instantJob();
      const { market, verifier, operator, nodeKey, terms, job } = on;
      await verifier.set(manner, word);
      await expect(market.connect(nodeKey).submit(terms, CLAIM, "0x"))
        .to.emit(market, "ResultSubmitted")
        .withArgs(job, operator.address, 0, true, [CLAIM.resultHash, CLAIM.resultBytes, CLAIM.charge]);
      const replica = await market.replicaOf(job, 0);
      expect(replica.state).to.equal(State.Judging);
      expect(replica.commitment).to.equal(replicaCommitment(terms, CLAIM));
      expect((await market.useOf(operator, 0)).active).to.equal(0n);
      await expectNothingLost(on, DEPOSIT);
    });
  }

  it("waits for a verifier without code as well", async () => {
    const on = await loadFixture(verifiedMarket);
    const nobody = on.stranger.address as `0x${string}`;
    await on.market.connect(on.operator).setAccepted(on.operator, [nobody], true);
    const { market, nodeKey, terms, job } = await running(
      { ...on, offer: (replaced = {}) => on.offer({ ...replaced, verifier: nobody }) },
      { verifier: nobody },
    );
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Judging);
  });
});

describe("JobMarket#finalize, while the verifier has not said that the result stands", () => {
  it("asks again once the challenge window has passed, and pays what stands", async () => {
    const on = await loadFixture(judgedResult);
    const { market, staking, token, verifier, requester, operator, stranger, terms, claim, job, submittedAt } = on;
    await verifier.set(Manner.Answers, Verdict.Stands);
    await at(submittedAt + CHALLENGE);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WindowOpen")
      .withArgs(job, 0, submittedAt + CHALLENGE);
    await at(submittedAt + CHALLENGE + 1);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, claim.charge, DEPOSIT - claim.charge);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - claim.charge);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    await expectNothingLost(on);
  });

  it("refunds what fails, and the whole bond goes to the sink: nobody earns by it", async () => {
    const on = await loadFixture(judgedResult);
    const { market, staking, token, verifier, requester, operator, stranger, sink, terms, claim, job } = on;
    await verifier.set(Manner.Answers, Verdict.Fails);
    await at(on.submittedAt + CHALLENGE + 1);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, DEPOSIT, BOND, Reason.Refused);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED - BOND, 0n]);
    expect(await staking.owedTo(sink, token)).to.equal(BOND);
    for (const nobody of [requester, stranger]) expect(await staking.owedTo(nobody, token)).to.equal(0n);
    await expectNothingLost(on);
  });

  it("refunds what fails where no bond was asked for, and slashes nothing", async () => {
    const bare = { arbiter: `0x${"0".repeat(40)}`, arbiterFee: 0n, bond: 0n } as const;
    const on = await running(await loadFixture(verifiedMarket), bare);
    const { market, staking, token, verifier, requester, operator, nodeKey, terms, job } = on;
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    await verifier.set(Manner.Answers, Verdict.Fails);
    await at((await time.latest()) + CHALLENGE + 1);
    const finalized = await market.finalize(terms, CLAIM);
    await expect(finalized)
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, DEPOSIT, 0, Reason.Refused);
    await expect(finalized).not.to.emit(staking, "Slashed");
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    await expectNothingLost(on);
  });

  it("refunds what nobody can judge, and the bond is free again at once", async () => {
    const on = await loadFixture(judgedResult);
    const { market, staking, token, verifier, requester, operator, terms, claim, job } = on;
    await verifier.set(Manner.Answers, Verdict.Void);
    await at(on.submittedAt + CHALLENGE + 1);
    await expect(market.finalize(terms, claim))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, DEPOSIT, 0, Reason.Undecided);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
    await expectNothingLost(on);
  });

  for (const [what, manner, word] of SILENCES) {
    it(`waits through the arbiter's window for a verifier that ${what}, then refunds without a slash`, async () => {
      const on = await loadFixture(judgedResult);
      const { market, staking, token, verifier, requester, operator, stranger, terms, claim, job } = on;
      await verifier.set(manner, word);
      const last = on.submittedAt + CHALLENGE + ARBITER_WINDOW;
      await at(last);
      await expect(market.connect(stranger).finalize(terms, claim))
        .to.be.revertedWithCustomError(market, "WindowOpen")
        .withArgs(job, 0, last);
      await at(last + 1);
      await expect(market.connect(stranger).finalize(terms, claim))
        .to.emit(market, "ReplicaRefunded")
        .withArgs(job, operator.address, 0, DEPOSIT, 0, Reason.Undecided);
      expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
      expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
      expect(await market.balanceOf(operator, token)).to.equal(0n);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([STAKED, 0n]);
      await expectNothingLost(on);
    });
  }

  it("pays a verdict that comes late, as long as nobody has finalized", async () => {
    const on = await loadFixture(judgedResult);
    await at(on.submittedAt + CHALLENGE + ARBITER_WINDOW + 1000);
    await on.verifier.set(Manner.Answers, Verdict.Stands);
    await on.market.finalize(on.terms, on.claim);
    expect(await on.market.balanceOf(on.operator, on.token)).to.equal(on.claim.charge);
    await expectNothingLost(on);
  });

  it("settles without the verifier when the requester approves", async () => {
    const on = await loadFixture(judgedResult);
    const { market, token, operator, requester, terms, claim, job } = on;
    await market.connect(requester).approve(terms, claim);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(claim.charge);
    await expectNothingLost(on);
  });

  it("judges the result that was submitted, and a replica ends once", async () => {
    const on = await loadFixture(judgedResult);
    const { market, verifier, terms, claim, job } = on;
    await verifier.set(Manner.Answers, Verdict.Stands);
    await at(on.submittedAt + CHALLENGE + 1);
    await expect(market.finalize(terms, { ...claim, charge: 1n }))
      .to.be.revertedWithCustomError(market, "WrongClaim")
      .withArgs(job, 0);
    await market.finalize(terms, claim);
    await expect(market.finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Submitted);
  });
});

/** A job whose result is paid in the transaction that brings it, if its verifier says that it stands. */
async function instantJob() {
  const on = await loadFixture(verifiedMarket);
  const bare = { arbiter: `0x${"0".repeat(40)}`, arbiterFee: 0n } as const;
  return running(
    { ...on, offer: (replaced = {}) => on.offer({ ...replaced, ...bare }) },
    { ...bare, challengeWindow: 0 },
  );
}
