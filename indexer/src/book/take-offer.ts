import {
  type Address,
  type Deployment,
  type Hex,
  MarketError,
  type Offer,
  orderToJson,
  type Request,
} from "@berth/protocol";
import type { IntakeLimits } from "../intake/limits.ts";
import { orderHashes } from "../intake/order-hash.ts";
import type { Database, Query } from "../store/database.ts";
import { type OfferRow, offers, oneAtATime, putOffer } from "../store/orders.ts";
import { selectRows } from "../store/rows.ts";
import { type LiveBook, slotOf } from "./live-book.ts";
import { badSignature } from "./signatures.ts";

/** Live offers that one node may have at a time. */
const MAX_OFFERS_PER_NODE = 32;

/** What an order is checked by before it is put in the book. */
export interface TakeOptions {
  db: Database;
  live: LiveBook;
  deployment: Deployment;
  limits: IntakeLimits;
  /** Did `account` sign `hash`? Throws RPC_UNAVAILABLE, INTAKE_BUSY. */
  isSignedBy(account: Address, hash: Hex, signature: Hex): Promise<boolean>;
  /** Throws when no more requests without money are taken from this sender. */
  takeUnfunded(request: Request): void;
  /** Unix milliseconds of this machine. */
  nowMs: number;
  /** Unix seconds, as the chain counts them. */
  now: number;
}

/**
 * Checks a signed offer and puts it in the book, in place of the node's older one; the same offer again changes
 * nothing. Throws OFFER_EXPIRED, OFFER_ENDS_TOO_LATE, NODE_UNKNOWN, WRONG_EPOCH, BAD_SIGNATURE, OFFER_SUPERSEDED, TOO_MANY_OFFERS.
 */
export async function takeOffer(offer: Offer, signature: Hex, options: TakeOptions): Promise<Hex> {
  const { db, live, deployment, limits, now, nowMs } = options;
  const offerHash = orderHashes(deployment).offerHashOf(offer);
  if (offer.expiresAt < now) {
    throw new MarketError("OFFER_EXPIRED", `The offer expired at ${offer.expiresAt}; it is ${now}.`, {
      hint: "Sign a new offer, and check this machine's clock.",
    });
  }
  const seconds = offer.expiresAt - now;
  if (seconds > limits.maxOfferSeconds) {
    throw new MarketError(
      "OFFER_ENDS_TOO_LATE",
      `The offer ends at ${offer.expiresAt}, in ${seconds} s; offers are taken for ${limits.maxOfferSeconds} s at most.`,
      { hint: "Sign an offer that ends sooner, and another one before it does." },
    );
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
  if (live.book.has(offerHash)) return offerHash;
  const signer = node.key;
  if (!(await options.isSignedBy(signer, offerHash, signature)))
    throw badSignature("offer", `the node's key ${signer}`);

  const slot = slotOf(offer);
  const seq = await db.transaction(async (query) => {
    await oneAtATime(query, `operator ${offer.operator}`);
    const ofNode = await selectRows(query, offers, "WHERE t.operator = unhex($1) AND t.index = $2::bigint", [
      offer.operator,
      String(offer.index),
    ]);
    if (ofNode.some((row) => row.offerHash === offerHash)) return undefined;
    const current = ofNode.filter((row) => row.expiresAt >= now);
    const older = current.find((row) => row.slot === slot);
    if (older !== undefined) requireNewer(offer, older);
    else {
      if (current.length >= MAX_OFFERS_PER_NODE) throw tooManyOfNode(offer);
      await requireQuota(query, offer, options);
    }
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

/** A new offer beside the others, not one in the place of another. */
async function requireQuota(query: Query, { operator }: Offer, options: TakeOptions): Promise<void> {
  const { live, deployment, limits, now } = options;
  const [row] = await query<{ open: string }>(
    "SELECT count(*)::text AS open FROM offers WHERE operator = unhex($1) AND expires_at >= $2::bigint",
    [operator, String(now)],
  );
  const isStaked = deployment.tokens.some(({ address }) => {
    const { free, locked } = live.book.stake(operator, address);
    return free + locked > 0n;
  });
  const most = isStaked ? limits.offersPerOperator.staked : limits.offersPerOperator.plain;
  if (Number(row?.open) < most) return;
  throw new MarketError("TOO_MANY_OFFERS", `Operator ${operator} already has ${row?.open} of ${most} offers here.`, {
    hint: isStaked
      ? "Wait until some expire, or hand the others in at another indexer."
      : `Wait until some expire, or stake: an operator with stake may have ${limits.offersPerOperator.staked}.`,
    retryable: true,
  });
}

function tooManyOfNode({ operator, index }: Offer): MarketError {
  return new MarketError(
    "TOO_MANY_OFFERS",
    `Node ${index} of operator ${operator} already has ${MAX_OFFERS_PER_NODE} offers here.`,
    { hint: "Wait until some expire.", retryable: true },
  );
}
