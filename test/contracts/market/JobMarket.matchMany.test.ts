import { type Offer, type Request, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { type Actor, ethers, loadFixture } from "../support/actors.ts";
import {
  addressOf,
  DOLLAR,
  jobId,
  type Ready,
  readyMarket,
  State,
  signOffer,
  signRequest,
  termsFor,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const ITEM_GAS = 1_000_000n;
const nonce = (text: string) => ethers.id(text) as `0x${string}`;

/** The arguments of `matchJob`, as an item of a batch. */
async function matchItem(on: Ready, request: Request, offer: Offer = on.offer(), replaced: Partial<Signed> = {}) {
  const signed = {
    requesterSignature: await signRequest(on, on.requester, request),
    offerSignature: await signOffer(on, on.nodeKey, offer),
    ...replaced,
  };
  const data = on.market.interface.encodeFunctionData("matchJob", [
    request,
    signed.requesterSignature,
    "0x",
    [offer],
    [signed.offerSignature],
    [],
  ]);
  return ethers.dataSlice(data, 4);
}
interface Signed {
  requesterSignature: string;
  offerSignature: string;
}

const reason = (on: Ready, name: string, values: readonly unknown[]) =>
  on.market.interface.encodeErrorResult(name, values);

async function sendMany(on: Ready, items: string[], by: Actor = on.matcher, itemGas = ITEM_GAS) {
  const done = await on.market.connect(by).matchMany.staticCall(items, itemGas);
  return { done: [...done] as boolean[], sent: await on.market.connect(by).matchMany(items, itemGas) };
}

describe("JobMarket#matchMany", () => {
  it("matches each on its own, as the caller, who gets every tip and may be the matcher that a request names", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, matcher, requester, operator } = on;
    const requests = [
      on.request({ matcherTip: 7n }),
      on.request({ matcherTip: 11n, nonce: nonce("second"), matcher: addressOf(matcher) }),
    ];
    const items = await Promise.all(requests.map((request) => matchItem(on, request)));
    const { done, sent } = await sendMany(on, items);
    expect(done).to.deep.equal([true, true]);
    for (const request of requests) {
      const { job } = termsFor(on, request, on.offer());
      await expect(sent)
        .to.emit(market, "JobMatched")
        .withArgs(job.jobId, requester.address, matcher.address, 69n + request.matcherTip, 0, request.matcherTip, [
          ...Object.values(job),
        ]);
      expect((await market.replicaOf(job.jobId, 0)).state).to.equal(State.Active);
    }
    expect(await market.balanceOf(matcher, token)).to.equal(18n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 2n * 69n - 18n);
    expect((await market.useOf(operator, 0)).active).to.equal(2n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 2000n, 2000n]);
    await expectNothingLost(on, 2n * 69n);
  });

  it("lets the others through when one fails, which changes nothing and leaves its reason", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, operator, matcher, stranger } = on;
    const [named, dear, good, late] = [
      on.request({ nonce: nonce("named"), matcher: addressOf(stranger), matcherTip: 5n }),
      on.request({ nonce: nonce("dear"), maxPrice: 68n, matcherTip: 5n }),
      on.request({ nonce: nonce("good"), matcherTip: 5n }),
      on.request({ nonce: nonce("late"), openUntil: 1, matcherTip: 5n }),
    ] as const;
    const items = await Promise.all([named, dear, good, good, late].map((request) => matchItem(on, request)));
    const { done, sent } = await sendMany(on, items);
    expect(done).to.deep.equal([false, false, true, false, false]);
    for (const [item, name, values] of [
      [0, "NotMatcher", [jobId(on, named), matcher.address, stranger.address]],
      [1, "PriceAboveCap", [jobId(on, dear), 74n, 68n]],
      [3, "WrongState", [jobId(on, good), 0, State.Active, State.None]],
      [4, "RequestExpired", [jobId(on, late), 1]],
    ] as const) {
      await expect(sent)
        .to.emit(market, "ItemFailed")
        .withArgs(item, reason(on, name, values));
    }
    for (const failed of [named, dear, late]) {
      expect((await market.replicaOf(jobId(on, failed), 0)).state).to.equal(State.None);
    }
    expect((await market.replicaOf(jobId(on, good), 0)).state).to.equal(State.Active);
    expect(await market.balanceOf(matcher, token)).to.equal(5n);
    expect((await market.useOf(operator, 0)).active).to.equal(1n);
    await expectNothingLost(on, 69n);
  });

  it("undoes what a failed item had done before it failed", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, operator, requester, matcher } = on;
    // The deposit and the tip have moved when the bond turns out to be missing.
    const request = on.request({ bond: 100n * DOLLAR, matcherTip: 5n });
    await market.connect(operator).setNodeLimits(operator, 0, { ...on.limits, maxBond: 1000n * DOLLAR });
    const { done, sent } = await sendMany(on, [await matchItem(on, request, on.offer({ maxBond: 1000n * DOLLAR }))]);
    expect(done).to.deep.equal([false]);
    const why = on.staking.interface.encodeErrorResult("StakeTooLow", [
      operator.address,
      on.addresses.token,
      10n * DOLLAR,
      100n * DOLLAR,
    ]);
    await expect(sent).to.emit(market, "ItemFailed").withArgs(0, why);
    expect(await market.balanceOf(matcher, token)).to.equal(0n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect((await market.useOf(operator, 0)).active).to.equal(0n);
    await expectNothingLost(on);
  });

  it("takes the caller for a requester who need not sign, and nobody else for one", async () => {
    const on = await loadFixture(readyMarket);
    const item = await matchItem(on, on.request(), on.offer(), { requesterSignature: "0x" });
    const stranger = await sendMany(on, [item], on.stranger);
    expect(stranger.done).to.deep.equal([false]);
    await expect(stranger.sent)
      .to.emit(on.market, "ItemFailed")
      .withArgs(0, reason(on, "BadRequestSignature", [jobId(on, on.request()), on.requester.address]));
    expect((await sendMany(on, [item], on.requester)).done).to.deep.equal([true]);
  });

  it("is stopped item by item while the guardian has stopped new jobs", async () => {
    const on = await loadFixture(readyMarket);
    await on.market.connect(on.guardian).setPaused(true);
    const { done, sent } = await sendMany(on, [await matchItem(on, on.request())]);
    expect(done).to.deep.equal([false]);
    await expect(sent)
      .to.emit(on.market, "ItemFailed")
      .withArgs(0, reason(on, "NewJobsPaused", []));
  });

  it("reverts as a whole when an item could not get the gas that it was promised", async () => {
    const on = await loadFixture(readyMarket);
    const { market, matcher } = on;
    const items = [await matchItem(on, on.request()), await matchItem(on, on.request({ nonce: nonce("2") }))];
    const needed = ITEM_GAS + ITEM_GAS / 63n + 20_000n;
    // Enough for the first and not for the second, which would have been done otherwise.
    const starved = market.connect(matcher).matchMany(items, ITEM_GAS, { gasLimit: needed + 150_000n });
    await expect(starved)
      .to.be.revertedWithCustomError(market, "BatchItemGas")
      .withArgs(1n, (available: bigint) => available < needed, needed);
    expect((await market.replicaOf(jobId(on, on.request()), 0)).state).to.equal(State.None);
    await expectNothingLost(on);
  });

  it("goes on behind an item that burns all the gas it gets", async () => {
    const on = await loadFixture(readyMarket);
    const { market } = on;
    const burner = (await (await ethers.deployContract("IdentityGasBurner")).getAddress()) as `0x${string}`;
    // A requester that is a wallet which thinks for ever, with more gas than its cap leaves it, and with less.
    const burning = await matchItem(on, on.request({ requester: burner, payer: burner }));
    const good = await matchItem(on, on.request());
    const capped = await sendMany(on, [burning, good, burning]);
    expect(capped.done).to.deep.equal([false, true, false]);
    const request = on.request({ requester: burner, payer: burner });
    await expect(capped.sent)
      .to.emit(market, "ItemFailed")
      .withArgs(0, reason(on, "BadRequestSignature", [jobId(on, request), burner]));
    expect((await market.replicaOf(jobId(on, on.request()), 0)).state).to.equal(State.Active);
    await expectNothingLost(on, 69n, [burner]);
  });

  it("reports an item that ran out of gas with no reason, since it had none", async () => {
    const on = await loadFixture(readyMarket);
    const { done, sent } = await sendMany(on, [await matchItem(on, on.request())], on.matcher, 60_000n);
    expect(done).to.deep.equal([false]);
    await expect(sent).to.emit(on.market, "ItemFailed").withArgs(0, "0x");
    await expectNothingLost(on);
  });

  it("fails an item that is nothing, and does nothing without items", async () => {
    const on = await loadFixture(readyMarket);
    const good = await matchItem(on, on.request());
    const { done } = await sendMany(on, ["0x", ethers.dataSlice(good, 0, 500), good]);
    expect(done).to.deep.equal([false, false, true]);
    expect((await sendMany(on, [])).done).to.deep.equal([]);
  });

  it("keeps of a reason what an error with four values takes", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, nodeKey, identity } = on;
    const request = on.request({ submitWindow: 366 * 86_400 });
    const { done, sent } = await sendMany(on, [await matchItem(on, request)]);
    expect(done).to.deep.equal([false]);
    const [{ args }] = (await market.queryFilter("ItemFailed", (await sent.wait())?.blockNumber)) as never as [
      { args: { reason: string } },
    ];
    const { validTo } = await identity.nodeOf(operator, 0);
    expect(ethers.dataLength(args.reason)).to.equal(4 + 4 * 32);
    const error = market.interface.parseError(args.reason);
    expect(error?.name).to.equal("KeyExpiresTooSoon");
    expect([...(error?.args ?? [])].slice(0, 3)).to.deep.equal([operator.address, 0n, validTo]);
    expect(nodeKey.address).to.not.equal(ZERO_ADDRESS);
  });

  it("does nothing at the desk's own address, which has nobody's money", async () => {
    const on = await loadFixture(readyMarket);
    const desk = await ethers.deployContract("MarketDesk", [on.identity]);
    const [done] = [await desk.getFunction("matchMany").staticCall([await matchItem(on, on.request())], ITEM_GAS)];
    expect([...done]).to.deep.equal([false]);
  });
});
