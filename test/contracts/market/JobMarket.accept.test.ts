import { depositUp, replicaCommitment } from "@berth/protocol";
import { expect } from "chai";
import { at, loadFixture, time } from "../support/actors.ts";
import {
  addressOf,
  DOLLAR,
  jobId,
  offerHash,
  operatorsTree,
  publishNode,
  readyMarket,
  State,
  termsFor,
  text32,
} from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

async function postedRequest() {
  const on = await readyMarket();
  const posted = on.request({ matcherTip: 7n });
  await on.market.connect(on.requester).post(posted, "0x", "0x");
  return { ...on, posted, job: jobId(on, posted) };
}

describe("JobMarket#accept", () => {
  it("lets a node take a posted request itself, with nobody between", async () => {
    const on = await loadFixture(postedRequest);
    const { market, staking, token, requester, operator, nodeKey, posted, job } = on;
    const offer = on.offer();
    const held = depositUp(posted, offer);
    const terms = termsFor(on, posted, offer);
    const now = (await time.latest()) + 1;
    await at(now);
    const accepting = market.connect(nodeKey).accept(posted, offer, []);
    await expect(accepting)
      .to.emit(market, "JobMatched")
      .withArgs(
        job,
        requester.address,
        nodeKey.address,
        held + 7n,
        posted.maxPrice - held - 7n,
        7,
        Object.values(terms.job),
      );
    await expect(accepting)
      .to.emit(market, "ReplicaMatched")
      .withArgs(job, operator.address, Object.values(terms.assignment));
    expect(await market.replicaOf(job, 0)).to.deep.equal([State.Active, BigInt(now), 0n, replicaCommitment(terms)]);
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 1n, 1000n, 512n, 128n, 0n, 0n, true]);
    expect(await market.balanceOf(nodeKey, token)).to.equal(7n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 7n - held);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 1000n]);
    await expectNothingLost(on, held);
  });

  it("refuses a request that is not posted, or was taken already", async () => {
    const on = await loadFixture(postedRequest);
    const asNode = on.market.connect(on.nodeKey);
    const request = on.request();
    await expect(asNode.accept(request, on.offer(), []))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(jobId(on, request), 0, State.None, State.Posted);
    await asNode.accept(on.posted, on.offer(), []);
    await expect(asNode.accept(on.posted, on.offer(), []))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(on.job, 0, State.Active, State.Posted);
  });

  it("refuses everybody but the node's current key, the replaced one in its last hour too", async () => {
    const on = await loadFixture(postedRequest);
    const { market, identity, operator, nodeKey, newNodeKey, posted } = on;
    await expect(market.connect(operator).accept(posted, on.offer(), []))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, operator.address);
    await publishNode(on, operator, newNodeKey);
    expect(await identity.mayAct(operator, 0, nodeKey)).to.equal(true);
    await expect(market.connect(nodeKey).accept(posted, on.offer(), []))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, nodeKey.address);
    await market.connect(newNodeKey).accept(posted, on.offer(), []);
  });

  it("refuses the key of a revoked node", async () => {
    const on = await loadFixture(postedRequest);
    const { market, identity, operator, nodeKey, posted } = on;
    await identity.connect(operator).revokeNode(operator, 0);
    const now = (await time.latest()) + 1;
    await at(now);
    await expect(market.connect(nodeKey).accept(posted, on.offer(), []))
      .to.be.revertedWithCustomError(market, "KeyExpiresTooSoon")
      .withArgs(operator.address, 0, 0, now + 300 + 600);
  });

  it("is for one replica", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ replicas: 2 });
    await on.market.connect(on.requester).post(request, "0x", "0x");
    await expect(on.market.connect(on.nodeKey).accept(request, on.offer(), []))
      .to.be.revertedWithCustomError(on.market, "WrongOfferCount")
      .withArgs(jobId(on, request), 1, 2);
  });

  it("is for the operators that the request names", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, nodeKey, otherOperator, otherNodeKey, requester, heir } = on;
    const tree = operatorsTree(operator, heir);
    const request = on.request({ operators: tree.root });
    await market.connect(requester).post(request, "0x", "0x");
    const others = on.offer({ operator: addressOf(otherOperator) });
    for (const proof of [[], tree.proofOfFirst, tree.proofOfSecond]) {
      await expect(market.connect(otherNodeKey).accept(request, others, proof))
        .to.be.revertedWithCustomError(market, "OperatorNotAllowed")
        .withArgs(jobId(on, request), otherOperator.address);
    }
    await market.connect(nodeKey).accept(request, on.offer(), tree.proofOfFirst);
  });

  it("keeps every rule of a match", async () => {
    const on = await loadFixture(postedRequest);
    const { market, operator, nodeKey, guardian, posted, job } = on;
    const named = on.request({ matcher: addressOf(on.matcher) });
    await market.connect(on.requester).post(named, "0x", "0x");
    const asNode = market.connect(nodeKey);
    await expect(asNode.accept(named, on.offer(), []))
      .to.be.revertedWithCustomError(market, "NotMatcher")
      .withArgs(jobId(on, named), nodeKey.address, on.matcher.address);
    const costly = on.offer({ baseCharge: 10_000_000n });
    await expect(asNode.accept(posted, costly, []))
      .to.be.revertedWithCustomError(market, "PriceAboveCap")
      .withArgs(job, depositUp(posted, costly) + 7n, posted.maxPrice);
    const narrow = on.offer({ maxSeconds: 59 });
    await expect(asNode.accept(posted, narrow, []))
      .to.be.revertedWithCustomError(market, "OfferMismatch")
      .withArgs(offerHash(on, narrow), text32("maxSeconds"));
    const stale = on.offer({ epoch: 1 });
    await expect(asNode.accept(posted, stale, []))
      .to.be.revertedWithCustomError(market, "WrongEpoch")
      .withArgs(offerHash(on, stale), 1, 0);
    await market.connect(operator).setAccepted(operator, [on.token], false);
    await expect(asNode.accept(posted, on.offer(), []))
      .to.be.revertedWithCustomError(market, "NotAccepted")
      .withArgs(operator.address, on.addresses.token);
    await market.connect(operator).setAccepted(operator, [on.token], true);
    await market.connect(guardian).setPaused(true);
    await expect(asNode.accept(posted, on.offer(), [])).to.be.revertedWithCustomError(market, "NewJobsPaused");
    await market.connect(guardian).setPaused(false);
    await at(posted.openUntil + 1);
    const late = on.offer({ expiresAt: posted.openUntil + 100 });
    await expect(asNode.accept(posted, late, []))
      .to.be.revertedWithCustomError(market, "RequestExpired")
      .withArgs(job, posted.openUntil);
  });
});
