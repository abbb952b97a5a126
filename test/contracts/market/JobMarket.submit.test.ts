import { type Claim, chargeDown, claimHash } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture } from "../support/actors.ts";
import { DOLLAR, NO_CLAIM, publishNode, runningJob, State, submittedResult } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const claim: Claim = { resultHash: ethers.id("result") as `0x${string}`, resultBytes: 512n, charge: 5n };

describe("JobMarket#submit", () => {
  it("posts a result, frees the node and keeps the bond locked", async () => {
    const on = await loadFixture(runningJob);
    const { market, staking, token, operator, nodeKey, terms, job, matchedAt, held } = on;
    await at(matchedAt + 20);
    await expect(market.connect(nodeKey).submit(terms, claim))
      .to.emit(market, "ResultSubmitted")
      .withArgs(job, operator.address, 0, Object.values(claim));
    const replica = await market.replicaOf(job, 0);
    expect([replica.state, replica.matchedAt, replica.submittedAt]).to.deep.equal([
      State.Submitted,
      BigInt(matchedAt),
      BigInt(matchedAt + 20),
    ]);
    expect(await market.resultOf(job, 0)).to.equal(claimHash(claim));
    expect(await market.useOf(operator, 0)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n, true]);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - 1000n, 1000n]);
    await expectNothingLost(on, held);
  });

  for (const seconds of [1, 37, 60, 61, 299]) {
    it(`allows what ${seconds} seconds cost and not a unit more`, async () => {
      const { market, nodeKey, terms, job, matchedAt, held } = await loadFixture(runningJob);
      const most = chargeDown(terms.request, terms.offer, seconds);
      expect(most < held).to.equal(true);
      await at(matchedAt + seconds);
      await expect(market.connect(nodeKey).submit(terms, { ...claim, charge: most + 1n }))
        .to.be.revertedWithCustomError(market, "ChargeTooHigh")
        .withArgs(job, 0, most + 1n, most);
      const again = await loadFixture(runningJob);
      await at(matchedAt + seconds);
      await again.market.connect(nodeKey).submit(again.terms, { ...claim, charge: most });
    });
  }

  it("counts to the last second of the submit window", async () => {
    const late = await loadFixture(runningJob);
    await at(late.matchedAt + 301);
    await expect(late.market.connect(late.nodeKey).submit(late.terms, claim))
      .to.be.revertedWithCustomError(late.market, "WindowClosed")
      .withArgs(late.job, 0, late.matchedAt + 300);
    const justInTime = await loadFixture(runningJob);
    await at(justInTime.matchedAt + 300);
    await justInTime.market.connect(justInTime.nodeKey).submit(justInTime.terms, claim);
  });

  it("refuses an empty result", async () => {
    const { market, nodeKey, terms, job } = await loadFixture(runningJob);
    await expect(market.connect(nodeKey).submit(terms, NO_CLAIM))
      .to.be.revertedWithCustomError(market, "EmptyResult")
      .withArgs(job, 0);
  });

  it("refuses strangers, other terms and a second result", async () => {
    const { market, operator, nodeKey, stranger, terms, job } = await loadFixture(submittedResult);
    await expect(market.connect(nodeKey).submit(terms, claim))
      .to.be.revertedWithCustomError(market, "WrongState")
      .withArgs(job, 0, State.Submitted, State.Active);
    const running = await loadFixture(runningJob);
    await expect(running.market.connect(stranger).submit(running.terms, claim))
      .to.be.revertedWithCustomError(running.market, "NotNode")
      .withArgs(operator.address, 0, stranger.address);
    const later = { ...running.terms, request: { ...running.terms.request, submitWindow: 9999 } };
    await expect(running.market.connect(nodeKey).submit(later, claim)).to.be.revertedWithCustomError(
      running.market,
      "WrongTerms",
    );
  });

  it("works for a key that expired, for a rotated key's successor and for the operator", async () => {
    const rotated = await loadFixture(runningJob);
    await publishNode(rotated, rotated.operator, rotated.newNodeKey);
    await expect(rotated.market.connect(rotated.nodeKey).submit(rotated.terms, claim)).to.be.revertedWithCustomError(
      rotated.market,
      "NotNode",
    );
    await rotated.market.connect(rotated.newNodeKey).submit(rotated.terms, claim);

    const revoked = await loadFixture(runningJob);
    await revoked.identity.connect(revoked.operator).revokeNode(revoked.operator, 0);
    await expect(revoked.market.connect(revoked.nodeKey).submit(revoked.terms, claim)).to.be.revertedWithCustomError(
      revoked.market,
      "NotNode",
    );
    await revoked.market.connect(revoked.operator).submit(revoked.terms, claim);

    const expired = await loadFixture(runningJob);
    await publishNode(expired, expired.operator, expired.nodeKey, { validTo: expired.matchedAt + 10 });
    await at(expired.matchedAt + 200);
    await expired.market.connect(expired.nodeKey).submit(expired.terms, claim);
  });
});
