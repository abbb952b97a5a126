import { type Address, type Job, MAX_QUORUM_REPLICAS, quorumFlaw, quorumFlaws, quorumToData } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { at, loadFixture } from "../support/actors.ts";
import { addressOf, DOLLAR, NO_CLAIM, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";
import {
  closesAt,
  commit,
  finalize,
  finalizeItem,
  matchedQuorum,
  matchQuorum,
  openReveal,
  QUORUM,
  type QuorumJobRun,
  quorumMarket,
  replicaAt,
  reveal,
  stateOf,
  Verdict,
  verdictOf,
} from "./support.ts";

/** Operators beyond the named actors. */
const others = (on: QuorumJobRun) => on.nodes.slice(2).map(({ operator }) => operator.address);
const lockedOf = async (on: QuorumJobRun, i: number) =>
  (await on.staking.stakeOf(replicaAt(on, i).operator, on.token)).locked as bigint;
const verdicts = (on: QuorumJobRun) => Promise.all(on.replicas.map((_, i) => verdictOf(on, i)));
const { Pending, Stands, Fails, Void } = Verdict;

describe("QuorumVerifier#judge", () => {
  it("lets a commit in and decides nothing before enough have revealed the same", async () => {
    const on = await loadFixture(openReveal);
    expect(await stateOf(on, 0)).to.equal(State.Judging);
    await reveal(on, 0);
    expect(await verdicts(on)).to.deep.equal([Pending, Pending, Pending]);
  });

  it("pays who agrees as soon as enough do, and slashes who found something else, for nobody's profit", async () => {
    const on = await loadFixture(openReveal);
    const before = await on.market.balanceOf(on.requester, on.token);
    await reveal(on, 2, 0);
    expect(await verdicts(on)).to.deep.equal([Pending, Pending, Pending]);
    await reveal(on, 1);
    expect(await verdicts(on)).to.deep.equal([Stands, Stands, Fails]);

    const items = [0, 1, 2].map((i) => finalizeItem(on, i));
    await on.market.connect(on.stranger).finalizeMany(items, 400_000);
    expect(await Promise.all([0, 1, 2].map((i) => stateOf(on, i)))).to.deep.equal([
      State.Settled,
      State.Settled,
      State.Refunded,
    ]);
    expect(await on.market.balanceOf(on.operator, on.token)).to.equal(5n);
    expect(await on.market.balanceOf(on.otherOperator, on.token)).to.equal(5n);
    // Of three deposits of 69 come back one whole and two less the charge.
    expect(await on.market.balanceOf(on.requester, on.token)).to.equal(before + 69n + 2n * 64n);
    expect(await on.staking.stakeOf(replicaAt(on, 2).operator, on.token)).to.deep.equal([10n * DOLLAR - 1000n, 0n]);
    expect(await on.staking.owedTo(on.sink, on.token)).to.equal(1000n);
    expect(await on.staking.owedTo(on.requester, on.token)).to.equal(0n);
    expect(await on.staking.owedTo(on.stranger, on.token)).to.equal(0n);
    await expectNothingLost(on, 0n, others(on));
  });

  it("pays a later reveal of the same output until the deadline, and slashes silence after it", async () => {
    const on = await loadFixture(matchedQuorum);
    for (const i of [0, 1, 2]) await commit(on, i, "same");
    await at(closesAt(on) - 1);
    await reveal(on, 0, 1);
    expect(await verdicts(on)).to.deep.equal([Stands, Stands, Pending]);
    await at(closesAt(on));
    await reveal(on, 2);
    expect(await verdicts(on)).to.deep.equal([Stands, Stands, Stands]);

    const silent = await loadFixture(openReveal);
    await reveal(silent, 0, 1);
    await at(closesAt(silent));
    await expect(finalize(silent, 2)).to.be.revertedWithCustomError(silent.market, "WindowOpen");
    await at(closesAt(silent) + 1);
    await finalize(silent, 2);
    expect(await stateOf(silent, 2)).to.equal(State.Refunded);
    expect(await silent.staking.owedTo(silent.sink, silent.token)).to.equal(1000n);
  });

  it("refunds without a slash when all differ, at once", async () => {
    const on = await loadFixture(matchedQuorum);
    for (const i of [0, 1, 2]) await commit(on, i, `output ${i}`);
    await at(on.matchedAt + 200);
    await reveal(on, 0, 1);
    expect(await verdicts(on)).to.deep.equal([Pending, Pending, Pending]);
    await reveal(on, 2);
    expect(await verdicts(on)).to.deep.equal([Void, Void, Void]);
    for (const i of [0, 1, 2]) {
      await finalize(on, i);
      expect(await lockedOf(on, i)).to.equal(0n);
    }
    expect(await on.staking.owedTo(on.sink, on.token)).to.equal(0n);
    await expectNothingLost(on, 0n, others(on));
  });

  it("slashes only the silent when there is no agreement", async () => {
    const on = await loadFixture(matchedQuorum);
    await commit(on, 0, "same");
    await commit(on, 1, "same");
    await at(on.matchedAt + 331);
    await reveal(on, 0);
    await at(closesAt(on));
    expect(await verdictOf(on, 0)).to.equal(Pending);
    await at(closesAt(on) + 1);
    await finalize(on, 0);
    await finalize(on, 1);
    const silent = replicaAt(on, 2);
    await on.market.connect(on.stranger).finalize(silent.terms, NO_CLAIM);
    const stakes = await Promise.all([0, 1, 2].map((i) => on.staking.stakeOf(replicaAt(on, i).operator, on.token)));
    expect(stakes.map(({ free }) => free)).to.deep.equal([10n * DOLLAR, 10n * DOLLAR - 1000n, 10n * DOLLAR - 1000n]);
    expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR);
    expect(await on.staking.owedTo(on.sink, on.token)).to.equal(2000n);
    await expectNothingLost(on, 0n, others(on));
  });

  it("tells a job that cannot agree any more before all have revealed", async () => {
    const market = await loadFixture(quorumMarket);
    const verifierData = quorumToData({ ...QUORUM, agreeing: 4 });
    const on = await matchQuorum(market, market.quorumRequest({ replicas: 5, verifierData }));
    for (const [i, output] of ["a", "a", "b", "b", "a"].entries()) await commit(on, i, output);
    await at(closesAt(on) - 1);
    await reveal(on, 0, 1, 2);
    expect(await verdictOf(on, 0)).to.equal(Pending);
    await reveal(on, 3);
    expect(await Promise.all([0, 2, 4].map((i) => verdictOf(on, i)))).to.deep.equal([Void, Void, Pending]);
  });

  it("refunds terms with a flaw as undecided, without a slash, whatever the node does", async () => {
    const on = await loadFixture(quorumMarket);
    const run = await matchQuorum(on, on.quorumRequest({ replicas: 4 }));
    await commit(run, 0, "same");
    expect(await on.quorum.flawOf(replicaAt(run, 0).terms.job)).to.equal(3n);
    await at(closesAt(run) + 1);
    expect(await verdictOf(run, 0)).to.equal(Pending);
    await at(Number((await on.market.replicaOf(run.job, 0)).lastAt) + 601);
    await finalize(run, 0);
    expect(await stateOf(run, 0)).to.equal(State.Refunded);
    expect(await on.staking.owedTo(on.sink, on.token)).to.equal(0n);
    expect(await lockedOf(run, 0)).to.equal(0n);
  });

  it("answers for a job that it has never seen without a revert", async () => {
    const on = await loadFixture(openReveal);
    const { terms, claim } = { terms: replicaAt(on, 0).terms, claim: NO_CLAIM };
    const stray = { ...terms, assignment: { ...terms.assignment, replica: 65_535 } };
    expect(await on.quorum.judge(stray, claim, "0x")).to.equal(Fails);
    expect(await on.quorum.judge({ ...stray, job: { ...terms.job, replicas: 65_535 } }, claim, "0x")).to.equal(Pending);
  });
});

describe("QuorumVerifier#flawOf", () => {
  const flawOf = async (on: QuorumJobRun, replaced: Partial<Job>) => {
    const job = { ...replicaAt(on, 0).terms.job, ...replaced };
    const flaw = Number(await on.quorum.flawOf(job));
    const name = flaw === 0 ? undefined : quorumFlaws[flaw - 1];
    expect(quorumFlaw(job), "programs find the same flaw").to.equal(name);
    return name;
  };
  const data = (agreeing: number) => quorumToData({ ...QUORUM, agreeing });

  it("names each flaw, at its border", async () => {
    const on = await loadFixture(matchedQuorum);
    const arbiter = addressOf(on.arbiter);
    expect(await flawOf(on, {})).to.equal(undefined);
    expect(await flawOf(on, { verifierData: `0x${"0".repeat(43)}1${data(2).slice(46)}` as Address })).to.equal(
      "encoding",
    );
    expect(await flawOf(on, { replicas: MAX_QUORUM_REPLICAS, verifierData: data(8) })).to.equal(undefined);
    expect(await flawOf(on, { replicas: 16, verifierData: data(9) })).to.equal("replicas");
    expect(await flawOf(on, { verifierData: data(1) })).to.equal("agreeing");
    expect(await flawOf(on, { verifierData: data(3) })).to.equal(undefined);
    expect(await flawOf(on, { verifierData: data(4) })).to.equal("agreeing");
    expect(await flawOf(on, { replicas: 4 })).to.equal("agreeing");
    expect(await flawOf(on, { verifierData: quorumToData({ ...QUORUM, revealSeconds: 0 }) })).to.equal("revealSeconds");
    expect(await flawOf(on, { compensationBps: 1 })).to.equal("compensation");
    expect(await flawOf(on, { arbiterWindow: 450 })).to.equal(undefined);
    expect(await flawOf(on, { challengeWindow: 1, arbiterWindow: 448 })).to.equal("settleWindow");
    expect(await flawOf(on, { challengeWindow: 450, arbiter })).to.equal(undefined);
    expect(await flawOf(on, { challengeWindow: 449, arbiter })).to.equal("challengeWindow");
    expect(await on.quorum.MAX_REPLICAS()).to.equal(BigInt(MAX_QUORUM_REPLICAS));
  });

  it("finds what programs find, for any terms", async () => {
    const on = await loadFixture(matchedQuorum);
    const window = fc.constantFrom(0, 1, 100, 450, 4_294_967_295);
    const anyJob = fc.record({
      replicas: fc.integer({ min: 1, max: 20 }),
      submitWindow: window,
      challengeWindow: window,
      arbiterWindow: window,
      arbiter: fc.constantFrom(addressOf(on.arbiter), replicaAt(on, 0).terms.job.arbiter),
      compensationBps: fc.constantFrom(0, 0, 0, 1),
      verifierData: fc
        .record({ agreeing: fc.integer({ min: 0, max: 20 }), revealSeconds: window, confirmSeconds: window })
        .map(quorumToData),
    });
    await fc.assert(
      fc.asyncProperty(anyJob, async (job) => void (await flawOf(on, job))),
      { numRuns: 60 },
    );
  });
});
