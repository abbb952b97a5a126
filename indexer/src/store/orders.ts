import { type Address, type ErrorJson, type Hex, toJson } from "@berth/protocol";
import { KEEP_EVENTS } from "./changes.ts";
import type { Database, Query } from "./database.ts";
import { selectRows } from "./rows.ts";
import { amount, hex, json, orNull, type Row, sqlName, table, text, whole } from "./table.ts";
import type { OrderJson } from "./tables.ts";

/** Seconds for which people can ask what became of a request that expired and never reached the chain. */
const KEEP_EXPIRED = 24 * 3600;

/** A signed offer as it came in. `seq` is the order of arrival, `slot` what only one offer can have at a time. */
export const offers = table("offers", ["offerHash"], {
  offerHash: hex,
  seq: whole,
  receivedAtMs: whole,
  signer: hex,
  operator: hex,
  index: whole,
  token: hex,
  expiresAt: whole,
  slot: text,
  offer: json<OrderJson>(),
  signature: hex,
});
export type OfferRow = Row<typeof offers>;

/** A signed request as it came in, with the places where its content is said to be. */
export const requests = table("requests", ["jobId"], {
  jobId: hex,
  seq: whole,
  receivedAtMs: whole,
  payer: hex,
  openUntil: whole,
  request: json<OrderJson>(),
  signature: hex,
  payerSignature: hex,
  /** The operators that it allows, where it names a list and somebody handed the list in. */
  operators: orNull(json<Address[]>()),
  sources: json<string[]>(),
});
export type RequestRow = Row<typeof requests>;

/** One match that the engine decided to make. `sent` until the outbox knows its end. */
export const tries = table("tries", ["jobId", "attempt"], {
  jobId: hex,
  attempt: whole,
  /** The transaction that makes it, alone or with others. */
  outboxKey: text,
  /** Its place among those of the transaction. */
  item: whole,
  state: text,
  atMs: whole,
  offers: json<Hex[]>(),
  callData: hex,
  /** What it holds while it is under way: see `Hold`. */
  holds: json<unknown>(),
  /** wei that its tip is worth to the matcher */
  tipWorth: amount,
  /** After a refusal: what must change before the same is tried again. See `Bar`. */
  bar: orNull(json<unknown>()),
  error: orNull(json<ErrorJson>()),
  transaction: orNull(hex),
});
export type TryRow = Row<typeof tries>;

/** One transaction of the matcher. */
export const batches = table("batches", ["outboxKey"], {
  outboxKey: text,
  atMs: whole,
  /** Null: the call of its only match. */
  callData: orNull(hex),
  gasLimit: orNull(amount),
  /** wei: the most it may cost while it is under way, then what it did cost */
  gasCost: amount,
});
export type BatchRow = Row<typeof batches>;

/**
 * Until the end of the transaction, nobody else takes an order about `what`: the same order may come twice at once, and what
 * one has may be counted for both.
 */
export async function oneAtATime(query: Query, what: string): Promise<void> {
  await query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [what]);
}

/** Stores an offer in place of the one in its slot; returns its place in the order of arrival. */
export async function putOffer(query: Query, row: Omit<OfferRow, "seq">): Promise<number> {
  await inOrder(query);
  await query("DELETE FROM offers WHERE slot = $1", [row.slot]);
  return insertReturningSeq(query, "offers", row);
}

export async function putRequest(query: Query, row: Omit<RequestRow, "seq">): Promise<number> {
  await inOrder(query);
  return insertReturningSeq(query, "requests", row);
}

/** Numbers are given in the order of the commits: whoever read up to one misses none below it. The last step of a transaction. */
async function inOrder(query: Query): Promise<void> {
  await oneAtATime(query, "order numbers");
}

/** What of a request may grow after it came in; a new number tells those who have read it already. */
export async function growRequest(
  query: Query,
  jobId: Hex,
  { sources, operators }: Pick<RequestRow, "sources" | "operators">,
): Promise<void> {
  await inOrder(query);
  await query(
    `UPDATE requests SET sources = $2::jsonb, operators = $3::jsonb, seq = nextval('order_seq')
     WHERE job_id = unhex($1)`,
    [jobId, toJson(sources), operators === null ? null : toJson(operators)],
  );
}

/** Forgets offers that expired, and with their refused matches requests that did so long ago and came to nothing. */
export async function dropExpired({ transaction }: Pick<Database, "transaction">, now: number): Promise<void> {
  await transaction(async (query) => {
    await query("DELETE FROM offers WHERE expires_at < $1::bigint", [String(now)]);
    await query(
      `WITH gone AS (
         DELETE FROM requests r WHERE r.open_until < $1::bigint
           AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.job_id = r.job_id)
           AND NOT EXISTS (SELECT 1 FROM tries t WHERE t.job_id = r.job_id AND t.state = 'sent')
         RETURNING r.job_id)
       DELETE FROM tries t USING gone WHERE t.job_id = gone.job_id`,
      [String(now - KEEP_EXPIRED)],
    );
  });
}

/** What goes on the change stream at once, while nobody else may write to it. */
const ANNOUNCED = 1_000;

/** Puts what became of orders on the change stream. Returns whether there may be more. */
export async function announceOrders(query: Query): Promise<boolean> {
  const [row] = await query<{ added: number }>("SELECT announce_orders($1::bigint, $2::bigint)::int AS added", [
    String(KEEP_EVENTS),
    String(ANNOUNCED),
  ]);
  return row?.added === ANNOUNCED;
}

export async function lastTry(query: Query, jobId: Hex): Promise<TryRow | undefined> {
  const [row] = await selectRows(query, tries, "WHERE job_id = unhex($1) ORDER BY attempt DESC LIMIT 1", [jobId]);
  return row;
}

async function insertReturningSeq(query: Query, name: "offers" | "requests", row: object): Promise<number> {
  const of = name === "offers" ? offers : requests;
  const columns = Object.entries(of.columns).filter(([column]) => column !== "seq");
  const [inserted] = await query<{ seq: string }>(
    `INSERT INTO ${name} (${columns.map(([column]) => sqlName(column)).join(", ")})
     SELECT ${columns.map(([column, { write }]) => write(`r."${column}"`)).join(", ")}
     FROM json_to_recordset($1::json) AS r(${columns.map(([column]) => `"${column}" text`).join(", ")})
     RETURNING seq::text AS seq`,
    [toJson([row])],
  );
  return Number(inserted?.seq);
}
