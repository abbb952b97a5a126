import { type Address, depositUp, type Hex, type Request, ZERO_ADDRESS } from "@berth/protocol";
import type { BookOffer, BookView, OpenRequest } from "../book/book.ts";
import { createHolds, type Hold, type Holds } from "../book/holds.ts";
import { allowedBy, serves } from "./candidates.ts";
import type { Wanted } from "./index/offer-index.ts";

/** Operators on a request's list at most for their offers to be looked at one by one. */
const SHORT_LIST = 64;

export interface MatchOptions {
  /** Unix seconds at which the match is expected on chain. */
  now: number;
  /** The account that sends it. */
  matcher: Address;
  /** Offers not to be used for a job, because the market refused them. */
  barred?: (jobId: Hex, offer: BookOffer) => boolean;
}

export interface Match {
  order: OpenRequest;
  /** One per replica, cheapest first. */
  offers: BookOffer[];
  /** Token units: deposits and tip together. */
  price: bigint;
  /** What it takes until it is on chain. */
  hold: Hold;
}

/** An offer with what it costs for the request at hand. */
export interface Priced {
  offer: BookOffer;
  /** Token units. */
  deposit: bigint;
}

/**
 * Matches `orders` in the order in which they came, each against what the ones before it left. Pure: the same book,
 * orders and options give the same matches, however the book was filled.
 */
export function matchAll(
  book: BookView,
  orders: Iterable<OpenRequest>,
  holds: Iterable<Hold>,
  options: MatchOptions,
): Match[] {
  const taken = [...holds];
  const held = createHolds(taken);
  for (const hold of taken) book.index.take(hold, 1);
  const matches: Match[] = [];
  try {
    for (const order of [...orders].sort(byArrival)) {
      const match = matchOne(book, held, order, options);
      if (match === undefined) continue;
      held.add(match.hold);
      book.index.take(match.hold, 1);
      taken.push(match.hold);
      matches.push(match);
    }
  } finally {
    for (const hold of taken) book.index.take(hold, -1);
  }
  return matches;
}

/** The cheapest offers of distinct operators that serve `order` within its price and the payer's balance, if any. */
export function matchOne(
  book: BookView,
  holds: Holds,
  order: OpenRequest,
  { now, matcher, barred }: MatchOptions,
): Match | undefined {
  const { jobId, request, posted } = order;
  if (book.paused || now > request.openUntil || !mayMatch(request, matcher)) return undefined;
  const allows = allowedBy(order);
  if (allows === undefined) return undefined;
  const budget = budgetOf(book, holds, order);
  const accepts = (offer: BookOffer) =>
    allows(offer.offer.operator) && !barred?.(jobId, offer) && serves(book, holds, request, offer, now);
  const chosen = cheapest(book, order, { count: request.replicas, budget, now, accepts });
  const deposits = chosen.reduce((sum, { deposit }) => sum + deposit, 0n);
  if (chosen.length < request.replicas || deposits > budget) return undefined;
  const price = deposits + request.matcherTip;
  const offers = chosen.map(({ offer }) => offer);
  const { cpuMilli, memoryMiB, diskMiB, gpus, token, bond, payer } = request;
  const nodes = offers.map(({ offer }) => ({ operator: offer.operator, index: offer.index }));
  const resources = { cpuMilli, memoryMiB, diskMiB, gpus };
  return { order, offers, price, hold: { jobId, nodes, resources, token, bond, payer, spent: posted ? 0n : price } };
}

/** The best offers by price and time; the few operators of a short list are asked one by one. */
function cheapest(book: BookView, { request, operators }: OpenRequest, wanted: Wanted & { now: number }): Priced[] {
  if (wanted.budget < 0n) return [];
  const { count, accepts } = wanted;
  const toPriced = (offer: BookOffer) => ({ offer, deposit: depositUp(request, offer.offer) });
  if (operators !== null && operators.length <= SHORT_LIST) {
    const offers = [...new Set(operators)].flatMap((operator) => [...book.index.offersOf(operator)]);
    return cheapestOfDistinctOperators(offers.filter((offer) => accepts?.(offer)).map(toPriced), count);
  }
  return book.index.find(book.index.query(request, wanted.now), wanted).map(({ offer }) => toPriced(offer));
}

/** May `matcher` match it, by the request's own word? */
export function mayMatch(request: Request, matcher: Address): boolean {
  return request.matcher === ZERO_ADDRESS || request.matcher === matcher.toLowerCase();
}

/** Token units that the deposits may come to; below zero when not even the tip is there. A posted price is reserved. */
function budgetOf(book: BookView, holds: Holds, { request, posted }: OpenRequest): bigint {
  const { maxPrice, matcherTip } = request;
  const available = posted ? maxPrice : spendable(book, holds, request);
  return (available < maxPrice ? available : maxPrice) - matcherTip;
}

/** What the payer can still spend: its balance without what matches under way will take. */
export function spendable(book: BookView, holds: Holds, { payer, token }: Request): bigint {
  return book.balance(payer, token) - holds.spent(payer, token);
}

/** Prices are independent of each other, so the cheapest set is the cheapest offer of each of the cheapest operators. */
export function cheapestOfDistinctOperators(fitting: readonly Priced[], count: number): Priced[] {
  const operators = new Set<Address>();
  const chosen: Priced[] = [];
  for (const priced of fitting.toSorted(byPriceAndTime)) {
    if (chosen.length === count) break;
    const { operator } = priced.offer.offer;
    if (operators.has(operator)) continue;
    operators.add(operator);
    chosen.push(priced);
  }
  return chosen;
}

function byPriceAndTime(a: Priced, b: Priced): number {
  if (a.deposit !== b.deposit) return a.deposit < b.deposit ? -1 : 1;
  return a.offer.seq - b.offer.seq || compare(a.offer.offerHash, b.offer.offerHash);
}

function byArrival(a: OpenRequest, b: OpenRequest): number {
  return a.receivedAtMs - b.receivedAtMs || compare(a.jobId, b.jobId);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
