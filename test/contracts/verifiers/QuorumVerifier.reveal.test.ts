import { type Address, type JobId, quorumToData, SEAL_DOMAIN, ZERO_BYTES32 } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture } from "../support/actors.ts";
import { addressOf, State } from "../support/market.ts";
import {
  closesAt,
  commit,
  committed,
  finalize,
  hex,
  matchedQuorum,
  matchQuorum,
  openingOf,
  openReveal,
  QUORUM,
  type QuorumJobRun,
  quorumMarket,
  replicaAt,
  reveal,
  sealed,
  stateOf,
  Verdict,
  verdictOf,
} from "./support.ts";

const digest = (output: string) => ethers.dataSlice(hex(output), 0, 24);
const NOTHING = `0x${"0".repeat(48)}`;
const job = (on: QuorumJobRun) => replicaAt(on, 0).terms.job;

describe("QuorumVerifier#reveal", () => {
  it("opens a seal, whoever carries it, and says where the requester finds the result", async () => {
    const on = await loadFixture(openReveal);
    expect(await on.quorum.digestOf(on.job, 0)).to.equal(NOTHING);
    await expect(reveal(on, 0))
      .to.emit(on.quorum, "Revealed")
      .withArgs(on.job, on.operator.address, 0, hex("same"), hex("record 0"));
    expect(await on.quorum.digestOf(on.job, 0)).to.equal(digest("same"));
    expect(await on.quorum.digestOf(on.job, 1)).to.equal(NOTHING);
  });

  it("opens several seals of a job at once, and passes over those that are open", async () => {
    const on = await loadFixture(openReveal);
    await reveal(on, 1);
    const sent = reveal(on, 2, 1, 0);
    for (const i of [0, 2]) {
      await expect(sent)
        .to.emit(on.quorum, "Revealed")
        .withArgs(on.job, replicaAt(on, i).operator.address, i, hex(i === 2 ? "other" : "same"), hex(`record ${i}`));
    }
    const receipt = await (await sent).wait();
    expect(receipt?.logs).to.have.length(2);
    for (const [i, output] of ["same", "same", "other"].entries()) {
      expect(await on.quorum.digestOf(on.job, i)).to.equal(digest(output));
    }
  });

  it("keeps as many outputs apart as there are replicas", async () => {
    const market = await loadFixture(quorumMarket);
    const verifierData = quorumToData({ ...QUORUM, agreeing: 3 });
    const on = await matchQuorum(market, market.quorumRequest({ replicas: 5, verifierData }));
    for (const i of [0, 1, 2, 3, 4]) await commit(on, i, `output ${i % 4}`);
    await at(closesAt(on));
    await reveal(on, 4, 3, 2, 1, 0);
    for (const i of [0, 1, 2, 3, 4]) expect(await on.quorum.digestOf(on.job, i)).to.equal(digest(`output ${i % 4}`));
    for (const i of [5, 15, 16, 65_535]) expect(await on.quorum.digestOf(on.job, i)).to.equal(NOTHING);
  });

  it("opens when nobody can commit any more and the last commit is deep", async () => {
    const on = await loadFixture(matchedQuorum);
    for (const i of [0, 1]) {
      await at(on.matchedAt + 20 + i);
      await commit(on, i, "same");
    }
    const commitsUntil = on.matchedAt + 300;
    expect(await on.quorum.revealWindow(job(on))).to.deep.equal([
      BigInt(commitsUntil + 30),
      BigInt(commitsUntil + 150),
    ]);
    await at(on.matchedAt + 60);
    await expect(reveal(on, 0))
      .to.be.revertedWithCustomError(on.quorum, "RevealNotOpen")
      .withArgs(on.job, commitsUntil + QUORUM.confirmSeconds);

    await at(on.matchedAt + 100);
    await commit(on, 2, "other");
    expect(await on.quorum.revealWindow(job(on))).to.deep.equal([
      BigInt(on.matchedAt + 130),
      BigInt(commitsUntil + 150),
    ]);
    await at(on.matchedAt + 130);
    await expect(reveal(on, 0))
      .to.be.revertedWithCustomError(on.quorum, "RevealNotOpen")
      .withArgs(on.job, on.matchedAt + 130);
    await at(on.matchedAt + 131);
    await reveal(on, 0);
    expect(await on.quorum.digestOf(on.job, 0)).to.equal(digest("same"));
  });

  it("does not wait for a node that gave its replica back", async () => {
    const on = await loadFixture(matchedQuorum);
    await on.market.connect(replicaAt(on, 2).key).decline(replicaAt(on, 2).terms, 2);
    for (const i of [0, 1]) {
      await at(on.matchedAt + 20 + i);
      await commit(on, i, "same");
    }
    await at(on.matchedAt + 21 + 31);
    await reveal(on, 0);
    await reveal(on, 1);
    expect(await verdictOf(on, 1)).to.equal(Verdict.Stands);
  });

  it("opens without the silent when the submit window has passed, and closes after the last second", async () => {
    const on = await loadFixture(matchedQuorum);
    await commit(on, 0, "same");
    await commit(on, 1, "same");
    await at(on.matchedAt + 330);
    await expect(reveal(on, 0))
      .to.be.revertedWithCustomError(on.quorum, "RevealNotOpen")
      .withArgs(on.job, on.matchedAt + 330);
    await at(on.matchedAt + 331);
    await reveal(on, 0);
    await at(on.matchedAt + 451);
    await expect(reveal(on, 1))
      .to.be.revertedWithCustomError(on.quorum, "RevealClosed")
      .withArgs(on.job, on.matchedAt + 450);
  });

  it("takes a seal in the very last second", async () => {
    const on = await loadFixture(openReveal);
    await at(closesAt(on));
    await reveal(on, 1);
    expect(await on.quorum.digestOf(on.job, 1)).to.equal(digest("same"));
  });

  it("refuses another output, record or salt than the one committed to", async () => {
    const on = await loadFixture(openReveal);
    for (const changed of [{ outputDigest: hex("other") }, { resultHash: hex("x") }, { salt: hex("x") }]) {
      await expect(on.quorum.reveal(job(on), [openingOf(on, 0, changed)]))
        .to.be.revertedWithCustomError(on.quorum, "WrongSeal")
        .withArgs(on.job, 0);
    }
    expect(await on.quorum.digestOf(on.job, 0)).to.equal(NOTHING);
  });

  it("makes a copied seal worthless: it does not open for another replica", async () => {
    const on = await loadFixture(matchedQuorum);
    await commit(on, 0, "same");
    await commit(on, 1, "same");
    const thief = replicaAt(on, 2);
    const { claim, opening } = sealed(on, 0, "same");
    await on.market.connect(thief.key).submit(thief.terms, claim, "0x");
    [thief.claim, thief.opening] = [claim, opening];
    await at(closesAt(on));
    await reveal(on, 0, 1);
    await expect(reveal(on, 2)).to.be.revertedWithCustomError(on.quorum, "WrongSeal").withArgs(on.job, 2);
    await at(closesAt(on) + 1);
    await finalize(on, 2);
    expect(await stateOf(on, 2)).to.equal(State.Refunded);
    expect((await on.staking.stakeOf(thief.operator, on.token)).locked).to.equal(0n);
    expect(await on.staking.owedTo(on.sink, on.token)).to.equal(1000n);
  });

  it("refuses what the market does not hold: other terms, another claim, no result", async () => {
    const on = await loadFixture(openReveal);
    const opening = openingOf(on, 0);
    const others = [
      { ...opening, claim: { ...opening.claim, charge: 6n } },
      { ...opening, claim: { ...opening.claim, resultBytes: 1n } },
      { ...opening, assignment: { ...opening.assignment, operator: addressOf(on.stranger) } },
    ];
    for (const other of others) {
      await expect(on.quorum.reveal(job(on), [other]))
        .to.be.revertedWithCustomError(on.quorum, "NotCommitted")
        .withArgs(on.job, 0);
    }
    await expect(on.quorum.reveal({ ...job(on), submitWindow: 1 }, [opening]))
      .to.be.revertedWithCustomError(on.quorum, "NotCommitted")
      .withArgs(on.job, 0);

    const fresh = await loadFixture(matchedQuorum);
    const { claim, opening: hidden } = sealed(fresh, 0, "same");
    await expect(
      fresh.quorum.reveal(job(fresh), [{ assignment: replicaAt(fresh, 0).terms.assignment, claim, ...hidden }]),
    )
      .to.be.revertedWithCustomError(fresh.quorum, "NotCommitted")
      .withArgs(fresh.job, 0);
  });

  it("refuses all of a batch in which one seal is wrong, and does nothing with none", async () => {
    const on = await loadFixture(openReveal);
    const wrong = openingOf(on, 1, { salt: hex("x") });
    await expect(on.quorum.reveal(job(on), [openingOf(on, 0), wrong]))
      .to.be.revertedWithCustomError(on.quorum, "WrongSeal")
      .withArgs(on.job, 1);
    const receipt = await (await on.quorum.reveal(job(on), [])).wait();
    expect(receipt.logs).to.have.length(0);
    expect(await on.quorum.digestOf(on.job, 0)).to.equal(NOTHING);
  });

  it("refuses the jobs of other verifiers", async () => {
    const on = await loadFixture(quorumMarket);
    const run = await matchQuorum(on, on.quorumRequest({ verifier: `0x${"0".repeat(40)}`, challengeWindow: 600 }));
    await commit(run, 0, "same");
    await expect(reveal(run, 0))
      .to.be.revertedWithCustomError(on.quorum, "OtherVerifier")
      .withArgs(run.job, ethers.ZeroAddress);
  });

  it("refuses a job whose quorum has a flaw", async () => {
    const on = await loadFixture(quorumMarket);
    const run = await matchQuorum(on, on.quorumRequest({ compensationBps: 100 }));
    for (const i of [0, 1, 2]) await commit(run, i, "same");
    await at(closesAt(run));
    await expect(reveal(run, 0)).to.be.revertedWithCustomError(on.quorum, "UnsoundQuorum").withArgs(run.job, 5);
  });

  it("counts a replica that its requester approved or disputed before the reveal", async () => {
    const on = await loadFixture(quorumMarket);
    const arbiter = addressOf(on.arbiter);
    for (const { operator } of on.nodes) await on.market.connect(operator).setAccepted(operator, [arbiter], true);
    const request = on.quorumRequest({ arbiter, arbiterFee: 10n, challengeWindow: 450 });
    const run = await matchQuorum(on, request);
    for (const i of [0, 1, 2]) await commit(run, i, "same");
    const [approved, disputed] = [committed(run, 0), committed(run, 1)];
    await on.market.connect(on.requester).approve(approved.terms, approved.claim);
    await at(run.matchedAt + 200);
    await on.market.connect(on.requester).dispute(disputed.terms, disputed.claim);
    // The dispute made replica 1 look younger, and still the reveal opens in time.
    expect((await on.quorum.revealWindow(job(run)))[0]).to.equal(BigInt(run.matchedAt + 230));
    await at(run.matchedAt + 231);
    await reveal(run, 0, 1);
    expect([await stateOf(run, 0), await stateOf(run, 1)]).to.deep.equal([State.Settled, State.Disputed]);
    await reveal(run, 2);
    expect(await verdictOf(run, 2)).to.equal(Verdict.Stands);
    await at(Number((await on.market.replicaOf(run.job, 2)).lastAt) + 451);
    await finalize(run, 2);
    expect(await stateOf(run, 2)).to.equal(State.Settled);
  });

  it("is not held up by a dispute past the end of the submit window", async () => {
    const on = await loadFixture(quorumMarket);
    const arbiter = addressOf(on.arbiter);
    for (const { operator } of on.nodes) await on.market.connect(operator).setAccepted(operator, [arbiter], true);
    const run = await matchQuorum(on, on.quorumRequest({ arbiter, challengeWindow: 450 }));
    for (const i of [0, 1, 2]) await commit(run, i, "same");
    await at(run.matchedAt + 320);
    const { terms, claim } = committed(run, 1);
    await on.market.connect(on.requester).dispute(terms, claim);
    expect((await on.quorum.revealWindow(job(run)))[0]).to.equal(BigInt(run.matchedAt + 330));
  });
});

describe("QuorumVerifier#sealOf", () => {
  it("gives the seal that programs make, bound to job, replica and operator", async () => {
    const on = await loadFixture(matchedQuorum);
    const { claim, opening } = sealed(on, 1, "output");
    const { outputDigest, resultHash, salt } = opening;
    const seal = (jobId: JobId, replica: number, operator: Address) =>
      on.quorum.sealOf(jobId, replica, operator, outputDigest, resultHash, salt);
    const operator = addressOf(on.otherOperator);
    expect(await seal(on.job, 1, operator)).to.equal(claim.resultHash);
    expect(await seal(on.job, 2, operator)).not.to.equal(claim.resultHash);
    expect(await seal(on.job, 1, addressOf(on.operator))).not.to.equal(claim.resultHash);
    expect(await seal(ZERO_BYTES32 as JobId, 1, operator)).not.to.equal(claim.resultHash);
    expect(await on.quorum.SEAL_DOMAIN()).to.equal(SEAL_DOMAIN);
    expect(await on.quorum.market()).to.equal(on.addresses.market);
  });
});
