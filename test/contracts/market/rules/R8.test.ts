// R8, settlement at once only where both signed a zero window.
import { ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { loadFixture, time } from "../../support/actors.ts";
import { CHALLENGE, CLAIM, DEPOSIT, Manner, running, Verdict, verifiedMarket } from "../../support/disputes.ts";
import { DOLLAR, jobId, matchJob, offerHash, readyMarket, State, text32 } from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

/** A job of which only the verifier decides, with a challenge window of `seconds`. */
async function verifiedJob(seconds: number) {
  const on = await loadFixture(verifiedMarket);
  const bare = { arbiter: ZERO_ADDRESS, arbiterFee: 0n };
  return running(
    { ...on, offer: (replaced = {}) => on.offer({ ...replaced, ...bare }) },
    { ...bare, challengeWindow: seconds },
  );
}

describe("R8: settlement at once", () => {
  it("is not for a verifier to grant: what stands keeps the window that both signed", async () => {
    const on = await verifiedJob(CHALLENGE);
    const { market, token, verifier, operator, nodeKey, requester, terms, job } = on;
    await verifier.set(Manner.Answers, Verdict.Stands);
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    expect((await market.replicaOf(job, 0)).state).to.equal(State.Submitted);
    await expect(market.connect(nodeKey).finalize(terms, CLAIM)).to.be.revertedWithCustomError(market, "WindowOpen");
    expect(await market.balanceOf(operator, token)).to.equal(0n);
    await market.connect(requester).approve(terms, CLAIM);
    expect(await market.balanceOf(operator, token)).to.equal(CLAIM.charge);
    await expectNothingLost(on);
  });

  it("is not for a verifier that has not decided: a zero window alone pays nothing", async () => {
    for (const [manner, word] of [
      [Manner.Answers, Verdict.Pending],
      [Manner.Burns, Verdict.Stands],
    ] as const) {
      const on = await verifiedJob(0);
      const { market, token, verifier, operator, nodeKey, stranger, terms, job } = on;
      await verifier.set(manner, word);
      await market.connect(nodeKey).submit(terms, CLAIM, "0x");
      await expect(market.connect(stranger).finalize(terms, CLAIM)).to.be.revertedWithCustomError(market, "WindowOpen");
      expect((await market.replicaOf(job, 0)).state).to.equal(State.Judging);
      expect(await market.balanceOf(operator, token)).to.equal(0n);
      await expectNothingLost(on, DEPOSIT);
    }
  });

  it("cannot be undone or disputed by a requester who changes its mind", async () => {
    const on = await verifiedJob(0);
    const { market, token, verifier, operator, requester, nodeKey, terms, job } = on;
    await verifier.set(Manner.Answers, Verdict.Stands);
    await market.connect(nodeKey).submit(terms, CLAIM, "0x");
    await verifier.set(Manner.Answers, Verdict.Fails);
    await time.increase(5000);
    for (const call of [
      () => market.connect(requester).dispute(terms, CLAIM),
      () => market.connect(requester).approve(terms, CLAIM),
      () => market.connect(requester).finalize(terms, CLAIM),
    ]) {
      await expect(call())
        .to.be.revertedWithCustomError(market, "WrongState")
        .withArgs(job, 0, State.Settled, State.Submitted);
    }
    expect(await market.balanceOf(operator, token)).to.equal(CLAIM.charge);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - CLAIM.charge);
    await expectNothingLost(on);
  });

  it("is impossible where there is an arbiter, who needs time", async () => {
    const on = await loadFixture(verifiedMarket);
    const request = on.request({ challengeWindow: 0 });
    await expect(matchJob(on, { request, offers: [on.offer()] }))
      .to.be.revertedWithCustomError(on.market, "BadRequest")
      .withArgs(jobId(on, request), text32("challengeWindow"));
  });

  it("is what an offer may insist on: a node that waits for nothing takes no window", async () => {
    const on = await loadFixture(readyMarket);
    const offer = on.offer({ maxSettleSeconds: 0 });
    await expect(matchJob(on, { request: on.request({ challengeWindow: 1 }), offers: [offer] }))
      .to.be.revertedWithCustomError(on.market, "OfferMismatch")
      .withArgs(offerHash(on, offer), text32("challengeWindow"));
    await matchJob(on, { request: on.request({ challengeWindow: 0 }), offers: [offer] });
  });
});
