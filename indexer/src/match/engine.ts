import type { Address, Hex } from "@berth/protocol";
import type { Book, OpenRequest } from "../book/book.ts";
import type { Hold } from "../book/holds.ts";
import { type Match, matchAll } from "./match.ts";
import type { Refusals } from "./refusals.ts";

export interface Round {
  orders: readonly OpenRequest[];
  /** What matches under way take. */
  holds: readonly Hold[];
  /** Unix seconds at which the matches are expected on chain. */
  now: number;
  matcher: Address;
}

/** Decides round after round, and asks about a request again only when something changed that it depends on. */
export interface Engine {
  /** What `matchAll` finds for all `orders` that no refusal bars. */
  decide(round: Round): Match[];
  /** Requests that the last round asked about. */
  readonly asked: number;
}

export function createEngine(book: Book, refusals: Refusals): Engine {
  /** What each unmatched request depended on when it was asked about. */
  let unmatched = new Map<Hex, string>();
  let held = new Set<Hex>();
  /** How often something was given back that matches under way had taken. */
  let releases = 0;
  let asked = 0;

  /** Time is not in it: it only ends what could have been a match. */
  function standingOf({ jobId, request, posted, operators }: OpenRequest): string {
    const balance = book.balance(request.payer, request.token);
    return `${book.version}|${releases}|${balance}|${posted}|${operators !== null}|${refusals.count(jobId)}`;
  }

  return {
    decide({ orders, holds, now, matcher }) {
      const holding = new Set<Hex>(holds.map(({ jobId }) => jobId));
      if ([...held].some((jobId) => !holding.has(jobId))) releases += 1;

      const due = new Map<Hex, OpenRequest>();
      const still = new Map<Hex, string>();
      for (const order of orders) {
        const standing = standingOf(order);
        const same = unmatched.get(order.jobId) === standing;
        if (!same && refusals.barsRequest(order.jobId, book, order.request)) continue;
        if (!same) due.set(order.jobId, order);
        still.set(order.jobId, standing);
      }
      const matches = matchAll(book, due.values(), holds, {
        now,
        matcher,
        barred(jobId, offer) {
          const order = due.get(jobId);
          return order !== undefined && refusals.barsOffer(jobId, book, order.request, offer);
        },
      });
      for (const { hold } of matches) {
        holding.add(hold.jobId);
        still.delete(hold.jobId);
      }
      held = holding;
      unmatched = still;
      asked = due.size;
      return matches;
    },
    get asked() {
      return asked;
    },
  };
}
