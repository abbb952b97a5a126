// Each test performs the attack that a rule closes, as an attacker with everything that it could really have would.
import { type Claim, replicaCommitment, type Terms, ZERO_ADDRESS } from "@berth/protocol";
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
  termsFor,
  text32,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const nonce = (text: string) => ethers.id(text) as `0x${string}`;
const claim: Claim = { resultHash: nonce("result"), resultBytes: 512n, charge: 5n };

describe("R1: a stolen hot key cannot move stake", () => {
  it("cannot burn it: the thief's own requests lose at most the operator's limit, bond by bond", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, operator, nodeKey, stranger } = on;
    const tight = limitsFor({ maxBond: 1000n, maxActive: 2 });
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
    const limits = limitsFor({ maxBond: 1n << 100n });
    const before = await market.limitsOf(operator, 0);
    for (const call of [
      market.connect(nodeKey).setNodeLimits(operator, 0, limits),
      market.connect(nodeKey).setAccepted(operator, [on.stranger], true),
      market.connect(nodeKey).withdraw(operator, token, 1n, nodeKey),
    ]) {
      await expect(call)
        .to.be.revertedWithCustomError(market, "NotController")
        .withArgs(operator.address, nodeKey.address);
    }
    expect(await market.limitsOf(operator, 0)).to.deep.equal(before);
    expect(await market.accepts(operator, on.stranger)).to.equal(false);
    for (const call of [
      staking.connect(nodeKey).requestExit(operator, token, 1n),
      staking.connect(nodeKey).cancelExit(operator, token),
      staking.connect(nodeKey).exit(operator, token, nodeKey),
      staking.connect(nodeKey).collect(operator, token, nodeKey),
    ]) {
      await expect(call)
        .to.be.revertedWithCustomError(staking, "NotController")
        .withArgs(operator.address, nodeKey.address);
    }
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
      .to.be.revertedWithCustomError(on.market, "NotAccepted")
      .withArgs(on.operator.address, token);
    const judge = addressOf(on.stranger);
    for (const field of ["verifier", "arbiter"] as const) {
      const request = on.request({ [field]: judge, arbiterWindow: 60 });
      await expect(matchJob(on, { request, offers: [on.offer({ [field]: judge })] }))
        .to.be.revertedWithCustomError(on.market, "NotAccepted")
        .withArgs(on.operator.address, judge);
    }
  });
});

describe("R2: nodes have ids", () => {
  it("an operator cannot bind somebody else's key, nor one key to two nodes", async () => {
    const on = await loadFixture(readyMarket);
    await expect(publishNode(on, on.stranger, on.nodeKey)).to.be.revertedWithCustomError(on.identity, "KeyTaken");
    const profile = await aProfile(on.heir);
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
    await expect(market.connect(nodeKey).submit(terms, on.claim, "0x")).to.be.revertedWithCustomError(
      market,
      "WrongState",
    );
    await expect(market.connect(nodeKey).decline(terms, 0)).to.be.revertedWithCustomError(market, "WrongState");
    await market.connect(requester).approve(terms, on.claim);
    expect(await market.useOf(operator, 0)).to.deep.equal(before);
  });

  it("deactivating the operator strands neither its running job nor its money", async () => {
    const on = await loadFixture(runningJob);
    const { identity, market, staking, token, operator, nodeKey, terms, matchedAt } = on;
    await identity.connect(operator).changeOwner(operator, ZERO_ADDRESS);
    await at(matchedAt + 50);
    await market.connect(nodeKey).submit(terms, claim, "0x");
    await time.increase(601);
    await market.connect(on.stranger).finalize(terms, claim);
    await market.connect(operator).withdraw(operator, token, claim.charge, operator);
    await staking.connect(operator).requestExit(operator, token, 10n * DOLLAR);
    await expectNothingLost(on);
  });
});

describe("R3: what settles is what was matched", () => {
  /** Another value of the same type. */
  const swapped = (value: unknown) => {
    if (typeof value === "number") return value === 0 ? 1 : value - 1;
    if (typeof value === "bigint") return value + 1n;
    return `0x${"3".repeat(String(value).length - 2)}`;
  };
  /** Terms with one member swapped, for every member. */
  const forgeries = ({ job, assignment }: Terms) => [
    ...Object.entries(job).map(([name, value]) => ({
      name,
      forged: { job: { ...job, [name]: swapped(value) }, assignment },
    })),
    ...Object.entries(assignment).map(([name, value]) => ({
      name,
      forged: { job, assignment: { ...assignment, [name]: swapped(value) } },
    })),
  ];

  it("no member of the terms can be swapped after the match", async () => {
    const on = await loadFixture(runningJob);
    const { market, nodeKey, terms, matchedAt } = on;
    await time.increaseTo(matchedAt + 301);
    const all = forgeries(terms);
    expect(all.length).to.equal(32);
    for (const { name, forged } of all) {
      // Another job or replica is none at all; everything else is compared with what is stored.
      const error = name === "jobId" || name === "replica" ? "WrongState" : "WrongTerms";
      const calls = [
        market.connect(nodeKey).decline.staticCall(forged, 0),
        market.connect(nodeKey).submit.staticCall(forged, claim, "0x"),
        market.connect(on.stranger).finalize.staticCall(forged, NO_CLAIM),
      ];
      for (const call of calls) await expect(call, name).to.be.revertedWithCustomError(market, error);
    }
    await market.connect(on.stranger).finalize.staticCall(terms, NO_CLAIM);
  });

  it("nor after the submission, nor any member of the claim", async () => {
    const on = await loadFixture(submittedResult);
    const { market, requester, terms, submittedAt } = on;
    await time.increaseTo(submittedAt + 601);
    for (const { name, forged } of forgeries(terms)) {
      const error = name === "jobId" || name === "replica" ? "WrongState" : "WrongClaim";
      for (const call of [
        market.connect(requester).approve.staticCall(forged, on.claim),
        market.connect(requester).finalize.staticCall(forged, on.claim),
      ]) {
        await expect(call, name).to.be.revertedWithCustomError(market, error);
      }
    }
    for (const [name, value] of Object.entries(on.claim)) {
      const forged = { ...on.claim, [name]: swapped(value) };
      for (const call of [
        market.connect(requester).approve.staticCall(terms, forged),
        market.connect(requester).finalize.staticCall(terms, forged),
      ]) {
        await expect(call, name).to.be.revertedWithCustomError(market, "WrongClaim").withArgs(on.job, 0);
      }
    }
    await market.connect(requester).finalize.staticCall(terms, on.claim);
  });

  it("two replicas of one job cannot change places or share a result", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, otherOperator, nodeKey } = on;
    const request = on.request({ replicas: 2 });
    const offers = [on.offer(), on.offer({ operator: addressOf(otherOperator) })] as const;
    await matchJob(on, { request, offers: [...offers] });
    const id = jobId(on, request);
    await time.increase(50);
    const [first, second] = [termsFor(on, request, offers[0], 0), termsFor(on, request, offers[1], 1)];
    await expect(market.connect(nodeKey).submit(termsFor(on, request, offers[0], 1), claim, "0x"))
      .to.be.revertedWithCustomError(market, "WrongTerms")
      .withArgs(id, 1);
    await expect(market.connect(nodeKey).submit(second, claim, "0x"))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(otherOperator.address, 0, nodeKey.address);
    await market.connect(nodeKey).submit(first, claim, "0x");
    expect((await market.replicaOf(id, 1)).commitment).to.equal(replicaCommitment(second));
    await market.connect(on.requester).approve(first, claim);
    expect((await market.replicaOf(id, 1)).state).to.equal(State.Active);
    expect(await market.balanceOf(operator, on.token)).to.equal(claim.charge);
    expect(await market.balanceOf(otherOperator, on.token)).to.equal(0n);
  });

  it("a request runs once: neither its signature nor its post opens it again", async () => {
    const on = await loadFixture(submittedResult);
    const { market, requester, terms, matchedRequest: request, job } = on;
    await market.connect(requester).approve(terms, on.claim);
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.None);
    await expect(market.connect(requester).post(request, "0x", "0x"))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Settled, State.None);
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
      on.market.connect(on.nodeKey).decline(termsFor(on, edge, on.offer()), 0),
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
    const terms = termsFor(on, request, on.offer());
    await market.connect(on.nodeKey).submit(terms, claim, "0x");
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
    const { market, staking, token, requester, payer } = on;
    const request = on.request({ payer: addressOf(payer) });
    await matchJob(on, { request, payerSignature: await signRequest(on, payer, request) });
    await time.increase(301);
    await market.connect(requester).finalize(termsFor(on, request, on.offer()), NO_CLAIM);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await staking.owedTo(payer, token)).to.equal(3n);
    expect(await staking.owedTo(requester, token)).to.equal(0n);
    await expect(staking.connect(requester).collect(payer, token, requester))
      .to.be.revertedWithCustomError(staking, "NotController")
      .withArgs(payer.address, requester.address);
    await expectNothingLost(on);
  });

  it("a bond is never in another token than the order's", async () => {
    const on = await loadFixture(readyMarket);
    const other = await ethers.deployContract("TestToken");
    const token = addressOf({ address: await other.getAddress() });
    await on.market.connect(on.operator).setAccepted(on.operator, [token], true);
    await stake(on, on.operator, 100n * DOLLAR); // plenty, in the wrong token
    await other.getFunction("mint")(on.requester, 100n);
    await other.connect(on.requester).getFunction("approve")(on.market, 100n);
    await on.market.connect(on.requester).deposit(on.requester, token, 100n);
    await expect(matchJob(on, { request: on.request({ token, maxPrice: 100n }), offers: [on.offer({ token })] }))
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

describe("R6: nobody farms slashes or declines", () => {
  /** Everything that the accounts can take out of market and staking, and their stake. */
  async function worth(on: Awaited<ReturnType<typeof readyMarket>>, accounts: { address: string }[]) {
    let sum = 0n;
    for (const { address } of accounts) {
      const { free, locked } = await on.staking.stakeOf(address, on.token);
      const [balance, owed] = [on.market.balanceOf(address, on.token), on.staking.owedTo(address, on.token)];
      sum += ((await balance) as bigint) + ((await owed) as bigint) + free + locked;
    }
    return sum;
  }

  it("requester, operator and finalizer in one hand lose by a slash: the sink is nobody's", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, requester, operator, stranger, sink } = on;
    const gang = [requester, operator, stranger];
    const before = await worth(on, gang);
    const request = on.request({ bond: 1000n, bounty: 100n, compensationBps: 1000 });
    await matchJob(on, { request });
    await time.increase(301);
    await market.connect(stranger).finalize(termsFor(on, request, on.offer()), NO_CLAIM);
    const lost = 1000n - 100n - 6n;
    expect(await staking.owedTo(sink, token)).to.equal(lost);
    expect(await worth(on, gang)).to.equal(before - lost);
  });

  it("neither side can ask for more than a tenth of the price", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ compensationBps: 1001 });
    await expect(matchJob(on, { request, offers: [on.offer({ maxCompensationBps: 10_000 })] }))
      .to.be.revertedWithCustomError(on.market, "BadRequest")
      .withArgs(jobId(on, request), text32("compensationBps"));
  });

  it("a node that takes orders only to keep them from others pays for every one but the first", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, operator, nodeKey, sink } = on;
    const offer = on.offer({ baseCharge: 10_000n });
    for (let i = 0; i < 4; i++) {
      const request = on.request({ nonce: nonce(`order ${i}`) });
      await matchJob(on, { request, offers: [offer] });
      await market.connect(nodeKey).decline(termsFor(on, request, offer), 0);
    }
    expect(await staking.owedTo(sink, token)).to.equal(3n * 100n);
    expect((await staking.stakeOf(operator, token)).free).to.equal(10n * DOLLAR - 300n);
    await expectNothingLost(on);
  });

  it("a requester cannot lure a node into a gang and have it slashed when the rest leaves", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, operator, otherOperator, nodeKey, otherNodeKey } = on;
    const request = on.request({ replicas: 2 });
    const offers = [on.offer(), on.offer({ operator: addressOf(otherOperator) })] as const;
    await matchJob(on, { request, offers: [...offers] });
    await market.connect(otherNodeKey).decline(termsFor(on, request, offers[1], 1), 1);
    await time.increase(200);
    await market.connect(nodeKey).decline(termsFor(on, request, offers[0], 0), 1);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    expect((await market.useOf(operator, 0)).declinedAt).to.equal(0n);
  });
});

describe("R8: settlement at once", () => {
  it("is no way around the challenge window that the requester signed", async () => {
    const on = await loadFixture(runningJob);
    const { market, nodeKey, terms } = on;
    const instant = { ...terms, job: { ...terms.job, challengeWindow: 0 } };
    await expect(market.connect(nodeKey).submit(instant, claim, "0x"))
      .to.be.revertedWithCustomError(market, "WrongTerms")
      .withArgs(on.job, 0);
    await market.connect(nodeKey).submit(terms, claim, "0x");
    await expect(market.connect(nodeKey).finalize(terms, claim)).to.be.revertedWithCustomError(market, "WindowOpen");
    expect(await market.balanceOf(on.operator, on.token)).to.equal(0n);
  });
});
