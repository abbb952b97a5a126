// R4, both sides consent to the judge, and the loser pays. What orders may ask for is in ../attacks.test.ts.
import type { Address } from "@berth/protocol";
import { expect } from "chai";
import { at, loadFixture } from "../../support/actors.ts";
import {
  ARBITER_WINDOW,
  arbitratedMarket,
  BOND,
  CHALLENGE,
  CLAIM,
  COMPENSATION,
  DEPOSIT,
  disputableResult,
  disputedResult,
  FEE,
} from "../../support/disputes.ts";
import { addressOf, DOLLAR, matchJob, offerHash, readyMarket, text32 } from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

describe("R4: both sides consent to the judge, and the loser pays", () => {
  it("a requester cannot appoint itself: neither against the offer nor against the operator", async () => {
    const on = await loadFixture(readyMarket);
    const itself = addressOf(on.requester);
    const request = on.request({ arbiter: itself, arbiterWindow: 60 });
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "OfferMismatch")
      .withArgs(offerHash(on, on.offer()), text32("arbiter"));
    // Not even where it got hold of the node's hot key and signs the offer too.
    await expect(matchJob(on, { request, offers: [on.offer({ arbiter: itself })] }))
      .to.be.revertedWithCustomError(on.market, "NotAccepted")
      .withArgs(on.operator.address, itself);
  });

  it("an operator cannot appoint a friend or leave the judge out", async () => {
    const on = await loadFixture(arbitratedMarket);
    for (const arbiter of [addressOf(on.stranger), `0x${"0".repeat(40)}` as Address]) {
      const offer = on.offer({ arbiter });
      await expect(matchJob(on, { request: on.request(), offers: [offer] }))
        .to.be.revertedWithCustomError(on.market, "OfferMismatch")
        .withArgs(offerHash(on, offer), text32("arbiter"));
    }
  });

  it("a node never waits longer for its money than it signed, whatever the requester disputes", async () => {
    const on = await loadFixture(arbitratedMarket);
    const short = on.offer({ maxSettleSeconds: CHALLENGE + ARBITER_WINDOW - 1 });
    await expect(matchJob(on, { request: on.request(), offers: [short] }))
      .to.be.revertedWithCustomError(on.market, "OfferMismatch")
      .withArgs(offerHash(on, short), text32("challengeWindow"));

    const { market, token, operator, requester, stranger, terms, claim, submittedAt } =
      await loadFixture(disputableResult);
    await at(submittedAt + CHALLENGE);
    await market.connect(requester).dispute(terms, claim);
    await at(submittedAt + CHALLENGE + ARBITER_WINDOW + 1);
    await market.connect(stranger).finalize(terms, claim);
    expect(await market.balanceOf(operator, token)).to.equal(claim.charge);
  });

  it("the arbiter cannot judge what nobody disputes, nor take more than its fee", async () => {
    const on = await loadFixture(disputableResult);
    await expect(on.market.connect(on.arbiter).rule(on.terms, on.claim, 0n)).to.be.revertedWithCustomError(
      on.market,
      "WrongState",
    );
    for (const award of [0n, 1n, 400n, 799n, 800n]) {
      const { market, staking, token, arbiter, terms, claim } = await loadFixture(disputedResult);
      await market.connect(arbiter).rule(terms, claim, award);
      const balance = (await market.balanceOf(arbiter, token)) as bigint;
      const owed = (await staking.owedTo(arbiter, token)) as bigint;
      expect(balance + owed).to.equal(FEE);
    }
  });

  it("whoever loses pays the fee, out of its own money and not out of the other's", async () => {
    const right = await loadFixture(disputedResult);
    await right.market.connect(right.arbiter).rule(right.terms, right.claim, right.claim.charge);
    expect(await right.market.balanceOf(right.operator, right.token)).to.equal(CLAIM.charge);
    expect(await right.market.balanceOf(right.requester, right.token)).to.equal(100n * DOLLAR - CLAIM.charge - FEE);

    const wrong = await loadFixture(disputedResult);
    const { market, staking, token, requester, operator, arbiter } = wrong;
    await market.connect(arbiter).rule(wrong.terms, wrong.claim, wrong.claim.charge - 1n);
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - CLAIM.charge + 1n);
    expect((await staking.stakeOf(operator, token)).free).to.equal(10n * DOLLAR - FEE);
    await expectNothingLost(wrong);
  });

  it("an operator loses no more than the bond that it signed, whatever is ruled", async () => {
    for (const award of [0n, 1n, 799n]) {
      const { market, staking, token, operator, arbiter, terms, claim } = await loadFixture(disputedResult);
      await market.connect(arbiter).rule(terms, claim, award);
      const { free, locked } = await staking.stakeOf(operator, token);
      expect(locked).to.equal(0n);
      expect(free >= 10n * DOLLAR - BOND).to.equal(true);
    }
  });

  it("a payer never loses more than the deposit, whatever is ruled", async () => {
    for (const award of [0n, 1n, 799n, 800n]) {
      const { market, staking, token, requester, arbiter, terms, claim } = await loadFixture(disputedResult);
      await market.connect(arbiter).rule(terms, claim, award);
      const balance = (await market.balanceOf(requester, token)) as bigint;
      expect(balance >= 100n * DOLLAR - DEPOSIT - FEE).to.equal(true);
      expect(((await staking.owedTo(requester, token)) as bigint) <= COMPENSATION).to.equal(true);
    }
  });
});
