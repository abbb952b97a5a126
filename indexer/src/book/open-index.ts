import type { Address, Hex, Request } from "@berth/protocol";
import type { BookView } from "./book.ts";

/** Signed requests that wait off chain, by who pays, so that one payer's quota is no look at everybody's requests. */
export interface OpenIndex {
  put(jobId: Hex, request: Request): void;
  drop(jobId: Hex): void;
  /** Those of a payer that are open at `now` (unix seconds). */
  countOf(payer: Address, now: number): number;
  /** Weighs again the requests that this balance pays for. */
  balanceChanged(payer: Address, token: Address): void;
  /** Those whose payer lacks the money. */
  readonly unfunded: number;
}

/** Has the payer deposited the most that this request may cost? Where that is nothing, anything at all. */
export function isFunded(book: BookView, { payer, token, maxPrice }: Request): boolean {
  const balance = book.balance(payer, token);
  return balance > 0n && balance >= maxPrice;
}

export function createOpenIndex(book: BookView): OpenIndex {
  const byPayer = new Map<Address, Map<Hex, Request>>();
  const payerOf = new Map<Hex, Address>();
  const unfunded = new Set<Hex>();

  function weigh(jobId: Hex, request: Request): void {
    if (isFunded(book, request)) unfunded.delete(jobId);
    else unfunded.add(jobId);
  }

  return {
    put(jobId, request) {
      const { payer } = request;
      byPayer.set(payer, (byPayer.get(payer) ?? new Map<Hex, Request>()).set(jobId, request));
      payerOf.set(jobId, payer);
      weigh(jobId, request);
    },
    drop(jobId) {
      const payer = payerOf.get(jobId);
      if (payer === undefined) return;
      payerOf.delete(jobId);
      unfunded.delete(jobId);
      const others = byPayer.get(payer);
      others?.delete(jobId);
      if (others?.size === 0) byPayer.delete(payer);
    },
    countOf(payer, now) {
      return [...(byPayer.get(payer)?.values() ?? [])].filter(({ openUntil }) => openUntil >= now).length;
    },
    balanceChanged(payer, token) {
      for (const [jobId, request] of byPayer.get(payer) ?? []) if (request.token === token) weigh(jobId, request);
    },
    get unfunded() {
      return unfunded.size;
    },
  };
}
