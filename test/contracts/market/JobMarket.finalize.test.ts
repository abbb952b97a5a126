import { MODE, type Request } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, networkHelpers, time } from "../support/actors.ts";
import {
  addressOf,
  DOLLAR,
  jobId,
  matchJob,
  NO_CLAIM,
  type Ready,
  Reason,
  readyMarket,
  runningJob,
  State,
  signRequest,
  submittedResult,
  termsFor,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

/** Code of a token that does nothing any more: PUSH0 PUSH0 REVERT. */
const ALWAYS_REVERTS = "0x5f5ffd";

describe("JobMarket#finalize", () => {
  it("pays a result that nobody disputed, by anybody, once the challenge window has passed", async () => {
    const on = await loadFixture(submittedResult);
    const { market, staking, token, operator, stranger, terms, claim, job, submittedAt, held } = on;
    await at(submittedAt + 600);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WindowOpen")
      .withArgs(job, 0, submittedAt + 600);
    await at(submittedAt + 601);
    await expect(market.connect(stranger).finalize(terms, claim))
      .to.emit(market, "ReplicaSettled")
      .withArgs(job, operator.address, 0, 40, held - 40n);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(40n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("refunds a replica without a result and slashes its bond, victim first", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, requester, operator, stranger, sink, terms, job, matchedAt, held } = on;
    await at(matchedAt + 300);
    await expect(market.connect(stranger).finalize(terms, NO_CLAIM))
      .to.be.revertedWithCustomError(market, "WindowOpen")
      .withArgs(job, 0, matchedAt + 300);
    await at(matchedAt + 301);
    const compensation = 3n; // 5 % of 69, rounded down
    const finalizing = market.connect(stranger).finalize(terms, NO_CLAIM);
    await expect(finalizing)
      .to.emit(market, "ReplicaRefunded")
      .withArgs(job, operator.address, 0, held, 1000, Reason.TimedOut);
    await expect(finalizing).to.emit(staking, "Slashed").withArgs(operator.address, on.addresses.token, 1000, 1000);
    for (const [account, share] of [
      [requester, compensation],
      [sink, 1000n - compensation],
    ] as const) {
      await expect(finalizing).to.emit(staking, "Owed").withArgs(account.address, on.addresses.token, share);
      expect(await staking.owedTo(account, token)).to.equal(share);
    }
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Refunded);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await market.balanceOf(stranger, token)).to.equal(0n);
    expect(await staking.owedTo(stranger, token)).to.equal(0n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 0n]);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, 0n, true]);
    await expectNothingLost(on);
  });

  it("pays whoever called the bounty, after the victim and before the sink", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, requester, operator, stranger, sink } = on;
    const { terms, timedOut } = await overdue(on, { bounty: 100n });
    await at(timedOut);
    await market.connect(stranger).finalize(terms, NO_CLAIM);
    expect(await staking.owedTo(requester, token)).to.equal(3n);
    expect(await staking.owedTo(stranger, token)).to.equal(100n);
    expect(await staking.owedTo(sink, token)).to.equal(897n);
    await staking.connect(stranger).collect(stranger, token, stranger);
    expect(await token.balanceOf(stranger)).to.equal(100n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 0n]);
    await expectNothingLost(on);
  });

  for (const [bond, compensation, bounty] of [
    [33n, 32n, 1n],
    [32n, 32n, 0n],
    [20n, 20n, 0n],
  ] as const) {
    it(`gives of a bond of ${bond} first ${compensation} to the payer, then ${bounty} to whoever called`, async () => {
      const on = await loadFixture(readyMarket);
      const { market, staking, token, requester, operator, stranger, sink } = on;
      // A tenth of the deposit of 321 would be 32 for the payer; the bounty asked for is a tenth of the bond.
      const long = { maxSeconds: 300, submitWindow: 360 };
      const { terms, timedOut } = await overdue(on, { ...long, bond, bounty: bond / 10n, compensationBps: 1000 });
      await at(timedOut);
      await market.connect(stranger).finalize(terms, NO_CLAIM);
      expect(await staking.owedTo(requester, token)).to.equal(compensation);
      expect(await staking.owedTo(stranger, token)).to.equal(bounty);
      expect(await staking.owedTo(sink, token)).to.equal(0n);
      expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - bond, 0n]);
      expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
      await expectNothingLost(on);
    });
  }

  it("owes the compensation to a payer who is not the requester", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, requester, payer, stranger } = on;
    const request = on.request({ payer: addressOf(payer) });
    await matchJob(on, { request, payerSignature: await signRequest(on, payer, request) });
    await at((await time.latest()) + 301);
    await market.connect(stranger).finalize(termsFor(on, request, on.offer()), NO_CLAIM);
    expect(await staking.owedTo(payer, token)).to.equal(3n);
    expect(await staking.owedTo(requester, token)).to.equal(0n);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR);
    await expectNothingLost(on);
  });

  it("ends a job without a bond as well", async () => {
    const on = await loadFixture(readyMarket);
    const { request, terms, timedOut } = await overdue(on, { bond: 0n });
    await at(timedOut);
    await expect(on.market.connect(on.stranger).finalize(terms, NO_CLAIM))
      .to.emit(on.market, "ReplicaRefunded")
      .withArgs(jobId(on, request), on.operator.address, 0, 69, 0, Reason.TimedOut);
    expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR);
    await expectNothingLost(on);
  });

  it("cannot be blocked by a token that fails: nothing moves until somebody collects", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, requester, operator, stranger, sink, addresses } = on;
    const { terms, timedOut } = await overdue(on, { bounty: 100n });
    const [code, before] = [await ethers.provider.getCode(addresses.token), await token.balanceOf(staking)];
    await networkHelpers.setCode(addresses.token, ALWAYS_REVERTS);
    await at(timedOut);
    await market.connect(stranger).finalize(terms, NO_CLAIM);
    expect((await market.replicaOf(terms.job.jobId, 0)).state).to.equal(State.Refunded);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    const [victim, helper, rest] = [requester, stranger, sink].map((account) => staking.owedTo(account, token));
    expect([await victim, await helper, await rest]).to.deep.equal([3n, 100n, 897n]);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 0n]);
    await expect(staking.connect(stranger).collect(stranger, token, stranger)).to.be.revert(ethers);

    // Once the token works again, everything that was owed is there.
    await networkHelpers.setCode(addresses.token, code);
    for (const account of [requester, stranger, sink]) await staking.connect(account).collect(account, token, account);
    expect(await token.balanceOf(staking)).to.equal(before - 1000n);
    await expectNothingLost(on);
  });

  it("cannot be blocked by a token that begins to take a fee", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, requester, operator, stranger } = on;
    const fee = await ethers.deployContract("FeeToken");
    const token = (await fee.getAddress()) as `0x${string}`;
    const call = (by: typeof requester, name: string, ...args: unknown[]) => fee.connect(by).getFunction(name)(...args);
    await call(stranger, "setFree", true);
    for (const [owner, spender] of [
      [requester, market],
      [operator, staking],
    ] as const) {
      await call(owner, "mint", owner, 5000n);
      await call(owner, "approve", spender, 5000n);
    }
    await market.connect(requester).deposit(requester, token, 5000n);
    await staking.connect(operator).stake(operator, token, 5000n);
    await market.connect(operator).setAccepted(operator, [token], true);
    const [request, offer] = [on.request({ token, maxPrice: 5000n }), on.offer({ token })];
    await matchJob(on, { request, offers: [offer] });
    await call(stranger, "setFree", false);
    await at(Number((await market.replicaOf(jobId(on, request), 0)).matchedAt) + 301);
    await expect(market.connect(stranger).finalize(termsFor(on, request, offer), NO_CLAIM))
      .to.emit(market, "ReplicaRefunded")
      .withArgs(jobId(on, request), operator.address, 0, 69, 1000, Reason.TimedOut);
    expect(await market.balanceOf(requester, token)).to.equal(await fee.getFunction("balanceOf")(market));
    expect(await staking.owedTo(requester, token)).to.equal(3n);
    // What leaves staking is exact; the fee is between the receiver and the token.
    await staking.connect(requester).collect(requester, token, requester);
    expect(await fee.getFunction("balanceOf")(requester)).to.equal(2n);
    expect(await fee.getFunction("balanceOf")(staking)).to.equal(5000n - 3n);
  });

  it("refuses a claim where there is none, and another claim than the one submitted", async () => {
    const running = await loadFixture(runningJob);
    await at(running.matchedAt + 301);
    for (const claim of [
      { ...NO_CLAIM, charge: 1n },
      { ...NO_CLAIM, resultBytes: 1n },
    ]) {
      await expect(running.market.finalize(running.terms, claim))
        .to.be.revertedWithCustomError(running.market, "WrongClaim")
        .withArgs(running.job, 0);
    }
    const { market, terms, claim, job, submittedAt } = await loadFixture(submittedResult);
    await at(submittedAt + 601);
    await expect(market.finalize(terms, { ...claim, charge: 45n }))
      .to.be.revertedWithCustomError(market, "WrongClaim")
      .withArgs(job, 0);
  });

  it("refuses other terms and a replica that has ended", async () => {
    const { market, terms, claim, job, submittedAt } = await loadFixture(submittedResult);
    await at(submittedAt + 601);
    const other = { ...terms, assignment: { ...terms.assignment, operator: terms.job.requester } };
    await expect(market.finalize(other, claim)).to.be.revertedWithCustomError(market, "WrongClaim").withArgs(job, 0);
    await market.finalize(terms, claim);
    await expect(market.finalize(terms, claim))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.Submitted);
  });

  it("refuses other terms of a replica without a result, and a replica that never was", async () => {
    const { market, terms, job, matchedAt } = await loadFixture(runningJob);
    await at(matchedAt + 301);
    const sooner = { ...terms, job: { ...terms.job, submitWindow: 60 } };
    await expect(market.finalize(sooner, NO_CLAIM))
      .to.be.revertedWithCustomError(market, "WrongTerms")
      .withArgs(job, 0);
    const another = { ...terms, assignment: { ...terms.assignment, replica: 1 } };
    await expect(market.finalize(another, NO_CLAIM))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 1, State.None, State.Submitted);
  });

  it("is not for leases, which end by `close`", async () => {
    const on = await loadFixture(readyMarket);
    const { request, terms, timedOut } = await overdue(on, { mode: MODE.lease, heartbeatSeconds: 60 });
    await at(timedOut);
    await expect(on.market.finalize(terms, NO_CLAIM))
      .to.be.revertedWithCustomError(on.market, "WrongMode")
      .withArgs(jobId(on, request), MODE.lease);
  });
});

/** A job without a result, and the first second in which anyone may end it. */
async function overdue(on: Ready, replaced: Partial<Request>) {
  const request = on.request(replaced);
  await matchJob(on, { request });
  return {
    request,
    terms: termsFor(on, request, on.offer()),
    timedOut: (await time.latest()) + request.submitWindow + 1,
  };
}
