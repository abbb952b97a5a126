// R3, what settles is what was matched: no member of the terms can be swapped in a dispute or a lease either.
import type { Claim, Terms } from "@berth/protocol";
import { expect } from "chai";
import { loadFixture, time } from "../../support/actors.ts";
import { disputableResult, disputedResult } from "../../support/disputes.ts";
import { HEARTBEAT, runningLease } from "../../support/leases.ts";

/** Another value of the same type. */
function swapped(value: unknown) {
  if (typeof value === "number") return value === 0 ? 1 : value - 1;
  if (typeof value === "bigint") return value + 1n;
  return `0x${"3".repeat(String(value).length - 2)}`;
}

/** Terms with one member swapped, for every member. */
function forgeries({ job, assignment }: Terms): { name: string; forged: Terms }[] {
  const jobs = Object.entries(job).map(([name, value]) => ({
    name,
    forged: { job: { ...job, [name]: swapped(value) }, assignment },
  }));
  const assignments = Object.entries(assignment).map(([name, value]) => ({
    name,
    forged: { job, assignment: { ...assignment, [name]: swapped(value) } },
  }));
  return [...jobs, ...assignments];
}

/** Another job or replica is none at all; everything else is compared with what is stored. */
const errorOf = (name: string, error: string) => (name === "jobId" || name === "replica" ? "WrongState" : error);

describe("R3: what settles is what was matched, in disputes and leases", () => {
  it("a dispute is about the terms and the claim that were submitted", async () => {
    const { market, requester, terms, claim, job } = await loadFixture(disputableResult);
    expect(forgeries(terms).length).to.equal(32);
    for (const { name, forged } of forgeries(terms)) {
      await expect(market.connect(requester).dispute.staticCall(forged, claim), name).to.be.revertedWithCustomError(
        market,
        errorOf(name, "WrongClaim"),
      );
    }
    for (const [name, value] of Object.entries(claim)) {
      const forged = { ...claim, [name]: swapped(value) } as Claim;
      await expect(market.connect(requester).dispute.staticCall(terms, forged), name)
        .to.be.revertedWithCustomError(market, "WrongClaim")
        .withArgs(job, 0);
    }
    await market.connect(requester).dispute.staticCall(terms, claim);
  });

  it("an arbiter rules on what was disputed: no other payer, price, bond, fee or arbiter", async () => {
    const { market, arbiter, terms, claim, job, disputedAt } = await loadFixture(disputedResult);
    for (const { name, forged } of forgeries(terms)) {
      await expect(market.connect(arbiter).rule.staticCall(forged, claim, 0n), name).to.be.revertedWithCustomError(
        market,
        errorOf(name, "WrongClaim"),
      );
    }
    for (const [name, value] of Object.entries(claim)) {
      const forged = { ...claim, [name]: swapped(value) } as Claim;
      await expect(market.connect(arbiter).rule.staticCall(terms, forged, 0n), name)
        .to.be.revertedWithCustomError(market, "WrongClaim")
        .withArgs(job, 0);
    }
    await market.connect(arbiter).rule.staticCall(terms, claim, 0n);
    await time.increaseTo(disputedAt + 3601);
    for (const { name, forged } of forgeries(terms)) {
      await expect(market.finalize.staticCall(forged, claim), name).to.be.revertedWithCustomError(
        market,
        errorOf(name, "WrongClaim"),
      );
    }
    await market.finalize.staticCall(terms, claim);
  });

  it("a lease is paid, topped up and ended under the terms that were matched", async () => {
    const { market, requester, nodeKey, stranger, terms, matchedAt } = await loadFixture(runningLease);
    const all = forgeries(terms);
    for (const { name, forged } of all) {
      for (const call of [
        () => market.connect(nodeKey).claim.staticCall(forged),
        () => market.connect(requester).topUp.staticCall(forged, 10),
        () => market.connect(requester).close.staticCall(forged),
      ]) {
        await expect(call(), name).to.be.revertedWithCustomError(market, errorOf(name, "WrongTerms"));
      }
    }
    await time.increaseTo(matchedAt + 2 * HEARTBEAT + 1);
    for (const { name, forged } of all) {
      await expect(market.connect(stranger).close.staticCall(forged), name).to.be.revertedWithCustomError(
        market,
        errorOf(name, "WrongTerms"),
      );
    }
    await market.connect(stranger).close.staticCall(terms);
  });
});
