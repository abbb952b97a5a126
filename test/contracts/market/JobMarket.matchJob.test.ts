import { depositUp, type NodeLimits, type Offer, type Request, replicaCommitment, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import {
  addressOf,
  DAY,
  DOLLAR,
  jobId,
  limitsFor,
  matchJob,
  offerHash,
  publishNode,
  type Ready,
  readyMarket,
  runningJob,
  State,
  signOffer,
  signRequest,
  text32,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const nonce = (text: string) => ethers.id(text) as `0x${string}`;
const somebody = `0x${"9".repeat(40)}` as const;

describe("JobMarket#matchJob", () => {
  it("binds a signed request to an offer at the offer's price", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, requester, operator, matcher } = on;
    const [request, offer] = [on.request({ matcherTip: 7n }), on.offer()];
    const [id, hash, held] = [jobId(on, request), offerHash(on, offer), depositUp(request, offer)];
    const now = (await time.latest()) + 1;
    await at(now);
    const matching = matchJob(on, { request, offers: [offer] });
    await expect(matching)
      .to.emit(market, "JobMatched")
      .withArgs(id, requester.address, matcher.address, held + 7n, 0, Object.values(request));
    await expect(matching)
      .to.emit(market, "ReplicaMatched")
      .withArgs(id, operator.address, 0, hash, held, Object.values(offer));

    expect(held).to.equal(69n);
    expect(await market.replicaOf(id, 0)).to.deep.equal([
      State.Active,
      BigInt(now),
      0n,
      replicaCommitment(id, 0, hash),
    ]);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 1n, 1000n, 512n, 128n, 0n, true]);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 76n);
    expect(await market.balanceOf(matcher, token)).to.equal(7n);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 1000n]);
    await expectNothingLost(on, held);
  });

  it("releases what a posted request reserved beyond the price", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, matcher } = on;
    const request = on.request();
    await market.connect(requester).post(request, "0x", "0x");
    await expect(matchJob(on, { request, requesterSignature: "0x" }))
      .to.emit(market, "JobMatched")
      .withArgs(jobId(on, request), requester.address, matcher.address, 69, 9_999_931, Object.values(request));
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 69n);
    await expectNothingLost(on, 69n);
  });

  it("binds one replica per offer, each to another operator, in the order of the offers", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ replicas: 2 });
    const offers = [on.offer({ operator: addressOf(on.otherOperator), baseCharge: 11n }), on.offer()];
    await matchJob(on, { request, offers });
    const id = jobId(on, request);
    for (const [replica, offer] of offers.entries()) {
      const commitment = replicaCommitment(id, replica, offerHash(on, offer));
      expect((await on.market.replicaOf(id, replica)).commitment).to.equal(commitment);
    }
    await expectNothingLost(on, 69n + 75n);
  });

  it("needs no signature of a requester or payer who matches", async () => {
    const on = await loadFixture(readyMarket);
    await matchJob(on, { by: on.requester, requesterSignature: "0x" });
    const request = on.request({ payer: addressOf(on.payer) });
    await matchJob(on, { request, by: on.payer });
    expect(await on.market.balanceOf(on.payer, on.token)).to.equal(100n * DOLLAR - 69n);
  });

  it("refuses a job that exists", async () => {
    const on = await loadFixture(runningJob);
    await expect(matchJob(on, { request: on.terms.request }))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(on.job, 0, State.Active, State.None);
  });

  it("refuses everybody but a named matcher", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ matcher: addressOf(on.matcher) });
    await expect(matchJob(on, { request, by: on.stranger }))
      .to.be.revertedWithCustomError(on.market, "NotMatcher")
      .withArgs(jobId(on, request), on.stranger.address, on.matcher.address);
    await matchJob(on, { request });
  });

  it("refuses a request after its last second", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request();
    await at(request.openUntil + 1);
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "RequestExpired")
      .withArgs(jobId(on, request), request.openUntil);
  });

  it("refuses offers, signatures or limits that are not one per replica", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ replicas: 2 });
    const both = [on.offer(), on.offer({ operator: addressOf(on.otherOperator) })];
    const id = jobId(on, request);
    await expect(matchJob(on, { request, offers: [on.offer()] }))
      .to.be.revertedWithCustomError(on.market, "WrongOfferCount")
      .withArgs(id, 1, 2);
    for (const partly of [{ limits: [on.limits] }, { offerSignatures: ["0x"] }]) {
      await expect(matchJob(on, { request, offers: both, ...partly }))
        .to.be.revertedWithCustomError(on.market, "WrongOfferCount")
        .withArgs(id, 2, 2);
    }
  });

  it("refuses two replicas on one operator, even on two nodes", async () => {
    const on = await loadFixture(readyMarket);
    await publishNode(on, on.operator, on.newNodeKey, { index: 1 });
    await on.market.connect(on.operator).setNodeLimits(on.operator, 1, on.limits);
    const request = on.request({ replicas: 2 });
    const offers = [on.offer(), on.offer({ index: 1 })];
    const offerSignatures = [
      await signOffer(on, on.nodeKey, on.offer()),
      await signOffer(on, on.newNodeKey, on.offer({ index: 1 })),
    ];
    await expect(matchJob(on, { request, offers, offerSignatures }))
      .to.be.revertedWithCustomError(on.market, "OperatorTwice")
      .withArgs(jobId(on, request), on.operator.address);
  });

  it("refuses a price above the cap, the tip included", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ maxPrice: 75n, matcherTip: 7n });
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "PriceAboveCap")
      .withArgs(jobId(on, request), 76, 75);
    await matchJob(on, { request: on.request({ maxPrice: 76n, matcherTip: 7n }) });
  });

  it("prices the most expensive offer without overflowing", async () => {
    const on = await loadFixture(readyMarket);
    const most = (1n << 128n) - 1n;
    const rates = { cpuRateX18: most, memoryRateX18: most, diskRateX18: most, gpuRateX18: most, baseCharge: most };
    const [request, offer] = [on.request(), on.offer(rates)];
    await expect(matchJob(on, { request, offers: [offer] }))
      .to.be.revertedWithCustomError(on.market, "PriceAboveCap")
      .withArgs(jobId(on, request), depositUp(request, offer), request.maxPrice);
  });

  it("fails cleanly when the payer's money is gone", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, addresses } = on;
    await market.connect(requester).withdraw(requester, token, 100n * DOLLAR - 68n, requester);
    await expect(matchJob(on))
      .to.be.revertedWithCustomError(market, "BalanceTooLow")
      .withArgs(requester.address, addresses.token, 68n, 69n);
  });

  it("refuses an offer that the node's key did not sign", async () => {
    const on = await loadFixture(readyMarket);
    const offer = on.offer();
    for (const signer of [on.operator, on.stranger]) {
      await expect(matchJob(on, { offers: [offer], offerSignatures: [await signOffer(on, signer, offer)] }))
        .to.be.revertedWithCustomError(on.market, "BadOfferSignature")
        .withArgs(offerHash(on, offer), on.nodeKey.address);
    }
  });

  it("refuses an offer after its last second", async () => {
    const on = await loadFixture(readyMarket);
    const offer = on.offer({ expiresAt: (await time.latest()) + 100 });
    await at(offer.expiresAt + 1);
    await expect(matchJob(on, { offers: [offer] }))
      .to.be.revertedWithCustomError(on.market, "OfferExpired")
      .withArgs(offerHash(on, offer), offer.expiresAt);
    const again = await loadFixture(readyMarket);
    await at(offer.expiresAt);
    await matchJob(again, { offers: [offer] });
  });

  const mismatches: [string, Partial<Request>, Partial<Offer>][] = [
    ["token", {}, { token: somebody }],
    ["requester", {}, { requester: somebody }],
    ["cpuMilli", { cpuMilli: 4001 }, {}],
    ["memoryMiB", { memoryMiB: 4097 }, {}],
    ["diskMiB", { diskMiB: 1025 }, {}],
    ["gpus", { gpus: 1 }, {}],
    ["traits", { traits: 0b1001n }, {}],
    ["gpuModel", { gpuModel: text32("A") as `0x${string}` }, { gpuModel: text32("B") as `0x${string}` }],
    ["region", { region: text32("eu") as `0x${string}` }, { region: text32("us") as `0x${string}` }],
    ["maxSeconds", { maxSeconds: 200 }, { maxSeconds: 199 }],
    ["submitWindow", { maxSeconds: 241 }, {}],
    ["challengeWindow", { challengeWindow: 80_000, arbiterWindow: 6401 }, {}],
    ["bond", { bond: 1_000_001n }, {}],
    ["compensationBps", { compensationBps: 501 }, { maxCompensationBps: 500 }],
    ["verifier", {}, { verifier: somebody }],
    ["verifierData", { verifierData: nonce("x") }, {}],
    ["arbiter", {}, { arbiter: somebody }],
    ["arbiterData", { arbiterData: nonce("x") }, {}],
    ["arbiterFee", { arbiterFee: 1n }, {}],
  ];
  for (const [field, asked, offered] of mismatches) {
    it(`refuses an offer whose ${field} does not serve the request`, async () => {
      const on = await loadFixture(readyMarket);
      const [request, offer] = [on.request(asked), on.offer(offered)];
      await expect(matchJob(on, { request, offers: [offer] }))
        .to.be.revertedWithCustomError(on.market, "OfferMismatch")
        .withArgs(offerHash(on, offer), text32(field));
    });
  }

  it("takes an offer that fits to the unit", async () => {
    const on = await loadFixture(readyMarket);
    const names = { gpuModel: text32("H200") as `0x${string}`, region: text32("eu") as `0x${string}` };
    const asked = { cpuMilli: 4000, memoryMiB: 4096, diskMiB: 1024, gpus: 2, traits: 0b111n, maxSeconds: 240 };
    const windows = { challengeWindow: 80_000, arbiterWindow: 6400, bond: 1_000_000n, compensationBps: 1000 };
    const request = on.request({ ...asked, ...names, ...windows });
    await matchJob(on, { request, offers: [on.offer({ ...names, gpus: 2, requester: addressOf(on.requester) })] });
  });

  const limits: [string, Partial<NodeLimits>][] = [
    ["maxBond", { maxBond: 999n }],
    ["maxActive", { maxActive: 0 }],
    ["tokens", { tokens: [somebody] }],
    ["verifiers", { verifiers: [somebody] }],
    ["arbiters", { arbiters: [] }],
    ["cpuMilli", { cpuMilli: 999 }],
    ["memoryMiB", { memoryMiB: 511 }],
    ["diskMiB", { diskMiB: 127 }],
  ];
  for (const [field, replaced] of limits) {
    it(`stays within the operator's ${field}`, async () => {
      const on = await loadFixture(readyMarket);
      const tight = await setLimits(on, replaced);
      await expect(matchJob(on, { limits: [tight] }))
        .to.be.revertedWithCustomError(on.market, "LimitExceeded")
        .withArgs(on.operator.address, 0, text32(field));
    });
  }

  it("stays within the operator's gpus", async () => {
    const on = await loadFixture(readyMarket);
    const tight = await setLimits(on, { gpus: 1 });
    await expect(matchJob(on, { request: on.request({ gpus: 2 }), offers: [on.offer({ gpus: 4 })], limits: [tight] }))
      .to.be.revertedWithCustomError(on.market, "LimitExceeded")
      .withArgs(on.operator.address, 0, text32("gpus"));
  });

  it("refuses limits that are not those last set, and a node without any", async () => {
    const on = await loadFixture(readyMarket);
    await expect(matchJob(on, { limits: [limitsFor(on, { maxActive: 1001 })] }))
      .to.be.revertedWithCustomError(on.market, "LimitsUnknown")
      .withArgs(on.operator.address, 0);
    await publishNode(on, on.operator, on.newNodeKey, { index: 1 });
    const offer = on.offer({ index: 1 });
    await expect(matchJob(on, { offers: [offer], offerSignatures: [await signOffer(on, on.newNodeKey, offer)] }))
      .to.be.revertedWithCustomError(on.market, "LimitsUnknown")
      .withArgs(on.operator.address, 1);
  });

  it("fills a node to the last unit and not further", async () => {
    const on = await loadFixture(readyMarket);
    const half = (text: string) => on.request({ cpuMilli: 2000, nonce: nonce(text) });
    await matchJob(on, { request: half("first") });
    await matchJob(on, { request: half("second") });
    await expect(matchJob(on, { request: on.request({ cpuMilli: 1 }) }))
      .to.be.revertedWithCustomError(on.market, "CapacityExceeded")
      .withArgs(on.operator.address, 0, text32("cpuMilli"), 0, 1);
    // A smaller offer of the same node does not forget what a larger one took.
    await expect(matchJob(on, { offers: [on.offer({ cpuMilli: 3000 })] }))
      .to.be.revertedWithCustomError(on.market, "CapacityExceeded")
      .withArgs(on.operator.address, 0, text32("cpuMilli"), 0, 1000);
  });

  it("refuses an operator without the stake", async () => {
    const on = await loadFixture(readyMarket);
    const { staking, token, operator, addresses } = on;
    await staking.connect(operator).requestExit(operator, token, 10n * DOLLAR - 999n);
    await expect(matchJob(on))
      .to.be.revertedWithCustomError(staking, "StakeTooLow")
      .withArgs(operator.address, addresses.token, 999n, 1000n);
    await matchJob(on, { request: on.request({ bond: 0n }) });
  });

  it("refuses a deactivated operator", async () => {
    const on = await loadFixture(readyMarket);
    await on.identity.connect(on.operator).changeOwner(on.operator, ZERO_ADDRESS);
    await expect(matchJob(on))
      .to.be.revertedWithCustomError(on.market, "OperatorDeactivated")
      .withArgs(on.operator.address);
  });

  it("refuses offers of an older epoch", async () => {
    const on = await loadFixture(readyMarket);
    await on.market.connect(on.nodeKey).bumpEpoch(on.operator, 0);
    await expect(matchJob(on))
      .to.be.revertedWithCustomError(on.market, "WrongEpoch")
      .withArgs(offerHash(on, on.offer()), 0, 1);
    await matchJob(on, { offers: [on.offer({ epoch: 1 })] });
  });

  it("binds all replicas or none", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ replicas: 2 });
    const offers = [on.offer(), on.offer({ operator: addressOf(on.otherOperator), maxBond: 0n })];
    await expect(matchJob(on, { request, offers })).to.be.revertedWithCustomError(on.market, "OfferMismatch");
    expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.None);
    expect((await on.market.useOf(on.operator, 0)).active).to.equal(0n);
    await expectNothingLost(on);
  });

  it("refuses orders signed for another chain or another market", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request();
    const elsewhere = { ...on, addresses: { ...on.addresses, market: somebody } };
    await expect(
      matchJob(on, { request, requesterSignature: await signRequest(elsewhere, on.requester, request) }),
    ).to.be.revertedWithCustomError(on.market, "BadRequestSignature");
    await expect(
      matchJob(on, { offerSignatures: [await signOffer(elsewhere, on.nodeKey, on.offer())] }),
    ).to.be.revertedWithCustomError(on.market, "BadOfferSignature");
  });

  it("needs a key that counts past the last deadline", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ arbiterWindow: 50 });
    const now = (await time.latest()) + 10;
    const needed = now + 300 + 600 + 50;
    await publishNode(on, on.operator, on.nodeKey, { validTo: needed - 1 });
    await at(now);
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "KeyExpiresTooSoon")
      .withArgs(on.operator.address, 0, needed - 1, needed);
    await publishNode(on, on.operator, on.nodeKey, { validTo: needed + DAY });
    await matchJob(on, { request });
  });
});

async function setLimits(on: Ready, replaced: Partial<NodeLimits>): Promise<NodeLimits> {
  const tight = limitsFor(on, replaced);
  await on.market.connect(on.operator).setNodeLimits(on.operator, 0, tight);
  return tight;
}
