import type { Claim, JobId, Terms } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import {
  ARBITER_WINDOW,
  CHALLENGE,
  CLAIM,
  DEPOSIT,
  Manner,
  running,
  Verdict,
  verifiedMarket,
} from "../support/disputes.ts";
import { addressOf, DOLLAR, NO_CLAIM, type Ready, Reason, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const ITEM_GAS = 1_000_000n;
const nonce = (text: string) => ethers.id(text) as `0x${string}`;

const finalizeItem = (on: Ready, terms: Terms, claim: Claim) =>
  ethers.dataSlice(on.market.interface.encodeFunctionData("finalize", [terms, claim]), 4);
const reason = (on: Ready, name: string, values: readonly unknown[]) =>
  on.market.interface.encodeErrorResult(name, values);

/** One replica without a result, one that its verifier let stand, one that it is still judging, and one that runs. */
async function fourReplicas() {
  const on = await verifiedMarket();
  const { market, verifier, nodeKey } = on;
  const silent = await running(on, { nonce: nonce("silent"), bounty: 100n });
  const standing = await running(on, { nonce: nonce("standing") });
  const judged = await running(on, { nonce: nonce("judged") });
  const matched = { silent: silent.terms, standing: standing.terms, judged: judged.terms };
  await at(silent.matchedAt + 50);
  await verifier.set(Manner.Answers, Verdict.Stands);
  await market.connect(nodeKey).submit(matched.standing, CLAIM, "0x");
  await verifier.set(Manner.Answers, Verdict.Pending);
  await market.connect(nodeKey).submit(matched.judged, CLAIM, "0x");
  await at(silent.matchedAt + 50 + CHALLENGE + ARBITER_WINDOW);
  const young = (await running(on, { nonce: nonce("young") })).terms;
  return { ...on, matchedAt: silent.matchedAt, ...matched, young };
}

describe("JobMarket#finalizeMany", () => {
  it("ends each on its own, and a bounty goes to the caller", async () => {
    const on = await loadFixture(fourReplicas);
    const { market, staking, token, requester, operator, stranger, silent, standing, judged } = on;
    await time.increaseTo(on.matchedAt + 5000);
    const items = [
      finalizeItem(on, silent, NO_CLAIM),
      finalizeItem(on, standing, CLAIM),
      finalizeItem(on, judged, CLAIM),
    ];
    expect(await market.connect(stranger).finalizeMany.staticCall(items, ITEM_GAS)).to.deep.equal([true, true, true]);
    const sent = market.connect(stranger).finalizeMany(items, ITEM_GAS);
    const [first, second, third] = [silent, standing, judged].map(({ job }) => job.jobId) as [JobId, JobId, JobId];
    await expect(sent)
      .to.emit(market, "ReplicaRefunded")
      .withArgs(first, operator.address, 0, DEPOSIT, 1000, Reason.TimedOut);
    await expect(sent)
      .to.emit(market, "ReplicaSettled")
      .withArgs(second, operator.address, 0, CLAIM.charge, DEPOSIT - CLAIM.charge);
    await expect(sent)
      .to.emit(market, "ReplicaRefunded")
      .withArgs(third, operator.address, 0, DEPOSIT, 0, Reason.Undecided);
    expect((await market.replicaOf(first, 0)).state).to.equal(State.Refunded);
    expect((await market.replicaOf(second, 0)).state).to.equal(State.Settled);
    expect((await market.replicaOf(third, 0)).state).to.equal(State.Refunded);
    expect(await staking.owedTo(stranger, token)).to.equal(100n);
    expect(await market.balanceOf(operator, token)).to.equal(CLAIM.charge);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - CLAIM.charge - DEPOSIT);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 2000n, 1000n]);
    await expectNothingLost(on, DEPOSIT);
  });

  it("lets the others through when some fail, with their reasons", async () => {
    const on = await loadFixture(fourReplicas);
    const { market, stranger, silent, standing, young } = on;
    const items = [
      finalizeItem(on, young, NO_CLAIM),
      finalizeItem(on, standing, { ...CLAIM, charge: 1000n }),
      finalizeItem(on, standing, CLAIM),
      finalizeItem(on, standing, CLAIM),
      finalizeItem(on, silent, CLAIM),
    ];
    expect(await market.connect(stranger).finalizeMany.staticCall(items, ITEM_GAS)).to.deep.equal([
      false,
      false,
      true,
      false,
      false,
    ]);
    const sent = market.connect(stranger).finalizeMany(items, ITEM_GAS);
    const closesAt = (await market.replicaOf(young.job.jobId, 0)).matchedAt + 300n;
    for (const [item, name, values] of [
      [0, "WindowOpen", [young.job.jobId, 0, closesAt]],
      [1, "WrongClaim", [standing.job.jobId, 0]],
      [3, "WrongState", [standing.job.jobId, 0, State.Settled, State.Submitted]],
      [4, "WrongClaim", [silent.job.jobId, 0]],
    ] as const) {
      await expect(sent)
        .to.emit(market, "ItemFailed")
        .withArgs(item, reason(on, name, values));
    }
    expect((await market.replicaOf(standing.job.jobId, 0)).state).to.equal(State.Settled);
    expect((await market.replicaOf(silent.job.jobId, 0)).state).to.equal(State.Active);
    await expectNothingLost(on, 3n * DEPOSIT);
  });

  it("goes on behind a verifier that burns its gas, and is not asked at all with less than its cap", async () => {
    const on = await loadFixture(fourReplicas);
    const { market, verifier, stranger, standing, judged } = on;
    await verifier.set(Manner.Burns, 0n);
    await time.increaseTo(on.matchedAt + 5000);
    const items = [finalizeItem(on, judged, CLAIM), finalizeItem(on, standing, CLAIM)];
    // The verifier's cap is 300,000: with less than that and a reserve it is not even asked.
    const sent = market.connect(stranger).finalizeMany(items, 320_000n);
    const tooLow = new ethers.Interface(["error GasTooLow(uint256 needed)"]).encodeErrorResult("GasTooLow", [324_761n]);
    await expect(sent).to.emit(market, "ItemFailed").withArgs(0, tooLow);
    expect((await market.replicaOf(judged.job.jobId, 0)).state).to.equal(State.Judging);
    expect((await market.replicaOf(standing.job.jobId, 0)).state).to.equal(State.Settled);
    await market.connect(stranger).finalizeMany([items[0]], ITEM_GAS);
    expect((await market.replicaOf(judged.job.jobId, 0)).state).to.equal(State.Refunded);
    await expectNothingLost(on, 2n * DEPOSIT);
  });

  it("reverts as a whole when an item could not get the gas that it was promised", async () => {
    const on = await loadFixture(fourReplicas);
    const { market, stranger, standing, silent } = on;
    const items = [finalizeItem(on, standing, CLAIM), finalizeItem(on, silent, NO_CLAIM)];
    const needed = ITEM_GAS + ITEM_GAS / 63n + 20_000n;
    await expect(market.connect(stranger).finalizeMany(items, ITEM_GAS, { gasLimit: needed + 60_000n }))
      .to.be.revertedWithCustomError(market, "BatchItemGas")
      .withArgs(1n, (available: bigint) => available < needed, needed);
    expect((await market.replicaOf(standing.job.jobId, 0)).state).to.equal(State.Submitted);
  });

  it("starves no item: whatever gas the caller brings, all is undone or the item has what it was promised", async () => {
    const on = await loadFixture(fourReplicas);
    const { market, stranger, standing } = on;
    await time.increaseTo(on.matchedAt + 5000);
    const items = [finalizeItem(on, standing, CLAIM)];
    const call = (itemGas: bigint, gasLimit: bigint) =>
      market.connect(stranger).finalizeMany.staticCall(items, itemGas, { gasLimit }) as Promise<boolean[]>;
    // The least gas with which the item succeeds.
    let [little, enough] = [0n, ITEM_GAS];
    while (enough - little > 1n) {
      const middle = (little + enough) / 2n;
      if ((await call(middle, 2_000_000n))[0]) enough = middle;
      else little = middle;
    }
    const outcomes = new Set<string>();
    for (let gasLimit = enough + 20_000n; gasLimit < enough + 120_000n; gasLimit += 1000n) {
      try {
        outcomes.add((await call(enough, gasLimit))[0] ? "done" : "starved");
      } catch {
        outcomes.add("undone");
      }
    }
    expect([...outcomes]).to.deep.equal(["undone", "done"]);
  });

  it("passes for nobody else: the operator gets no bounty that a stranger earned", async () => {
    const on = await loadFixture(fourReplicas);
    const { market, staking, token, operator, matcher, silent } = on;
    await market.connect(matcher).finalizeMany([finalizeItem(on, silent, NO_CLAIM)], ITEM_GAS);
    expect(await staking.owedTo(matcher, token)).to.equal(100n);
    expect(await staking.owedTo(addressOf(operator), token)).to.equal(0n);
    expect(await staking.owedTo(market, token)).to.equal(0n);
  });
});
