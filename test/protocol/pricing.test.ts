import {
  chargeDown,
  chargeOfDown,
  compensationDown,
  depositOf,
  depositUp,
  priceOf,
  rateX18,
  termsOf,
} from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { anOffer, anyOffer, anyRequest, aRequest } from "../support/orders.ts";

describe("pricing", () => {
  it("prices resources by the second and rounds the deposit up", () => {
    const request = aRequest({ cpuMilli: 1000, memoryMiB: 512, diskMiB: 0, gpus: 0, maxSeconds: 3 });
    const offer = anOffer({ cpuRateX18: 10n ** 15n, memoryRateX18: 1n, baseCharge: 7n });
    expect(rateX18(request, offer)).to.equal(1000n * 10n ** 15n + 512n);
    expect(depositUp(request, offer)).to.equal(7n + 4n); // 3.000…1536 units, rounded up
    expect(chargeDown(request, offer, 3)).to.equal(7n + 3n);
    expect(chargeDown(request, offer, 2.9)).to.equal(7n + 2n);
  });

  it("never charges more than the deposit, whatever the metered time", () => {
    fc.assert(
      fc.property(anyRequest, anyOffer, fc.nat(), (request, offer, seconds) => {
        const charge = chargeDown(request, offer, seconds);
        expect(charge <= depositUp(request, offer)).to.equal(true);
        expect(charge >= offer.baseCharge).to.equal(true);
      }),
    );
  });

  it("charges more for more time, never less", () => {
    fc.assert(
      fc.property(anyRequest, anyOffer, fc.nat(), fc.nat(), (request, offer, a, b) => {
        const [short, long] = a < b ? [a, b] : [b, a];
        expect(chargeDown(request, offer, short) <= chargeDown(request, offer, long)).to.equal(true);
      }),
    );
  });

  it("asks the payer for every deposit and the tip, nothing else", () => {
    fc.assert(
      fc.property(anyRequest, fc.array(anyOffer, { maxLength: 4 }), (request, offers) => {
        const deposits = offers.map((offer) => depositUp(request, offer)).reduce((sum, deposit) => sum + deposit, 0n);
        expect(priceOf(request, offers)).to.equal(deposits + request.matcherTip);
      }),
    );
  });

  it("compensates with at most the signed share, and at most the bond", () => {
    const request = aRequest({ compensationBps: 1000, bond: 40n });
    expect(compensationDown(request, 100n)).to.equal(10n);
    expect(compensationDown(request, 1000n)).to.equal(40n);
  });

  it("says the same of terms as of the orders that came to them", () => {
    const domain = { chainId: 1, market: `0x${"b".repeat(40)}` } as const;
    fc.assert(
      fc.property(anyRequest, anyOffer, fc.double({ min: -10, max: 2e6, noNaN: true }), (request, offer, seconds) => {
        const terms = termsOf(domain, request, offer, 0);
        expect(depositOf(terms)).to.equal(depositUp(request, offer));
        expect(chargeOfDown(terms, seconds)).to.equal(chargeDown(request, offer, seconds));
      }),
    );
  });

  it("holds for a replica exactly what a longer run could not exceed", () => {
    const domain = { chainId: 1, market: `0x${"b".repeat(40)}` } as const;
    const terms = termsOf(domain, aRequest({ maxSeconds: 60 }), anOffer(), 0);
    expect(depositOf(terms)).to.equal(69n);
    expect(chargeOfDown(terms, 59)).to.equal(67n);
    expect(chargeOfDown(terms, 60)).to.equal(68n);
    expect(chargeOfDown(terms, 61)).to.equal(68n);
    expect(chargeOfDown(terms, -1)).to.equal(5n);
  });
});
