import { MarketError, offerSchema, parseWith, requestSchema } from "@berth/protocol";
import { z } from "zod";
import { operatorListSchema, signatureSchema } from "../book/order-json.ts";
import { sourcesSchema } from "../http/routes/inputs.ts";
import type { Intake } from "../intake/intake.ts";
import { PAGE_BYTES } from "./order-log.ts";

/** Orders of a page, which has `PAGE_BYTES` at most unless a single order is larger. */
export const PAGE = 100;
export const MAX_PAGE_BYTES = 4 * 1024 * 1024;
/** Bytes of items from which a page is full: it ended because the next order did not fit. */
const FULL_PAGE_BYTES = PAGE_BYTES / 2;
/** Orders of one page that are none, after which it is not read on. */
const MAX_JUNK = 10;

const number = z.int().min(0);
const pageSchema = z.object({
  log: z.string().min(1).max(64),
  items: z.array(z.unknown()).max(PAGE),
  next: number,
  more: z.boolean(),
});
const numbered = z.object({ seq: number });
const itemSchema = z.discriminatedUnion("kind", [
  z.strictObject({ seq: number, kind: z.literal("offer"), offer: offerSchema, signature: signatureSchema }),
  z.strictObject({
    seq: number,
    kind: z.literal("request"),
    request: requestSchema,
    signature: signatureSchema,
    payerSignature: signatureSchema,
    operators: operatorListSchema.nullable(),
    sources: sourcesSchema,
  }),
]);

/** How far a peer was read: its row of numbers, and the last number of it. */
export interface Cursor {
  log: string;
  after: number;
}

export interface Pulled {
  cursor: Cursor;
  /** Is there more to read at once? */
  more: boolean;
  taken: number;
  refused: number;
  /** Why reading stopped before the end of the page; what it stopped at is not passed over. */
  waitingFor?: MarketError;
}

/** Whoever looks at such an order sees that it never was one: an indexer that checks what it takes does not send it. */
const JUNK = new Set(["ORDER_INVALID", "REQUEST_UNSOUND", "OPERATORS_MISMATCH"]);
/** Costs as much as junk, and says nothing against the peer: when it took the order, its key was another or its wallet said yes. */
const DEAR = new Set([...JUNK, "BAD_SIGNATURE"]);
/** This indexer cannot go on at the moment, whatever the order. */
const STOP = new Set(["INDEXER_BEHIND", "RPC_UNAVAILABLE", "RATE_LIMITED", "INTAKE_BUSY"]);
/** The chain may say so a few blocks later, where the peer is ahead; or its RPC could not say what a wallet thinks of an order. */
const LATER = new Set(["NODE_UNKNOWN", "WRONG_EPOCH", "REQUEST_UNFUNDED", "RPC_ERROR"]);

export interface PullOptions {
  intake: Pick<Intake, "takeOffer" | "takeRequest">;
  /** Whom the limits count for. */
  sender: string;
  /** Throws RATE_LIMITED when the peer has used up what it may send. */
  spend(): void;
  /** Counts an order that was dear to check in vain. */
  punish(): void;
  /** Keeps an order that may be taken a little later. */
  setAside(item: unknown): void;
}

/**
 * Takes the orders of a page that a peer answered, through the same door as anybody's. Throws PEER_ANSWER_BAD, PEER_CURSOR_BAD
 * and, with what was read until then in `cause`, PEER_SENDS_JUNK.
 */
export async function takePage(answer: unknown, { log, after }: Cursor, options: PullOptions): Promise<Pulled> {
  const page = parseWith(pageSchema, answer, { code: "PEER_ANSWER_BAD", what: "Its page of orders" });
  // It numbers anew, as with an empty database: what is known already is taken once only, so nothing is lost by reading it all.
  if (page.log !== log && after > 0) return { cursor: { log: page.log, after: 0 }, more: false, taken: 0, refused: 0 };
  const pulled: Pulled = {
    cursor: { log: page.log, after },
    more: page.more && isFull(page.items),
    taken: 0,
    refused: 0,
  };
  let junk = 0;
  for (const item of page.items) {
    const { seq } = parseWith(numbered, item, { code: "PEER_ANSWER_BAD", what: "One of its orders" });
    if (seq <= pulled.cursor.after || seq > page.next) throw badCursor(seq, pulled.cursor.after);
    const refusal = await take(item, options);
    if (refusal !== undefined && mustStop(refusal)) return { ...pulled, more: false, waitingFor: refusal };
    pulled.cursor.after = seq;
    if (refusal !== undefined && isForLater(refusal)) {
      options.setAside(item);
      continue;
    }
    if (refusal === undefined) pulled.taken += 1;
    else pulled.refused += 1;
    if (refusal === undefined || !DEAR.has(refusal.code)) continue;
    options.punish();
    if (!JUNK.has(refusal.code)) continue;
    junk += 1;
    if (junk >= MAX_JUNK) break;
  }
  if (junk > 0 && 2 * junk >= Math.min(page.items.length, 2 * MAX_JUNK)) {
    throw new MarketError("PEER_SENDS_JUNK", `It sent ${junk} orders that are none.`, { cause: pulled });
  }
  if (page.next < pulled.cursor.after) throw badCursor(page.next, pulled.cursor.after);
  pulled.cursor.after = page.next;
  return pulled;
}

/** Tries again what was set aside; sets it aside again where it is still too early. */
export async function takeAside(item: unknown, options: PullOptions): Promise<Pick<Pulled, "taken" | "refused">> {
  const refusal = await take(item, options);
  const isTooEarly = refusal !== undefined && (mustStop(refusal) || isForLater(refusal));
  if (isTooEarly) options.setAside(item);
  return { taken: Number(refusal === undefined), refused: Number(refusal !== undefined && !isTooEarly) };
}

/** Only a full page says that there is more: else a peer could say so for ever, one order at a time. */
function isFull(items: readonly unknown[]): boolean {
  return items.length >= PAGE || Buffer.byteLength(JSON.stringify(items)) >= FULL_PAGE_BYTES;
}

function mustStop({ code }: MarketError): boolean {
  return STOP.has(code);
}

function isForLater({ code, retryable }: MarketError): boolean {
  return retryable && LATER.has(code);
}

async function take(item: unknown, { intake, sender, spend }: PullOptions): Promise<MarketError | undefined> {
  try {
    spend();
    const order = parseWith(itemSchema, item, { code: "ORDER_INVALID", what: "The order" });
    const from = { sender, fundedOnly: true };
    if (order.kind === "offer") await intake.takeOffer(from, order.offer, order.signature);
    else await intake.takeRequest(from, { ...order, operators: order.operators ?? undefined });
    return undefined;
  } catch (error) {
    if (error instanceof MarketError) return error;
    throw error;
  }
}

function badCursor(seq: number, after: number): MarketError {
  return new MarketError("PEER_CURSOR_BAD", `Its order ${seq} does not come after ${after}, or after its end.`);
}
