import { type Address, depositUp, type Misfit, type Request } from "@berth/protocol";
import type { BookView, OpenRequest } from "../book/book.ts";
import type { Holds } from "../book/holds.ts";
import { allowedBy, reasonsAgainst } from "./candidates.ts";
import { cheapestOfDistinctOperators, mayMatch, type Priced, spendable } from "./match.ts";
import { phraseOf } from "./phrases.ts";

/** Why offers do not fit, by field. */
export interface Reason {
  field: string;
  /** How many offers fail in this field. */
  offers: number;
  wanted: string;
  /** The closest value that any of them has. */
  best: string;
}

export interface Explanation {
  offersSeen: number;
  /** Offers that the market would take for this request now. */
  fits: number;
  reasons: Reason[];
  sentence: string;
}

/** What stands between `order` and a match now, in numbers and in one sentence. Pure. */
export function explain(
  book: BookView,
  holds: Holds,
  order: OpenRequest,
  { now, matcher }: { now: number; matcher: Address | null },
): Explanation {
  const { request } = order;
  const byField = new Map<string, Misfit[]>();
  const fitting: Priced[] = [];
  const allows = allowedBy(order);
  let offersSeen = 0;
  for (const offer of book.offers()) {
    if (offer.offer.expiresAt < now) continue;
    offersSeen += 1;
    const against = withoutEchoes(reasonsAgainst(book, holds, request, offer, now));
    const { operator } = offer.offer;
    if (allows?.(operator) === false) against.push({ field: "operators", wanted: request.operators, has: operator });
    if (against.length === 0) fitting.push({ offer, deposit: depositUp(request, offer.offer) });
    for (const misfit of against) {
      const found = byField.get(misfit.field);
      if (found === undefined) byField.set(misfit.field, [misfit]);
      else found.push(misfit);
    }
  }
  const reasons = [...byField].map(([field, found]) => toReason(field, found)).sort(byCount);
  const fits = fitting.length;
  reasons.push(...orderReasons(book, holds, order, fitting, { now, matcher }));
  return { offersSeen, fits, reasons, sentence: sentenceOf(offersSeen, fits, request, reasons) };
}

/** What keeps the fitting offers from a match: price, balance, number, time, another matcher. */
function orderReasons(
  book: BookView,
  holds: Holds,
  order: OpenRequest,
  fitting: Priced[],
  { now, matcher }: { now: number; matcher: Address | null },
): Reason[] {
  const { request, posted } = order;
  const found: Reason[] = [];
  const offers = fitting.length;
  const add = (field: string, wanted: unknown, best: unknown) =>
    found.push({ field, offers, wanted: String(wanted), best: String(best) });
  if (now > request.openUntil) add("openUntil", request.openUntil, now);
  if (book.paused) add("paused", "false", "true");
  if (allowedBy(order) === undefined) add("operatorList", request.operators, "unknown");
  if (matcher === null) add("matching", "on", "off");
  else if (!mayMatch(request, matcher)) add("matcher", request.matcher, matcher.toLowerCase());
  const chosen = cheapestOfDistinctOperators(fitting, request.replicas);
  if (chosen.length < request.replicas) {
    if (offers > 0) add("replicas", request.replicas, chosen.length);
    return found;
  }
  const price = chosen.reduce((sum, { deposit }) => sum + deposit, request.matcherTip);
  if (price > request.maxPrice) add("maxPrice", request.maxPrice, price);
  const balance = spendable(book, holds, request);
  if (!posted && price > balance) add("balance", price, balance);
  return found;
}

/** What an offer lacks altogether it lacks free too: said once. */
function withoutEchoes(found: Misfit[]): Misfit[] {
  const fields = new Set(found.map(({ field }) => field));
  return found.filter(({ field }) => !(field.startsWith("free ") && fields.has(field.slice(5))));
}

function toReason(field: string, found: Misfit[]): Reason {
  const [first] = found;
  return { field, offers: found.length, wanted: first?.wanted ?? "", best: bestOf(field, found) };
}

function bestOf(field: string, found: readonly Misfit[]): string {
  const values = found.map(({ has }) => has);
  if (field === "traits") {
    const missing = ({ wanted, has }: Misfit) => bitCount(BigInt(wanted) & ~BigInt(has));
    return found.reduce((best, one) => (missing(one) < missing(best) ? one : best)).has;
  }
  if (!values.every((value) => /^-?[0-9]+$/.test(value))) return [...new Set(values)].sort().slice(0, 5).join(", ");
  const smaller = field === "submitWindow" || field === "heartbeatSeconds";
  return values.reduce((best, value) => (BigInt(value) < BigInt(best) === smaller ? value : best));
}

function bitCount(mask: bigint): number {
  return mask.toString(2).replaceAll("0", "").length;
}

function byCount(a: Reason, b: Reason): number {
  return b.offers - a.offers || (a.field < b.field ? -1 : 1);
}

function sentenceOf(offersSeen: number, fits: number, request: Request, reasons: readonly Reason[]): string {
  const counted = `${offersSeen} ${offersSeen === 1 ? "offer" : "offers"}, ${fits} ${fits === 1 ? "fits" : "fit"}`;
  if (reasons.length === 0 && offersSeen > 0) return `${counted}: the next round matches this request.`;
  if (reasons.length === 0) return `${counted}: no node offers anything at the moment.`;
  return `${counted}: ${reasons.map((reason) => phraseOf(reason, request)).join("; ")}.`;
}
