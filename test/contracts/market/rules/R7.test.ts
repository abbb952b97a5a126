// R7, a quorum does not settle before a named arbiter had its window. Seals, reveals and outputs: test/contracts/verifiers.
import { type Offer, sealOf } from "@berth/protocol";
import { expect } from "chai";
import { loadFixture, time } from "../../support/actors.ts";
import { addressOf, DOLLAR, matchJob, publishNode, State, signOffer, termsFor } from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";
import { hex, QUORUM, type QuorumMarket, quorumMarket } from "../../verifiers/support.ts";

const CHALLENGE = 600;
const judged = { arbiterFee: 100n };

/** Three operators agreed on an output that all of them made up; the orders name an arbiter as well. */
async function agreedWithArbiter() {
  const on = await quorumMarket();
  const arbiter = addressOf(on.arbiter);
  for (const { operator } of on.nodes) await on.market.connect(operator).setAccepted(operator, [arbiter], true);
  const request = on.quorumRequest({ ...judged, arbiter, challengeWindow: CHALLENGE });
  const offers = on.nodes.slice(0, 3).map(({ operator }) => offerOf(on, addressOf(operator)));
  const offerSignatures = await Promise.all(
    offers.map((offer, i) => signOffer(on, on.nodes[i]?.key ?? on.nodeKey, offer)),
  );
  await matchJob(on, { request, offers, offerSignatures });
  const terms = offers.map((offer, i) => termsFor(on, request, offer, i));
  const openings = [];
  for (const [i, one] of terms.entries()) {
    const opening = { outputDigest: hex("made up"), resultHash: hex(`record ${i}`), salt: hex(`salt ${i}`) };
    const seat = { jobId: one.job.jobId, replica: i, operator: one.assignment.operator };
    const claim = { resultHash: sealOf(seat, opening), resultBytes: 900n, charge: 5n };
    await on.market.connect(on.nodes[i]?.key ?? on.nodeKey).submit(one, claim, "0x");
    openings.push({ assignment: one.assignment, claim, ...opening });
  }
  await time.increase(QUORUM.confirmSeconds + 1);
  const [first] = terms;
  if (first === undefined) throw new Error("There is no replica.");
  await on.quorum.connect(on.stranger).reveal(first.job, openings);
  return { ...on, terms, first, claims: openings.map(({ claim }) => claim) };
}

const offerOf = (on: QuorumMarket, operator: Offer["operator"]) => {
  const { verifier, verifierData } = on.quorumRequest();
  return on.offer({ ...judged, operator, verifier, verifierData, arbiter: addressOf(on.arbiter) });
};

describe("R7: a quorum that agreed on a lie", () => {
  it("is not paid before the requester could dispute it, and then as the arbiter says", async () => {
    const on = await loadFixture(agreedWithArbiter);
    const { market, staking, token, requester, arbiter, operator, stranger, terms, first, claims } = on;
    const [claim] = claims;
    const { lastAt } = await market.replicaOf(first.job.jobId, 0);
    await time.increaseTo(Number(lastAt) + CHALLENGE - 10);
    for (const [i, one] of terms.entries()) {
      await expect(market.connect(stranger).finalize(one, claims[i])).to.be.revertedWithCustomError(
        market,
        "WindowOpen",
      );
    }
    await market.connect(requester).dispute(first, claim);
    await market.connect(arbiter).rule(first, claim, 0n);
    expect((await market.replicaOf(first.job.jobId, 0)).state).to.equal(State.Settled);
    expect(await market.balanceOf(operator, token)).to.equal(0n);
    expect((await staking.stakeOf(operator, token)).free).to.equal(10n * DOLLAR - 1000n);
    expect(await staking.owedTo(arbiter, token)).to.equal(100n);
  });

  it("is paid once nobody disputed it", async () => {
    const on = await loadFixture(agreedWithArbiter);
    const { market, token, operator, otherOperator, stranger, terms, claims } = on;
    await time.increase(CHALLENGE + 1);
    for (const [i, one] of terms.entries()) await market.connect(stranger).finalize(one, claims[i]);
    for (const one of [operator, otherOperator]) expect(await market.balanceOf(one, token)).to.equal(5n);
    await expectNothingLost(on, 0n, on.nodes.map((node) => node.operator.address).slice(2));
  });
});

describe("R7: one operator with many names", () => {
  it("fills no two seats of a quorum by two nodes", async () => {
    const on = await loadFixture(quorumMarket);
    await publishNode(on, on.operator, on.newNodeKey, { index: 1 });
    await on.market.connect(on.operator).setNodeLimits(on.operator, 1, on.limits);
    const request = on.quorumRequest();
    const { verifier, verifierData } = request;
    const offers = [
      on.offer({ verifier, verifierData }),
      on.offer({ verifier, verifierData, index: 1 }),
      on.offer({ verifier, verifierData, operator: addressOf(on.otherOperator) }),
    ];
    await expect(matchJob(on, { request, offers }))
      .to.be.revertedWithCustomError(on.market, "OperatorTwice")
      .withArgs(termsFor(on, request, on.offer()).job.jobId, on.operator.address);
  });

  it("needs the whole stake for every name where the request asks for it", async () => {
    const on = await loadFixture(quorumMarket);
    const request = on.quorumRequest({ minStake: 10n * DOLLAR });
    const { verifier, verifierData } = request;
    const names = on.nodes.slice(0, 3);
    const offers = names.map(({ operator }) => on.offer({ verifier, verifierData, operator: addressOf(operator) }));
    const offerSignatures = await Promise.all(names.map(({ key }, i) => signOffer(on, key, offers[i] ?? on.offer())));
    // One of them splits its stake with a fourth name.
    const [, , third] = names;
    if (third === undefined) throw new Error("There are three nodes.");
    await on.staking.connect(third.operator).requestExit(third.operator, on.token, 1n);
    await expect(matchJob(on, { request, offers, offerSignatures }))
      .to.be.revertedWithCustomError(on.market, "StakeBelowMinimum")
      .withArgs(third.operator.address, on.addresses.token, 10n * DOLLAR - 1n, 10n * DOLLAR);
    await on.staking.connect(third.operator).cancelExit(third.operator, on.token);
    await matchJob(on, { request, offers, offerSignatures });
  });
});
