import type { Hex, Offer } from "@berth/protocol";
import type { BookOffer } from "./book.ts";

/** The offers of one set of market terms, and what none of them undercuts. */
export interface TermsClass {
  readonly size: number;
  offers(): Iterable<BookOffer>;
  put(offer: BookOffer): void;
  drop(offerHash: Hex): void;
  /** An offer with the lowest of every price: no real one costs less for any request. Undefined without offers. */
  floor(): Offer | undefined;
}

const PRICES = ["baseCharge", "cpuRateX18", "memoryRateX18", "diskRateX18", "gpuRateX18"] as const;

export function createTermsClass(): TermsClass {
  const offers = new Map<Hex, BookOffer>();
  /** Undefined until asked for, after an offer left that was lowest in something. */
  let floor: Offer | undefined;

  return {
    get size() {
      return offers.size;
    },
    offers: () => offers.values(),
    put(added) {
      offers.set(added.offerHash, added);
      if (floor !== undefined) floor = lower(floor, added.offer);
    },
    drop(offerHash) {
      const gone = offers.get(offerHash);
      offers.delete(offerHash);
      if (PRICES.some((price) => gone?.offer[price] === floor?.[price])) floor = undefined;
    },
    floor() {
      if (floor !== undefined) return floor;
      for (const { offer } of offers.values()) floor = floor === undefined ? offer : lower(floor, offer);
      return floor;
    },
  };
}

function lower(floor: Offer, offer: Offer): Offer {
  const lowest = { ...floor };
  for (const price of PRICES) {
    if (offer[price] < lowest[price]) (lowest[price] as bigint) = offer[price];
  }
  return lowest;
}
