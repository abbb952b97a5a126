import { termsOf } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { batchOf, settlesAfter } from "../../../provider-node/src/core/settlement.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

const due = fc.record({ item: fc.nat(), closesAt: fc.nat(1000) });
const rules = fc.record({ maxItems: fc.integer({ min: 1, max: 5 }), holdSeconds: fc.nat(100) });

describe("results to settle", () => {
  it("wait for the window of their state, and never again once they are settled", () => {
    const domain = { chainId: 1, market: `0x${"4".repeat(40)}` } as const;
    const request = aRequest({ challengeWindow: 100, arbiterWindow: 7000 });
    const { job } = termsOf(domain, request, anOffer(), 0);
    expect(settlesAfter("submitted", job, 50)).to.equal(150);
    expect(settlesAfter("judging", job, 50)).to.equal(150);
    expect(settlesAfter("disputed", job, 50)).to.equal(7050);
    for (const chain of ["active", "settled", "refunded", "dropped"] as const) {
      expect(settlesAfter(chain, job, 50), chain).to.equal(undefined);
    }
  });

  it("go together: all that are due, oldest first, at most so many, and none of them early", () => {
    fc.assert(
      fc.property(fc.array(due), fc.nat(1200), rules, (all, now, limits) => {
        const batch = batchOf(
          all.map((one) => ({ ...one, item: one })),
          now,
          limits,
        );
        const ready = all.filter(({ closesAt }) => closesAt < now).toSorted((a, b) => a.closesAt - b.closesAt);
        const waited = ready[0] !== undefined && now - ready[0].closesAt > limits.holdSeconds;
        const isTime = ready.length >= limits.maxItems || waited;
        expect(batch).to.deep.equal(isTime ? ready.slice(0, limits.maxItems) : []);
      }),
    );
  });
});
