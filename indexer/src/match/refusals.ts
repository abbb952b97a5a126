import type { Address, Hex, Request } from "@berth/protocol";
import type { BookOffer, BookView } from "../book/book.ts";
import { type Bar, barsOffer, barsRequest } from "./bars.ts";

/** Milliseconds for which a refusal counts. Each may have cost gas, and what it blamed may have been wrong. */
export const REFUSAL_MS = 15 * 60_000;
/** Refusals to be blamed on one request, and on one operator for that request, until some of them no longer count. */
const MAX_OF_REQUEST = 8;
const MAX_OF_OPERATOR = 3;

/** What the market refused lately. An operator whose offers are refused keeps no other from the job. */
export interface Refusals {
  add(jobId: Hex, bar: Bar, atMs: number): void;
  /** How many count for a job. */
  count(jobId: Hex): number;
  barsRequest(jobId: Hex, book: BookView, request: Request): boolean;
  barsOffer(jobId: Hex, book: BookView, request: Request, offer: BookOffer): boolean;
  /** Did it fail in a batch, so that it is to be tried alone? */
  mustGoAlone(jobId: Hex): boolean;
  /** Forgets what no longer counts at `nowMs`. */
  expire(nowMs: number): void;
}

export function createRefusals(): Refusals {
  const refusals = new Map<Hex, { bar: Bar; atMs: number }[]>();
  const barsOf = (jobId: Hex) => (refusals.get(jobId) ?? []).map(({ bar }) => bar);

  return {
    add(jobId, bar, atMs) {
      refusals.set(jobId, [...(refusals.get(jobId) ?? []), { bar, atMs }]);
    },
    count: (jobId) => refusals.get(jobId)?.length ?? 0,
    barsRequest(jobId, book, request) {
      const bars = barsOf(jobId);
      return bars.filter(({ kind }) => kind === "request").length >= MAX_OF_REQUEST || barsRequest(bars, book, request);
    },
    barsOffer(jobId, book, request, offer) {
      const bars = barsOf(jobId);
      return triesOf(bars, offer.offer.operator) >= MAX_OF_OPERATOR || barsOffer(bars, book, request, offer);
    },
    mustGoAlone: (jobId) => barsOf(jobId).some(({ kind }) => kind === "alone"),
    expire(nowMs) {
      for (const [jobId, all] of refusals) {
        const left = all.filter(({ atMs }) => atMs > nowMs - REFUSAL_MS);
        if (left.length === 0) refusals.delete(jobId);
        else if (left.length < all.length) refusals.set(jobId, left);
      }
    },
  };
}

function triesOf(bars: readonly Bar[], operator: Address): number {
  return bars.filter((bar) => bar.kind === "offers" && bar.operators.includes(operator)).length;
}
