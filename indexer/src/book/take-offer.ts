import type { Rpc } from "@berth/chain";
import { type Deployment, type Hex, MarketError, type Offer, orderToJson } from "@berth/protocol";
import { orderHashes } from "../intake/order-hash.ts";
import type { Database } from "../store/database.ts";
import { type OfferRow, offers, oneAtATime, putOffer } from "../store/orders.ts";
import { selectRows } from "../store/rows.ts";
import { type LiveBook, slotOf } from "./live-book.ts";
import { badSignature, isSignedBy } from "./signatures.ts";

/** Live offers that one node may have at a time. */
const MAX_OFFERS_PER_NODE = 32;

/** What an order is checked by before it is put in the book. */
export interface TakeOptions {
  rpc: Rpc;
  db: Database;
  live: LiveBook;
  deployment: Deployment;
  /** Unix milliseconds of this machine. */
  nowMs: number;
  /** Unix seconds, as the chain counts them. */
  now: number;
}

/**
 * Checks a signed offer and puts it in the book, in place of the node's older one; the same offer again changes
 * nothing. Throws OFFER_EXPIRED, NODE_UNKNOWN, WRONG_EPOCH, BAD_SIGNATURE, OFFER_SUPERSEDED, TOO_MANY_OFFERS.
 */
export async function takeOffer(offer: Offer, signature: Hex, options: TakeOptions): Promise<Hex> {
  const { rpc, db, live, deployment, now, nowMs } = options;
  const offerHash = orderHashes(deployment).offerHashOf(offer);
  if (offer.expiresAt < now) {
    throw new MarketError("OFFER_EXPIRED", `The offer expired at ${offer.expiresAt}; it is ${now}.`, {
      hint: "Sign a new offer, and check this machine's clock.",
    });
  }
  const node = live.book.node(offer.operator, offer.index);
  if (node === undefined || node.key === null) {
    throw new MarketError("NODE_UNKNOWN", `Node ${offer.index} of operator ${offer.operator} is not published.`, {
      hint: "Publish the node in the identity registry and wait until this indexer has seen it.",
      retryable: true,
    });
  }
  if (offer.epoch !== node.use.epoch) {
    throw new MarketError("WRONG_EPOCH", `The offer is for epoch ${offer.epoch}; the node is at ${node.use.epoch}.`, {
      hint: "Sign the offer with the node's present epoch.",
      retryable: offer.epoch > node.use.epoch,
    });
  }
  const signer = node.key;
  if (!(await isSignedBy(rpc, signer, offerHash, signature))) throw badSignature("offer", `the node's key ${signer}`);

  const slot = slotOf(offer);
  const seq = await db.transaction(async (query) => {
    await oneAtATime(query, `node ${offer.operator} ${offer.index}`);
    const ofNode = await selectRows(query, offers, "WHERE t.operator = unhex($1) AND t.index = $2::bigint", [
      offer.operator,
      String(offer.index),
    ]);
    if (ofNode.some((row) => row.offerHash === offerHash)) return undefined;
    const current = ofNode.filter((row) => row.expiresAt >= now);
    const older = current.find((row) => row.slot === slot);
    if (older !== undefined) requireNewer(offer, older);
    else if (current.length >= MAX_OFFERS_PER_NODE) throw tooMany(offer);
    return putOffer(query, { ...row(), slot });
  });
  if (seq !== undefined) live.putOffer({ ...row(), slot, seq });
  return offerHash;

  function row(): Omit<OfferRow, "seq" | "slot"> {
    return {
      offerHash,
      receivedAtMs: nowMs,
      signer,
      operator: offer.operator,
      index: offer.index,
      token: offer.token,
      expiresAt: offer.expiresAt,
      offer: orderToJson(offer),
      signature,
    };
  }
}

/** Anyone can hand in an old offer again; it must not push out the one that the node signed after it. */
function requireNewer(offer: Offer, older: OfferRow): void {
  const olderEpoch = Number(older.offer["epoch"]);
  if (offer.epoch > olderEpoch || (offer.epoch === olderEpoch && offer.expiresAt >= older.expiresAt)) return;
  throw new MarketError(
    "OFFER_SUPERSEDED",
    `A newer offer of this node is known, which expires at ${older.expiresAt}.`,
    {
      hint: "An offer takes the place of another only when it expires no earlier; raise the node's epoch to withdraw one.",
    },
  );
}

function tooMany({ operator, index }: Offer): MarketError {
  return new MarketError(
    "TOO_MANY_OFFERS",
    `Node ${index} of operator ${operator} already has ${MAX_OFFERS_PER_NODE} offers here.`,
    { hint: "Wait until some expire." },
  );
}
