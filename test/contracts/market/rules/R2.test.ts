// R2, nodes have ids: keys that come and go strand no lease and no dispute, and capacity comes back once. The rest is in
// ../attacks.test.ts.
import { ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture, time } from "../../support/actors.ts";
import { disputableResult, judgedResult, Manner, Verdict } from "../../support/disputes.ts";
import { earnedDown, HEARTBEAT, leaseWithoutNotice, runningLease, startLease } from "../../support/leases.ts";
import { DAY, DOLLAR, matchJob, readyMarket } from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

const another = { nonce: ethers.id("another") as `0x${string}` };

describe("R2: nodes have ids, in leases and disputes", () => {
  it("a key that expires in a lease that was topped up goes on being paid", async () => {
    const on = await loadFixture(readyMarket);
    const { market, token, operator, nodeKey, requester, identity } = on;
    const month = 30 * DAY;
    const { terms, matchedAt } = await startLease(on, { heartbeatSeconds: month, acceptWindow: 0 });
    await market.connect(requester).topUp(terms, 5 * month);
    for (const months of [1, 2, 3, 4]) {
      await at(matchedAt + months * month);
      await market.connect(nodeKey).claim(terms);
    }
    const { validTo } = await identity.nodeOf(operator, 0);
    expect(validTo < BigInt(await time.latest())).to.equal(true);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 4 * month));
  });

  it("a node that was revoked leaves its operator the lease: it claims and closes", async () => {
    const on = await loadFixture(leaseWithoutNotice);
    const { market, staking, identity, token, operator, nodeKey, terms, matchedAt } = on;
    await identity.connect(operator).revokeNode(operator, 0);
    await at(matchedAt + HEARTBEAT);
    await expect(market.connect(nodeKey).claim(terms))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, nodeKey.address);
    await market.connect(operator).claim(terms);
    await at(matchedAt + HEARTBEAT + 10);
    await market.connect(operator).close(terms);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, HEARTBEAT + 10));
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR, 0n]);
    await expectNothingLost(on);
  });

  it("a deactivated operator's lease runs on, and its money is its last owner's", async () => {
    const on = await loadFixture(leaseWithoutNotice);
    const { market, identity, token, operator, requester, nodeKey, terms, matchedAt } = on;
    await identity.connect(operator).changeOwner(operator, ZERO_ADDRESS);
    await at(matchedAt + HEARTBEAT);
    await market.connect(nodeKey).claim(terms);
    await market.connect(requester).close(terms);
    const earned = (await market.balanceOf(operator, token)) as bigint;
    expect(earned >= earnedDown(terms, HEARTBEAT)).to.equal(true);
    await market.connect(operator).withdraw(operator, token, earned, operator);
    await expectNothingLost(on);
  });

  it("a key that was revoked because it is in wrong hands closes no lease", async () => {
    const { market, identity, operator, nodeKey, terms, job } = await loadFixture(runningLease);
    await identity.connect(operator).revokeNode(operator, 0);
    await expect(market.connect(nodeKey).close(terms))
      .to.be.revertedWithCustomError(market, "NotParty")
      .withArgs(job, nodeKey.address);
  });

  it("a lease gives its capacity back once, however it is closed", async () => {
    const on = await loadFixture(leaseWithoutNotice);
    const { market, operator, requester, nodeKey, terms, matchedAt } = on;
    await matchJob(on, { request: on.request(another) });
    expect((await market.useOf(operator, 0)).active).to.equal(2n);
    await market.connect(requester).close(terms);
    const left = await market.useOf(operator, 0);
    expect(left).to.deep.equal([0n, 1n, 1000n, 512n, 128n, 0n, 0n, true]);
    await time.increaseTo(matchedAt + 5000);
    for (const call of [
      () => market.connect(requester).close(terms),
      () => market.connect(nodeKey).claim(terms),
      () => market.connect(nodeKey).decline(terms, 0),
    ]) {
      await expect(call()).to.be.revertedWithCustomError(market, "WrongState");
    }
    expect(await market.useOf(operator, 0)).to.deep.equal(left);
  });

  it("a dispute and its ruling give no capacity back that the submission already gave", async () => {
    const on = await loadFixture(disputableResult);
    const { market, operator, requester, arbiter, terms, claim } = on;
    await matchJob(on, { request: on.request(another), offers: [on.offer()] });
    const before = await market.useOf(operator, 0);
    expect(before.active).to.equal(1n);
    await market.connect(requester).dispute(terms, claim);
    await market.connect(arbiter).rule(terms, claim, 0n);
    expect(await market.useOf(operator, 0)).to.deep.equal(before);
  });

  it("nor does a verdict that comes after it", async () => {
    const on = await loadFixture(judgedResult);
    const { market, verifier, operator, terms, claim, submittedAt } = on;
    await matchJob(on, { request: on.request(another), offers: [on.offer()] });
    const before = await market.useOf(operator, 0);
    await verifier.set(Manner.Answers, Verdict.Fails);
    await at(submittedAt + 601);
    await market.finalize(terms, claim);
    expect(await market.useOf(operator, 0)).to.deep.equal(before);
  });
});
