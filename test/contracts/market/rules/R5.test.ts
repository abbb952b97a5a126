// R5, whose money, where disputes and leases spend and return it. The rest is in ../attacks.test.ts.
import { expect } from "chai";
import { at, loadFixture } from "../../support/actors.ts";
import { disputedResult, FEE } from "../../support/disputes.ts";
import { DEPOSIT, earnedDown, HEARTBEAT, leaseRequest, runningLease, startLease } from "../../support/leases.ts";
import { addressOf, DOLLAR, readyMarket, signRequest } from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

describe("R5: whose money, in disputes and leases", () => {
  it("a key that was rotated away cannot carry its account's balance off by topping up the thief's own lease", async () => {
    const on = await loadFixture(runningLease);
    const { market, identity, token, payer, heir, terms, job } = on;
    // The key of `payer` is stolen; `heir` is who controls the account now.
    await identity.connect(payer).changeOwner(payer, heir);
    await expect(market.connect(payer).topUp(terms, 500))
      .to.be.revertedWithCustomError(market, "NotController")
      .withArgs(payer.address, payer.address);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR);
    expect((await market.leaseOf(job, 0)).addedSeconds).to.equal(0n);
    await expectNothingLost(on, DEPOSIT);
  });

  it("what is left of a lease is the payer's, and so is the compensation for its silence", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, payer, requester, stranger } = on;
    const forPayer = { payer: addressOf(payer) };
    const signature = await signRequest(on, payer, leaseRequest(on, forPayer));
    const { terms, matchedAt } = await startLease(on, forPayer, signature);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    await market.connect(stranger).close(terms);
    expect(await market.balanceOf(payer, token)).to.equal(100n * DOLLAR - earnedDown(terms, HEARTBEAT));
    expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR);
    expect(await staking.owedTo(payer, token)).to.equal(52n);
    expect(await staking.owedTo(requester, token)).to.equal(0n);
    await expectNothingLost(on);
  });

  it("the fee that a requester advanced is neither the payer's nor spendable while the dispute lasts", async () => {
    const on = await loadFixture(disputedResult);
    const { market, token, requester, addresses } = on;
    const left = (await market.balanceOf(requester, token)) as bigint;
    await expect(market.connect(requester).withdraw(requester, token, left + FEE, requester))
      .to.be.revertedWithCustomError(market, "BalanceTooLow")
      .withArgs(requester.address, addresses.token, left, left + FEE);
  });

  it("a lease pays the operator's balance, which the node's hot key cannot withdraw", async () => {
    const on = await loadFixture(runningLease);
    const { market, token, operator, nodeKey, terms, matchedAt } = on;
    await at(matchedAt + 60);
    await market.connect(nodeKey).claim(terms);
    await expect(market.connect(nodeKey).withdraw(operator, token, 1n, nodeKey))
      .to.be.revertedWithCustomError(market, "NotController")
      .withArgs(operator.address, nodeKey.address);
    expect(await market.balanceOf(nodeKey, token)).to.equal(0n);
    expect(await market.balanceOf(operator, token)).to.equal(earnedDown(terms, 60));
  });

  it("a thief with the requester's old key cannot close its lease or spend its balance on a fee", async () => {
    const on = await loadFixture(runningLease);
    const { market, identity, requester, heir, terms, job } = on;
    await identity.connect(requester).changeOwner(requester, heir);
    await expect(market.connect(requester).close(terms))
      .to.be.revertedWithCustomError(market, "NotParty")
      .withArgs(job, requester.address);
    await market.connect(heir).close(terms);
  });
});
