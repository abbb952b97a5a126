import { depositUp } from "@berth/protocol";
import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import { addressOf, DOLLAR, jobId, publishNode, readyMarket, State } from "../support/market.ts";
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
    const { market, token, requester, nodeKey, posted, job } = on;
    const offer = on.offer();
    const held = depositUp(posted, offer);
    await expect(market.connect(nodeKey).accept(posted, offer, on.limits))
      .to.emit(market, "JobMatched")
      .withArgs(job, requester.address, nodeKey.address, held + 7n, posted.maxPrice - held - 7n, Object.values(posted));
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Active);
    expect(await market.balanceOf(nodeKey, token)).to.equal(7n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - 7n - held);
    await expectNothingLost(on, held);
  });

  it("refuses a request that is not posted", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request();
    await expect(on.market.connect(on.nodeKey).accept(request, on.offer(), on.limits))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(jobId(on, request), 0, State.None, State.Posted);
  });

  it("refuses everybody but the node's current key", async () => {
    const on = await loadFixture(postedRequest);
    const { market, operator, nodeKey, newNodeKey, posted } = on;
    await expect(market.connect(operator).accept(posted, on.offer(), on.limits))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, operator.address);
    await publishNode(on, operator, newNodeKey);
    await expect(market.connect(nodeKey).accept(posted, on.offer(), on.limits))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, nodeKey.address);
    await market.connect(newNodeKey).accept(posted, on.offer(), on.limits);
  });

  it("is for one replica", async () => {
    const on = await loadFixture(readyMarket);
    const request = on.request({ replicas: 2 });
    await on.market.connect(on.requester).post(request, "0x", "0x");
    await expect(on.market.connect(on.nodeKey).accept(request, on.offer(), on.limits))
      .to.be.revertedWithCustomError(on.market, "WrongOfferCount")
      .withArgs(jobId(on, request), 1, 2);
  });

  it("keeps every rule of a match", async () => {
    const on = await loadFixture(postedRequest);
    const { market, nodeKey, posted } = on;
    const named = on.request({ matcher: addressOf(on.matcher) });
    await market.connect(on.requester).post(named, "0x", "0x");
    const asNode = market.connect(nodeKey);
    await expect(asNode.accept(named, on.offer(), on.limits)).to.be.revertedWithCustomError(market, "NotMatcher");
    const costly = on.offer({ baseCharge: 10_000_000n });
    await expect(asNode.accept(posted, costly, on.limits)).to.be.revertedWithCustomError(market, "PriceAboveCap");
    const narrow = on.offer({ maxSeconds: 59 });
    await expect(asNode.accept(posted, narrow, on.limits)).to.be.revertedWithCustomError(market, "OfferMismatch");
    await at(posted.openUntil + 1);
    const late = on.offer({ expiresAt: posted.openUntil + 100 });
    await expect(asNode.accept(posted, late, on.limits)).to.be.revertedWithCustomError(market, "RequestExpired");
  });
});
