import {
  depositUp,
  MODE,
  type NodeLimits,
  type Offer,
  orderTypes,
  type Request,
  replicaCommitment,
  ZERO_ADDRESS,
} from "@berth/protocol";
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
  operatorsTree,
  publishNode,
  type Ready,
  readyMarket,
  State,
  signOffer,
  signRequest,
  termsFor,
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
    const [id, held, terms] = [jobId(on, request), depositUp(request, offer), termsFor(on, request, offer)];
    const now = (await time.latest()) + 1;
    await at(now);
    const matching = matchJob(on, { request, offers: [offer] });
    await expect(matching)
      .to.emit(market, "JobMatched")
      .withArgs(id, requester.address, matcher.address, held + 7n, 0, 7, Object.values(terms.job));
    await expect(matching)
      .to.emit(market, "ReplicaMatched")
      .withArgs(id, operator.address, Object.values(terms.assignment));
    await expect(matching).to.emit(staking, "Locked").withArgs(operator.address, on.addresses.token, 1000);

    expect(held).to.equal(69n);
    expect(await market.replicaOf(id, 0)).to.deep.equal([State.Active, BigInt(now), 0n, replicaCommitment(terms)]);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 1n, 1000n, 512n, 128n, 0n, 0n, true]);
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
      .withArgs(
        jobId(on, request),
        requester.address,
        matcher.address,
        69,
        9_999_931,
        0,
        Object.values(termsFor(on, request, on.offer()).job),
      );
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
      const commitment = replicaCommitment(termsFor(on, request, offer, replica));
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
    const on = await loadFixture(readyMarket);
    const request = on.request();
    await matchJob(on, { request });
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(jobId(on, request), 0, State.Active, State.None);
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

  it("refuses offers or signatures that are not one per replica", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ replicas: 2 });
    const both = [on.offer(), on.offer({ operator: addressOf(on.otherOperator) })];
    const id = jobId(on, request);
    for (const [offers, count] of [
      [[], 0],
      [[on.offer()], 1],
      [[...both, on.offer({ operator: addressOf(on.heir) })], 3],
    ] as const) {
      await expect(matchJob(on, { request, offers: [...offers] }))
        .to.be.revertedWithCustomError(on.market, "WrongOfferCount")
        .withArgs(id, count, 2);
    }
    for (const offerSignatures of [["0x"], ["0x", "0x", "0x"]]) {
      await expect(matchJob(on, { request, offers: both, offerSignatures }))
        .to.be.revertedWithCustomError(on.market, "WrongOfferCount")
        .withArgs(id, offerSignatures.length, 2);
    }
  });

  it("refuses new jobs while the guardian has stopped them, signed or posted", async () => {
    const on = await loadFixture(readyMarket);
    const posted = on.request({ nonce: nonce("posted") });
    await on.market.connect(on.requester).post(posted, "0x", "0x");
    await on.market.connect(on.guardian).setPaused(true);
    for (const request of [on.request(), posted]) {
      await expect(matchJob(on, { request })).to.be.revertedWithCustomError(on.market, "NewJobsPaused");
    }
    await on.market.connect(on.guardian).setPaused(false);
    for (const request of [on.request(), posted]) await matchJob(on, { request });
  });

  it("refuses an unsound request that was signed", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ bounty: 1001n });
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "BadRequest")
      .withArgs(jobId(on, request), text32("bounty"));
  });

  for (const mode of [MODE.batch, MODE.lease]) {
    it(`refuses words with stray bits in mode ${mode}, even where the requester agrees to them`, async () => {
      const on = await loadFixture(readyMarket);
      const { market, requester } = on;
      const [request, offer] = [on.request({ mode, heartbeatSeconds: 60 }), on.offer()];
      // The requester calls, so it needs to sign nothing: the words are agreed to whatever they are.
      const signatures = [await signOffer(on, on.nodeKey, offer)];
      const data = market.interface.encodeFunctionData("matchJob", [request, "0x", "0x", [offer], signatures, []]);
      for (const [word, { name, type }] of orderTypes.Request.entries()) {
        if (type === "uint256" || type === "bytes32") continue;
        const start = 2 + 8 + word * 64;
        const dirty = `${data.slice(0, start)}01${data.slice(start + 2)}`;
        const sending = requester.sendTransaction({ to: on.addresses.market, data: dirty });
        await expect(sending, name).to.be.revertedWithCustomError(market, "StrayBits");
      }
      await requester.sendTransaction({ to: on.addresses.market, data });
      expect((await market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Active);
    });
  }

  it("refuses stray bits in an offer", async () => {
    const on = await loadFixture(readyMarket);
    const { market, matcher } = on;
    const [request, offer] = [on.request(), on.offer()];
    const signatures = [await signRequest(on, on.requester, request), await signOffer(on, on.nodeKey, offer)];
    const args = [request, signatures[0], "0x", [offer], [signatures[1]], []];
    const data = market.interface.encodeFunctionData("matchJob", args);
    const at = data.indexOf(offer.operator.slice(2).toLowerCase(), 2 + 8 + orderTypes.Request.length * 64) - 24;
    for (const [word, { name, type }] of orderTypes.Offer.entries()) {
      if (type === "uint256" || type === "bytes32") continue;
      const start = at + word * 64;
      const dirty = `${data.slice(0, start)}01${data.slice(start + 2)}`;
      const sending = matcher.sendTransaction({ to: on.addresses.market, data: dirty });
      await expect(sending, name).to.be.revertedWithCustomError(market, "StrayBits");
    }
    await matcher.sendTransaction({ to: on.addresses.market, data });
    expect((await market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Active);
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

  it("takes a lease whose heartbeat is as long as the offer wants, and no shorter one", async () => {
    const on = await loadFixture(readyMarket);
    const lease = (heartbeatSeconds: number) => on.request({ mode: MODE.lease, heartbeatSeconds });
    for (const [heartbeatSeconds, minHeartbeatSeconds] of [
      [59, 60],
      [60, 0],
    ] as const) {
      const offer = on.offer({ minHeartbeatSeconds });
      await expect(matchJob(on, { request: lease(heartbeatSeconds), offers: [offer] }))
        .to.be.revertedWithCustomError(on.market, "OfferMismatch")
        .withArgs(offerHash(on, offer), text32("heartbeatSeconds"));
    }
    const noticed = on.request({ mode: MODE.lease, heartbeatSeconds: 60, noticeSeconds: 86_401 });
    await expect(matchJob(on, { request: noticed }))
      .to.be.revertedWithCustomError(on.market, "OfferMismatch")
      .withArgs(offerHash(on, on.offer()), text32("noticeSeconds"));
    await matchJob(on, { request: lease(60) });
    expect((await on.market.replicaOf(jobId(on, lease(60)), 0)).state).to.equal(State.Active);
    // A batch job has no heartbeat, and an offer without leases takes it.
    await matchJob(on, { request: on.request(), offers: [on.offer({ minHeartbeatSeconds: 0 })] });
  });

  it("asks no time for a result of a lease", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ mode: MODE.lease, heartbeatSeconds: 60, maxSeconds: 600, submitWindow: 0 });
    await matchJob(on, { request });
    expect((await on.market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Active);
  });

  const limits: [string, Partial<NodeLimits>, Partial<NodeLimits>][] = [
    ["maxBond", { maxBond: 999n }, { maxBond: 1000n }],
    ["maxActive", { maxActive: 0 }, { maxActive: 1 }],
    ["cpuMilli", { cpuMilli: 999 }, { cpuMilli: 1000 }],
    ["memoryMiB", { memoryMiB: 511 }, { memoryMiB: 512 }],
    ["diskMiB", { diskMiB: 127 }, { diskMiB: 128 }],
    ["gpus", { gpus: 1 }, { gpus: 2 }],
  ];
  for (const [field, tooTight, wideEnough] of limits) {
    it(`stays within the operator's ${field}`, async () => {
      const on = await loadFixture(readyMarket);
      const orders = { request: on.request({ gpus: 2 }), offers: [on.offer({ gpus: 4 })] };
      await setLimits(on, tooTight);
      await expect(matchJob(on, orders))
        .to.be.revertedWithCustomError(on.market, "LimitExceeded")
        .withArgs(on.operator.address, 0, text32(field));
      await setLimits(on, wideEnough);
      await matchJob(on, orders);
    });
  }

  it("refuses a token, a verifier or an arbiter that the operator does not accept", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, addresses } = on;
    const asOperator = market.connect(operator);
    const judge = { verifier: somebody, arbiter: addressOf(on.arbiter), arbiterWindow: 60 };
    const orders = {
      request: on.request(judge),
      offers: [on.offer({ verifier: judge.verifier, arbiter: judge.arbiter })],
    };
    for (const what of [judge.verifier, judge.arbiter]) {
      await expect(matchJob(on, orders))
        .to.be.revertedWithCustomError(market, "NotAccepted")
        .withArgs(operator.address, ethers.getAddress(what));
      // What another operator accepts says nothing of this one.
      await market.connect(on.otherOperator).setAccepted(on.otherOperator, [what], true);
      await asOperator.setAccepted(operator, [what], true);
    }
    await asOperator.setAccepted(operator, [addresses.token], false);
    await expect(matchJob(on, orders))
      .to.be.revertedWithCustomError(market, "NotAccepted")
      .withArgs(operator.address, addresses.token);
    await asOperator.setAccepted(operator, [addresses.token], true);
    await matchJob(on, orders);
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

  it("counts what is staked, the bond included, against the least that the request asks for", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, operator, addresses } = on;
    for (const bond of [1000n, 0n]) {
      const request = on.request({ bond, minStake: 10n * DOLLAR + 1n });
      await expect(matchJob(on, { request }))
        .to.be.revertedWithCustomError(market, "StakeBelowMinimum")
        .withArgs(operator.address, addresses.token, 10n * DOLLAR, 10n * DOLLAR + 1n);
    }
    await matchJob(on, { request: on.request({ minStake: 10n * DOLLAR }) });
    // What backs an open replica counts; what is on its way out does not.
    await matchJob(on, { request: on.request({ minStake: 10n * DOLLAR, bond: 0n }) });
    await staking.connect(operator).requestExit(operator, token, 1n);
    await expect(matchJob(on, { request: on.request({ minStake: 10n * DOLLAR, nonce: nonce("3") }) }))
      .to.be.revertedWithCustomError(market, "StakeBelowMinimum")
      .withArgs(operator.address, addresses.token, 10n * DOLLAR - 1n, 10n * DOLLAR);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1001n, 1000n]);
  });

  it("takes only the operators that the request names, each with its proof", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, otherOperator, stranger } = on;
    const [tree, others] = [operatorsTree(operator, otherOperator), operatorsTree(otherOperator, stranger)];
    const request = on.request({ operators: tree.root });
    for (const proof of [[], tree.proofOfSecond, others.proofOfFirst, [...tree.proofOfFirst, nonce("more")]]) {
      await expect(matchJob(on, { request, operatorProofs: [proof] }))
        .to.be.revertedWithCustomError(market, "OperatorNotAllowed")
        .withArgs(jobId(on, request), operator.address);
    }
    const elsewhere = on.request({ operators: others.root });
    await expect(matchJob(on, { request: elsewhere, operatorProofs: [others.proofOfFirst] }))
      .to.be.revertedWithCustomError(market, "OperatorNotAllowed")
      .withArgs(jobId(on, elsewhere), operator.address);
    await matchJob(on, { request, operatorProofs: [tree.proofOfFirst] });
  });

  it("wants one proof per replica, and one list of one operator is its own root", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, otherOperator } = on;
    const tree = operatorsTree(operator, otherOperator);
    const request = on.request({ operators: tree.root, replicas: 2 });
    const offers = [on.offer(), on.offer({ operator: addressOf(otherOperator) })];
    const both = [tree.proofOfFirst, tree.proofOfSecond];
    for (const operatorProofs of [[], [tree.proofOfFirst], [...both, []]]) {
      await expect(matchJob(on, { request, offers, operatorProofs }))
        .to.be.revertedWithCustomError(market, "WrongOfferCount")
        .withArgs(jobId(on, request), 2, 2);
    }
    await expect(matchJob(on, { request, offers, operatorProofs: both.toReversed() }))
      .to.be.revertedWithCustomError(market, "OperatorNotAllowed")
      .withArgs(jobId(on, request), operator.address);
    await matchJob(on, { request, offers, operatorProofs: both });
    const alone = on.request({ operators: operatorsTree(operator, operator).leafOfFirst });
    await matchJob(on, { request: alone, operatorProofs: [[]] });
  });

  it("refuses a deactivated operator and a revoked node, whose keys count for nothing", async () => {
    for (const end of ["deactivated", "revoked"] as const) {
      const on = await loadFixture(readyMarket);
      const asOperator = on.identity.connect(on.operator);
      if (end === "deactivated") await asOperator.changeOwner(on.operator, ZERO_ADDRESS);
      else await asOperator.revokeNode(on.operator, 0);
      const now = (await time.latest()) + 1;
      await at(now);
      await expect(matchJob(on), end)
        .to.be.revertedWithCustomError(on.market, "KeyExpiresTooSoon")
        .withArgs(on.operator.address, 0, 0, now + 300 + 600);
    }
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
    const now = (await time.latest()) + 600;
    const needed = now + 300 + 600 + 50;
    await publishNode(on, on.operator, on.nodeKey, { validTo: needed - 1 });
    await at(now);
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "KeyExpiresTooSoon")
      .withArgs(on.operator.address, 0, needed - 1, needed);
    await publishNode(on, on.operator, on.nodeKey, { validTo: needed + DAY });
    await matchJob(on, { request });
  });

  it("needs, for a lease, a key that counts past its deposit and two heartbeats", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ mode: MODE.lease, heartbeatSeconds: 100, maxSeconds: 3000 });
    const now = (await time.latest()) + 600;
    const needed = now + 3000 + 2 * 100;
    await publishNode(on, on.operator, on.nodeKey, { validTo: needed - 1 });
    await at(now);
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "KeyExpiresTooSoon")
      .withArgs(on.operator.address, 0, needed - 1, needed);
    await publishNode(on, on.operator, on.nodeKey, { validTo: now + 60 + 3000 + 2 * 100 });
    await at(now + 60);
    await matchJob(on, { request });
  });
});

async function setLimits(on: Ready, replaced: Partial<NodeLimits>): Promise<void> {
  await on.market.connect(on.operator).setNodeLimits(on.operator, 0, limitsFor(replaced));
}
