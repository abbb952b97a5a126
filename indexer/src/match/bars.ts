import { type Address, type ErrorJson, type Hex, type Request, toJson } from "@berth/protocol";
import type { BookOffer, BookView } from "../book/book.ts";

/** What must change before a refused match is tried again: values as they were when it was refused. */
export type Bar =
  | { kind: "request"; standing: string }
  | { kind: "offers"; standings: Record<Hex, string>; operators: Address[] }
  /** Nothing is to blame but the company: it failed in a batch, and may be tried alone. */
  | { kind: "alone" };

/** Refusals that no other offer would change. */
const REQUEST_FAULTS =
  /\b(BadRequestSignature|BadPayerSignature|RequestExpired|BadRequest|BalanceTooLow|PriceAboveCap|NotMatcher|WrongState|WrongOfferCount|OperatorTwice|NewJobsPaused|MatchTooLarge)\b/;

/** Decides from the contract's words whether the request or some of the offers are to blame; in doubt, all offers. */
export function barAfter(error: ErrorJson, book: BookView, request: Request, offers: readonly BookOffer[]): Bar {
  if (REQUEST_FAULTS.test(error.message)) return { kind: "request", standing: standingOfRequest(book, request) };
  const said = error.message.toLowerCase();
  const named = offers.filter(({ offerHash, offer }) => said.includes(offerHash) || said.includes(offer.operator));
  const blamed = named.length > 0 ? named : offers;
  return {
    kind: "offers",
    standings: Object.fromEntries(blamed.map((offer) => [offer.offerHash, standingOfOffer(book, request, offer)])),
    operators: [...new Set(blamed.map(({ offer }) => offer.operator))],
  };
}

/** Has nothing changed of what the request brings? */
export function barsRequest(bars: readonly Bar[], book: BookView, request: Request): boolean {
  return bars.some((bar) => bar.kind === "request" && bar.standing === standingOfRequest(book, request));
}

/** Has nothing changed of what stands behind this offer? */
export function barsOffer(bars: readonly Bar[], book: BookView, request: Request, offer: BookOffer): boolean {
  return bars.some((bar) => {
    const barred = bar.kind === "offers" ? bar.standings[offer.offerHash] : undefined;
    // Most offers are not named; what stands behind one is dear to tell.
    return barred !== undefined && barred === standingOfOffer(book, request, offer);
  });
}

function standingOfRequest(book: BookView, { requester, payer, token }: Request): string {
  return toJson([book.balance(payer, token), book.controller(requester), book.controller(payer), book.paused]);
}

function standingOfOffer(book: BookView, { token }: Request, { offer }: BookOffer): string {
  const { operator, index } = offer;
  const { free, locked } = book.stake(operator, token);
  const node = book.node(operator, index);
  return toJson([node, free, locked, book.deactivated(operator), book.accepts(operator)]);
}
