import { expect } from "chai";
import { at, loadFixture } from "../support/actors.ts";
import { addressOf, DOLLAR, jobId, matchJob, readyMarket, runningJob, State, signRequest } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

async function postedRequest() {
  const on = await readyMarket();
  const posted = on.request();
  await on.market.connect(on.requester).post(posted, "0x", "0x");
  return { ...on, posted, job: jobId(on, posted) };
}

describe("JobMarket#cancel", () => {
  it("returns the whole reserve to the payer", async () => {
    const on = await loadFixture(postedRequest);
    const { market, token, requester, posted, job } = on;
    await expect(market.connect(requester).cancel(posted))
      .to.emit(market, "RequestCancelled")
      .withArgs(job, posted.maxPrice);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await market.replicaOf(job, 0)).to.deep.equal([State.Cancelled, 0n, 0n, job.slice(0, 44)]);
    await expectNothingLost(on);
  });

  it("returns it to the payer when that is somebody else", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, requester, payer } = on;
    const request = on.request({ payer: addressOf(payer) });
    await market.connect(requester).post(request, "0x", await signRequest(on, payer, request));
    await market.connect(requester).cancel(request);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    await expectNothingLost(on);
  });

  it("is open to anybody after the last second of a posted request, and to nobody else before", async () => {
    const { market, stranger, posted, job } = await loadFixture(postedRequest);
    await at(posted.openUntil);
    await expect(market.connect(stranger).cancel(posted))
      .to.be.revertedWithCustomError(market, "RequestStillOpen")
      .withArgs(job, posted.openUntil);
    await at(posted.openUntil + 1);
    await expect(market.connect(stranger).cancel(posted))
      .to.emit(market, "RequestCancelled")
      .withArgs(job, posted.maxPrice);
  });

  it("kills a signed request that nobody posted, by its requester alone", async () => {
    const on = await loadFixture(readyMarket);
    const { market, requester, stranger } = on;
    const request = on.request();
    const id = jobId(on, request);
    await expect(market.connect(stranger).cancel(request))
      .to.be.revertedWithCustomError(market, "NotRequester")
      .withArgs(id, stranger.address);
    await expect(market.connect(requester).cancel(request)).to.emit(market, "RequestCancelled").withArgs(id, 0);
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(id, 0, State.Cancelled, State.None);
    await expectNothingLost(on);
  });

  it("is final, and comes too late for a job", async () => {
    const on = await loadFixture(postedRequest);
    await on.market.connect(on.requester).cancel(on.posted);
    await expect(on.market.connect(on.requester).cancel(on.posted))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(on.job, 0, State.Cancelled, State.Posted);
    const running = await loadFixture(runningJob);
    await expect(running.market.connect(running.requester).cancel(running.matchedRequest))
      .to.be.revertedWithCustomError(running.market, "WrongState")
      .withArgs(running.job, 0, State.Active, State.Posted);
  });
});
