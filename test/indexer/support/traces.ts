import { offerHashOf, operatorTree } from "@berth/protocol";
import type { Book, BookOffer, OpenRequest } from "../../../indexer/src/book/book.ts";
import type { Hold } from "../../../indexer/src/book/holds.ts";
import { address, aNode, anOrder, type Step, TOKEN } from "./books.ts";

/** Applies one step of a trace; returns the request when the step is one. */
export function apply(book: Book, held: Hold[], step: Step, i: number): OpenRequest | undefined {
  switch (step.kind) {
    case "offer":
      book.putOffer(toBookOffer(step, i));
      return undefined;
    case "drop": {
      const all = [...book.offers()];
      const offer = all[step.at % Math.max(1, all.length)];
      if (offer !== undefined) book.dropOffer(offer.offerHash);
      return undefined;
    }
    case "node": {
      const { operator, index, key, validTo, use } = step;
      book.putNode(aNode(operator, index, { key, validTo, use }));
      return undefined;
    }
    case "stake":
      book.setStake(address(step.operator), TOKEN, { free: step.free, locked: step.locked });
      return undefined;
    case "accept":
      book.setAccepted(address(step.operator), TOKEN, step.accepted);
      return undefined;
    case "pause":
      book.setPaused(step.paused);
      return undefined;
    case "balance":
      book.setBalance(anOrder(1).request.payer, TOKEN, step.amount);
      return undefined;
    case "land":
      if (held.length > 0) held.splice(step.at % held.length, 1);
      return undefined;
    case "request":
      return toOrder(step, i);
  }
}

function toOrder({ request, posted, listed }: Extract<Step, { kind: "request" }>, i: number): OpenRequest {
  const operators = listed?.map(address) ?? null;
  const root = operators === null ? {} : { operators: operatorTree(operators).root };
  return anOrder(i, { ...request, ...root }, 1000 + (i % 3), posted, operators);
}

function toBookOffer({ offer, seq }: Extract<Step, { kind: "offer" }>, i: number): BookOffer {
  const offerHash = offerHashOf({ chainId: 1, market: address(77) }, offer);
  return { offerHash, offer, signature: "0x", signer: address(50 + (offer.epoch === 9 ? 1 : 0)), seq: seq * 100 + i };
}
