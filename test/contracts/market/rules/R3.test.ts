// R3, what settles is what was matched: no member of the terms can be swapped in a dispute or a lease either.
import type { Claim, Terms } from "@berth/protocol";
import { expect } from "chai";
import { type Actor, ethers, loadFixture, time } from "../../support/actors.ts";
import { disputableResult, disputedResult } from "../../support/disputes.ts";
import { HEARTBEAT, runningLease } from "../../support/leases.ts";
import type { Deployed } from "../../support/market.ts";

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

  it("no word of a call means the same with a bit beyond its member's width", async () => {
    const lease = await loadFixture(runningLease);
    await expectEveryWordToCount(lease, lease.nodeKey, "claim", [lease.terms]);
    await expectEveryWordToCount(lease, lease.requester, "topUp", [lease.terms, 10]);
    await expectEveryWordToCount(lease, lease.requester, "close", [lease.terms]);
    const submitted = await loadFixture(disputableResult);
    await expectEveryWordToCount(submitted, submitted.requester, "dispute", [submitted.terms, submitted.claim]);
    const disputed = await loadFixture(disputedResult);
    const { arbiter, terms, claim } = disputed;
    await expectEveryWordToCount(disputed, arbiter, "rule", [terms, claim, 10n]);
    await time.increaseTo(disputed.disputedAt + 3601);
    await expectEveryWordToCount(disputed, arbiter, "finalize", [terms, claim]);
  });
});

/** The call goes through as it is, and not when the highest bit of any of its words is flipped. */
async function expectEveryWordToCount(on: Deployed, by: Actor, name: string, values: readonly unknown[]) {
  const data = on.market.interface.encodeFunctionData(name, values);
  const send = (changed: string) => ethers.provider.call({ from: by.address, to: on.addresses.market, data: changed });
  await send(data);
  for (let at = 4; at < ethers.dataLength(data); at += 32) {
    const bytes = ethers.getBytes(data);
    bytes[at] = (bytes[at] ?? 0) ^ 0x80;
    const done = await send(ethers.hexlify(bytes)).then(
      () => true,
      () => false,
    );
    expect(done, `${name}, byte ${at}`).to.equal(false);
  }
}
