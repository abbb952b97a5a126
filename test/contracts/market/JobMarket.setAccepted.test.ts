import { ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { loadFixture } from "../support/actors.ts";
import { arbitratedMarket, CLAIM, disputedResult, running } from "../support/disputes.ts";
import { matchJob, publishNode, readyMarket, State, signOffer } from "../support/market.ts";

describe("JobMarket#setAccepted", () => {
  it("stores what the operator accepts, one by one, and shows it", async () => {
    const { market, operator, otherOperator, stranger, arbiter } = await loadFixture(readyMarket);
    const setting = market.connect(operator).setAccepted(operator, [stranger, arbiter], true);
    for (const what of [stranger, arbiter]) {
      await expect(setting).to.emit(market, "AcceptanceSet").withArgs(operator.address, what.address, true);
      expect(await market.accepts(operator, what)).to.equal(true);
      expect(await market.accepts(otherOperator, what)).to.equal(false);
    }
    await expect(market.connect(operator).setAccepted(operator, [arbiter], false))
      .to.emit(market, "AcceptanceSet")
      .withArgs(operator.address, arbiter.address, false);
    expect(await market.accepts(operator, arbiter)).to.equal(false);
    expect(await market.accepts(operator, stranger)).to.equal(true);
  });

  it("always accepts no verifier and no arbiter", async () => {
    const { market, operator, stranger } = await loadFixture(readyMarket);
    for (const anybody of [operator, stranger]) expect(await market.accepts(anybody, ZERO_ADDRESS)).to.equal(true);
    await market.connect(operator).setAccepted(operator, [ZERO_ADDRESS], false);
    expect(await market.accepts(operator, ZERO_ADDRESS)).to.equal(true);
    await matchJob(await loadFixture(readyMarket));
  });

  it("ends new jobs with what is accepted no more, and lets what runs go on", async () => {
    const on = await loadFixture(arbitratedMarket);
    const { market, operator, arbiter, requester, nodeKey, token } = on;
    const { terms, job } = await running(on);
    await market.connect(operator).setAccepted(operator, [arbiter, token], false);
    const request = on.request({ nonce: `0x${"2".repeat(64)}` });
    await expect(matchJob(on, { request, offers: [on.offer()] }))
      .to.be.revertedWithCustomError(market, "NotAccepted")
      .withArgs(operator.address, on.addresses.token);
    await market.connect(operator).setAccepted(operator, [token], true);
    await expect(matchJob(on, { request, offers: [on.offer()] }))
      .to.be.revertedWithCustomError(market, "NotAccepted")
      .withArgs(operator.address, arbiter.address);
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    await market.connect(requester).dispute(terms, CLAIM);
    await market.connect(arbiter).rule(terms, CLAIM, 0n);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
  });

  it("takes no arbiter away in the middle of a dispute", async () => {
    const { market, operator, arbiter, terms, claim, job } = await loadFixture(disputedResult);
    await market.connect(operator).setAccepted(operator, [arbiter], false);
    await market.connect(arbiter).rule(terms, claim, 0n);
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
  });

  it("holds for all nodes of the operator", async () => {
    const on = await loadFixture(readyMarket);
    await publishNode(on, on.operator, on.newNodeKey, { index: 1 });
    await on.market.connect(on.operator).setNodeLimits(on.operator, 1, on.limits);
    const offers = [on.offer({ index: 1 })];
    const offerSignatures = [await signOffer(on, on.newNodeKey, on.offer({ index: 1 }))];
    await on.market.connect(on.operator).setAccepted(on.operator, [on.token], false);
    await expect(matchJob(on, { offers, offerSignatures }))
      .to.be.revertedWithCustomError(on.market, "NotAccepted")
      .withArgs(on.operator.address, on.addresses.token);
    await on.market.connect(on.operator).setAccepted(on.operator, [on.token], true);
    await matchJob(on, { offers, offerSignatures });
  });

  it("is for the operator's controller alone", async () => {
    const { market, identity, operator, nodeKey, stranger, heir } = await loadFixture(readyMarket);
    for (const other of [nodeKey, stranger]) {
      await expect(market.connect(other).setAccepted(operator, [stranger], true))
        .to.be.revertedWithCustomError(market, "NotController")
        .withArgs(operator.address, other.address);
    }
    await identity.connect(operator).changeOwner(operator, heir);
    await expect(market.connect(operator).setAccepted(operator, [stranger], true))
      .to.be.revertedWithCustomError(market, "NotController")
      .withArgs(operator.address, operator.address);
    await market.connect(heir).setAccepted(operator, [stranger], true);
    expect(await market.accepts(operator, stranger)).to.equal(true);
  });
});
