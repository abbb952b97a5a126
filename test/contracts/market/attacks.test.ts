// Each test performs the attack that a rule closes, as an attacker with everything that it could really have would.
import { type Claim, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../support/actors.ts";
import {
  addressOf,
  aProfile,
  DOLLAR,
  fund,
  jobId,
  keyProof,
  limitsFor,
  matchJob,
  NO_CLAIM,
  offerHash,
  publishNode,
  readyMarket,
  runningJob,
  State,
  signOffer,
  signRequest,
  stake,
  submittedResult,
  text32,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const nonce = (text: string) => ethers.id(text) as `0x${string}`;
const claim: Claim = { resultHash: nonce("result"), resultBytes: 512n, charge: 5n };

describe("R1: a stolen hot key cannot move stake", () => {
  it("cannot burn it: the thief's own requests lose at most the operator's limit, bond by bond", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, operator, nodeKey, stranger } = on;
    const tight = limitsFor(on, { maxBond: 1000n, maxActive: 2 });
    await market.connect(operator).setNodeLimits(operator, 0, tight);
    await fund(on, stranger, DOLLAR);

    // The thief signs offers for any bond and matches them with requests of its own, never to be served.
    const thief = { requester: addressOf(stranger), payer: addressOf(stranger) };
    const attack = async (text: string, bond: bigint) => {
      const request = on.request({ ...thief, bond, nonce: nonce(text) });
      const offer = on.offer({ maxBond: 1n << 100n });
      const offerSignatures = [await signOffer(on, nodeKey, offer)];
      return matchJob(on, {
        request,
        offers: [offer],
        offerSignatures,
        limits: [tight],
        by: stranger,
        requesterSignature: "0x",
      });
    };
    await expect(attack("all of it", 10n * DOLLAR))
      .to.be.revertedWithCustomError(market, "LimitExceeded")
      .withArgs(operator.address, 0, text32("maxBond"));
    await attack("first", 1000n);
    await attack("second", 1000n);
    await expect(attack("third", 1000n))
      .to.be.revertedWithCustomError(market, "LimitExceeded")
      .withArgs(operator.address, 0, text32("maxActive"));
    expect((await staking.stakeOf(operator, token)).locked).to.equal(2000n);
  });

  it("cannot loosen the limits, take the stake or the money out, or publish another key", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, identity, token, operator, nodeKey, newNodeKey } = on;
    await fund(on, operator, DOLLAR);
    const limits = limitsFor(on, { maxBond: 1n << 100n });
    await expect(market.connect(nodeKey).setNodeLimits(operator, 0, limits)).to.be.revertedWithCustomError(
      market,
      "NotController",
    );
    await expect(matchJob(on, { limits: [limits] })).to.be.revertedWithCustomError(market, "LimitsUnknown");
    await expect(staking.connect(nodeKey).requestExit(operator, token, 1n)).to.be.revertedWithCustomError(
      staking,
      "NotController",
    );
    await expect(staking.connect(nodeKey).exit(operator, token, nodeKey)).to.be.revertedWithCustomError(
      staking,
      "NotController",
    );
    await expect(market.connect(nodeKey).withdraw(operator, token, 1n, nodeKey)).to.be.revertedWithCustomError(
      market,
      "NotController",
    );
    const profile = await aProfile(newNodeKey);
    const node = { operator: addressOf(operator), index: 0, wgKey: profile.wgKey };
    const proof = await keyProof(on, newNodeKey, node);
    await expect(identity.connect(nodeKey).publishNode(operator, profile, proof)).to.be.revertedWithCustomError(
      identity,
      "NotController",
    );
  });

  it("cannot bring in a token or a judge of its own", async () => {
    const on = await loadFixture(readyMarket);
    const worthless = await ethers.deployContract("HookToken");
    const token = addressOf({ address: await worthless.getAddress() });
    const offers = [on.offer({ token })];
    await expect(matchJob(on, { request: on.request({ token, maxPrice: 69n }), offers })).to.be.revert(ethers);
    await worthless.getFunction("mint")(on.requester, 100n);
    await worthless.connect(on.requester).getFunction("approve")(on.market, 100n);
    await on.market.connect(on.requester).deposit(on.requester, token, 100n);
    await expect(matchJob(on, { request: on.request({ token, maxPrice: 69n }), offers }))
      .to.be.revertedWithCustomError(on.market, "LimitExceeded")
      .withArgs(on.operator.address, 0, text32("tokens"));
    const judge = addressOf(on.stranger);
    for (const field of ["verifier", "arbiter"] as const) {
      const request = on.request({ [field]: judge });
      await expect(matchJob(on, { request, offers: [on.offer({ [field]: judge })] }))
        .to.be.revertedWithCustomError(on.market, "BadRequest")
        .withArgs(jobId(on, request), text32(field));
    }
  });
});

describe("R2: nodes have ids", () => {
  it("an operator cannot bind somebody else's key, nor one key to two nodes", async () => {
    const on = await loadFixture(readyMarket);
    await expect(publishNode(on, on.stranger, on.nodeKey)).to.be.revertedWithCustomError(on.identity, "KeyTaken");
    const profile = {
      key: on.heir.address,
      index: 0,
      wgKey: nonce("wg"),
      salt: 0n,
      validTo: 1n << 39n,
      wgEndpoint: "",
      contentUrl: "",
    };
    const copied = await signOffer(on, on.heir, on.offer());
    await expect(
      on.identity.connect(on.stranger).publishNode(on.stranger, profile, copied),
    ).to.be.revertedWithCustomError(on.identity, "BadKeyProof");
  });

  it("an offer of one node is no offer of another, and a new epoch frees no capacity", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, nodeKey } = on;
    await publishNode(on, operator, on.newNodeKey, { index: 1 });
    await market.connect(operator).setNodeLimits(operator, 1, on.limits);
    const offers = [on.offer({ index: 1 })];
    await expect(
      matchJob(on, { offers, offerSignatures: [await signOffer(on, nodeKey, on.offer({ index: 1 }))] }),
    ).to.be.revertedWithCustomError(market, "BadOfferSignature");
    await matchJob(on, { request: on.request({ cpuMilli: 4000 }) });
    await market.connect(nodeKey).bumpEpoch(operator, 0);
    await expect(matchJob(on, { request: on.request({ nonce: nonce("2") }), offers: [on.offer({ epoch: 1 })] }))
      .to.be.revertedWithCustomError(market, "CapacityExceeded")
      .withArgs(operator.address, 0, text32("cpuMilli"), 0, 1000);
  });

  it("a replica gives its capacity back once, whatever follows", async () => {
    const on = await loadFixture(submittedResult);
    const { market, operator, nodeKey, requester, terms } = on;
    await matchJob(on, { request: on.request({ nonce: nonce("other") }) });
    const before = await market.useOf(operator, 0);
    await expect(market.connect(nodeKey).submit(terms, on.claim)).to.be.revertedWithCustomError(market, "WrongState");
    await expect(market.connect(nodeKey).decline(terms)).to.be.revertedWithCustomError(market, "WrongState");
    await market.connect(requester).approve(terms, on.claim);
    expect(await market.useOf(operator, 0)).to.deep.equal(before);
  });

  it("deactivating the operator strands neither its running job nor its money", async () => {
    const on = await loadFixture(runningJob);
    const { identity, market, staking, token, operator, nodeKey, terms, matchedAt } = on;
    await identity.connect(operator).changeOwner(operator, ZERO_ADDRESS);
    await at(matchedAt + 50);
    await market.connect(nodeKey).submit(terms, claim);
    await time.increase(601);
    await market.connect(on.stranger).finalize(terms, claim);
    await market.connect(operator).withdraw(operator, token, claim.charge, operator);
    await staking.connect(operator).requestExit(operator, token, 10n * DOLLAR);
    await expectNothingLost(on);
  });
});

describe("R3: what settles is what was matched", () => {
  it("no member of the terms can be swapped after the match", async () => {
    const on = await loadFixture(submittedResult);
    const { market, requester, terms } = on;
    const swapped = [
      { request: { payer: addressOf(on.payer) } },
      { request: { token: addressOf(on.heir) } },
      { request: { bond: 0n } },
      { request: { challengeWindow: 0 } },
      { offer: { operator: addressOf(on.otherOperator) } },
      { offer: { index: 1 } },
      { offer: { baseCharge: 0n } },
      { offer: { cpuRateX18: 0n } },
      { replica: 1 },
    ] as { request?: object; offer?: object; replica?: number }[];
    for (const { request, offer, replica = 0 } of swapped) {
      const forged = { request: { ...terms.request, ...request }, offer: { ...terms.offer, ...offer }, replica };
      await expect(market.connect(requester).approve(forged, on.claim)).to.be.revertedWithCustomError(
        market,
        "WrongTerms",
      );
    }
  });

  it("two replicas of one job cannot change places or share a result", async () => {
    const on = await loadFixture(readyMarket);
    const { market, nodeKey } = on;
    const request = on.request({ replicas: 2 });
    const offers = [on.offer(), on.offer({ operator: addressOf(on.otherOperator) })] as const;
    await matchJob(on, { request, offers: [...offers] });
    await time.increase(50);
    await expect(
      market.connect(nodeKey).submit({ request, offer: offers[0], replica: 1 }, claim),
    ).to.be.revertedWithCustomError(market, "WrongTerms");
    await expect(
      market.connect(nodeKey).submit({ request, offer: offers[1], replica: 1 }, claim),
    ).to.be.revertedWithCustomError(market, "NotNode");
    await market.connect(nodeKey).submit({ request, offer: offers[0], replica: 0 }, claim);
    expect(await market.resultOf(jobId(on, request), 1)).to.equal(ethers.ZeroHash);
  });

  it("a request runs once: neither its signature nor its post opens it again", async () => {
    const on = await loadFixture(submittedResult);
    const { market, requester, terms } = on;
    await market.connect(requester).approve(terms, on.claim);
    await expect(matchJob(on, { request: terms.request })).to.be.revertedWithCustomError(market, "WrongState");
    await expect(market.connect(requester).post(terms.request, "0x", "0x")).to.be.revertedWithCustomError(
      market,
      "WrongState",
    );
  });
});

describe("R4: both sides consent to the judge and its windows", () => {
  it("a requester cannot impose windows, bonds or data that the offer does not name", async () => {
    const on = await loadFixture(readyMarket);
    for (const [field, imposed] of [
      ["challengeWindow", { challengeWindow: 86_401 }],
      ["bond", { bond: 1_000_001n }],
      ["compensationBps", { compensationBps: 1000 }],
      ["verifierData", { verifierData: nonce("jurors") }],
      ["arbiterData", { arbiterData: nonce("court") }],
      ["arbiterFee", { arbiterFee: 1n }],
      ["submitWindow", { maxSeconds: 300 }],
    ] as const) {
      const offer = on.offer({ maxCompensationBps: 500 });
      await expect(matchJob(on, { request: on.request(imposed), offers: [offer] }))
        .to.be.revertedWithCustomError(on.market, "OfferMismatch")
        .withArgs(offerHash(on, offer), text32(field));
    }
  });

  it("a node cannot let its time pass and then decline instead of losing its bond", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ acceptWindow: 301 });
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "BadRequest")
      .withArgs(jobId(on, request), text32("acceptWindow"));
    const edge = on.request({ acceptWindow: 300 });
    await matchJob(on, { request: edge });
    await time.increase(301);
    await expect(
      on.market.connect(on.nodeKey).decline({ request: edge, offer: on.offer(), replica: 0 }),
    ).to.be.revertedWithCustomError(on.market, "WindowClosed");
  });
});

describe("R5: whose money", () => {
  it("a key that was rotated away spends, cancels and approves nothing; the new owner does", async () => {
    const on = await loadFixture(readyMarket);
    const { market, identity, requester, heir, matcher } = on;
    await identity.connect(requester).changeOwner(requester, heir);
    const request = on.request();
    const byThief = { request, requesterSignature: await signRequest(on, requester, request) };
    await expect(matchJob(on, byThief)).to.be.revertedWithCustomError(market, "BadRequestSignature");
    await expect(market.connect(requester).post(request, "0x", "0x")).to.be.revertedWithCustomError(
      market,
      "BadRequestSignature",
    );
    await expect(market.connect(requester).cancel(request)).to.be.revertedWithCustomError(market, "NotRequester");

    await matchJob(on, { request, requesterSignature: await signRequest(on, heir, request), by: matcher });
    const terms = { request, offer: on.offer(), replica: 0 };
    await market.connect(on.nodeKey).submit(terms, claim);
    await expect(market.connect(requester).approve(terms, claim)).to.be.revertedWithCustomError(market, "NotRequester");
    await market.connect(heir).approve(terms, claim);
    await expectNothingLost(on);
  });

  it("a requester cannot spend a payer's balance without the payer's signature over this very request", async () => {
    const on = await loadFixture(readyMarket);
    const { market, requester, payer } = on;
    const agreed = on.request({ payer: addressOf(payer) });
    const signature = await signRequest(on, payer, agreed);
    const dearer = { ...agreed, maxPrice: agreed.maxPrice * 2n };
    for (const payerSignature of ["0x", signature, await signRequest(on, requester, dearer)]) {
      await expect(matchJob(on, { request: dearer, payerSignature, by: requester }))
        .to.be.revertedWithCustomError(market, "BadPayerSignature")
        .withArgs(jobId(on, dearer), payer.address);
    }
    await matchJob(on, { request: agreed, payerSignature: signature });
  });

  it("refunds and compensation go to the payer, not to the requester", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, payer } = on;
    const request = on.request({ payer: addressOf(payer) });
    await matchJob(on, { request, payerSignature: await signRequest(on, payer, request) });
    await time.increase(301);
    await market.connect(requester).finalize({ request, offer: on.offer(), replica: 0 }, NO_CLAIM);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR + 3n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    await expectNothingLost(on);
  });

  it("a bond is never in another token than the order's", async () => {
    const on = await loadFixture(readyMarket);
    const other = await ethers.deployContract("TestToken");
    const token = addressOf({ address: await other.getAddress() });
    const limits = limitsFor(on, { tokens: [on.addresses.token, token] });
    await on.market.connect(on.operator).setNodeLimits(on.operator, 0, limits);
    await stake(on, on.operator, 100n * DOLLAR); // plenty, in the wrong token
    await other.getFunction("mint")(on.requester, 100n);
    await other.connect(on.requester).getFunction("approve")(on.market, 100n);
    await on.market.connect(on.requester).deposit(on.requester, token, 100n);
    await expect(
      matchJob(on, { request: on.request({ token, maxPrice: 100n }), offers: [on.offer({ token })], limits: [limits] }),
    )
      .to.be.revertedWithCustomError(on.staking, "StakeTooLow")
      .withArgs(on.operator.address, token, 0, 1000);
  });

  it("money reserved by a post cannot be withdrawn or spent twice", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, addresses } = on;
    const request = on.request({ maxPrice: 100n * DOLLAR });
    await market.connect(requester).post(request, "0x", "0x");
    await expect(market.connect(requester).withdraw(requester, token, 1n, requester))
      .to.be.revertedWithCustomError(market, "BalanceTooLow")
      .withArgs(requester.address, addresses.token, 0, 1);
    await matchJob(on, { request });
    expect((await market.replicaOf(jobId(on, request), 0)).state).to.equal(State.Active);
  });
});
