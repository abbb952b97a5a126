import {
  type Address,
  type Hex,
  type JobId,
  type Offer,
  offerSchema,
  requestSchema,
  ZERO_BYTES32,
} from "@berth/protocol";
import type { Changes } from "../project/working-set.ts";
import type { Database } from "../store/database.ts";
import { type OfferRow, offers, type RequestRow, requests } from "../store/orders.ts";
import { selectRows } from "../store/rows.ts";
import {
  acceptances,
  balances,
  type IdentityRow,
  identities,
  type JobRow,
  jobs,
  markets,
  type NodeRow,
  nodes,
  stakes,
} from "../store/tables.ts";
import { type Book, type BookNode, createBook, type OpenRequest, termsKey } from "./book.ts";
import { createOpenIndex } from "./open-index.ts";

/** A signed request with the places where its content is said to be. */
export interface SignedRequest extends Omit<OpenRequest, "posted"> {
  sources: string[];
}

/** The book kept equal to the tables, and the requests that wait. */
export interface LiveBook {
  readonly book: Book;
  /** Reads everything from the tables. */
  load(now: number): Promise<void>;
  /** What a committed step changed. */
  apply(changes: Changes): void;
  putOffer(row: OfferRow): void;
  /** A signed request that was stored; asks the tables whether its job is on chain already. */
  putRequest(row: RequestRow): Promise<void>;
  /** The operators that a request allows, which came in after it. */
  setOperators(jobId: Hex, operators: readonly Address[]): void;
  /** Requests that can be matched now. */
  openRequests(now: number): OpenRequest[];
  /** How many those are, without a copy of any. */
  openCount(now: number): number;
  openRequest(jobId: Hex, now: number): OpenRequest | undefined;
  /** State of the job on chain; null when it is not there, as far as this book follows it. */
  chainState(jobId: Hex): string | null;
  /** Open signed requests of a payer that are not on chain. */
  openOf(payer: Address, now: number): number;
  /** Open signed requests of all payers who lack the money for them. */
  unfunded(): number;
  /** Keep following the job's state until `unwatch`. */
  watch(jobId: Hex): void;
  unwatch(jobId: Hex): void;
  /** Forgets what expired. */
  prune(now: number): void;
}

function placeOf({ offerHash, seq }: OfferRow): Pick<OfferRow, "offerHash" | "seq"> {
  return { offerHash, seq };
}

export function createLiveBook({ query }: Pick<Database, "query">): LiveBook {
  const book = createBook();
  const open = createOpenIndex(book);
  /** The offer that has each slot, with its place in the order in which they were taken. */
  const slots = new Map<string, Pick<OfferRow, "offerHash" | "seq">>();
  /** Signed requests that have not expired. */
  const signed = new Map<Hex, SignedRequest & { ready: boolean }>();
  const posted = new Map<Hex, OpenRequest>();
  const states = new Map<Hex, string | null>();
  const watched = new Map<Hex, number>();

  function putJob(jobId: Hex, row: JobRow | null): void {
    const state = row?.state ?? null;
    states.set(jobId, state);
    posted.delete(jobId);
    if (row !== null && state === "posted") {
      const request = requestSchema.parse(row.request);
      const receivedAtMs = (row.postedAt ?? 0) * 1000;
      posted.set(jobId, {
        jobId: jobId as JobId,
        request,
        signature: "0x",
        payerSignature: "0x",
        posted: true,
        receivedAtMs,
        operators: null,
      });
    }
    countOpen(jobId);
    forgetEnded(jobId);
  }

  function countOpen(jobId: Hex): void {
    const order = signed.get(jobId);
    if (order !== undefined && (states.get(jobId) ?? null) === null) open.put(jobId, order.request);
    else open.drop(jobId);
  }

  function forgetEnded(jobId: Hex): void {
    const state = states.get(jobId);
    if (posted.has(jobId) || state === "matched" || signed.has(jobId) || watched.has(jobId)) return;
    states.delete(jobId);
  }

  /** The request of this job, from the chain or as it was signed, if it can be matched now. */
  function waiting(jobId: Hex, now: number): OpenRequest | SignedRequest | undefined {
    const state = states.get(jobId) ?? null;
    const order = signed.get(jobId);
    const found = state === "posted" ? posted.get(jobId) : state === null && order?.ready === true ? order : undefined;
    return found === undefined || found.request.openUntil < now ? undefined : found;
  }

  function openRequest(jobId: Hex, now: number): OpenRequest | undefined {
    const found = waiting(jobId, now);
    if (found === undefined) return undefined;
    return "posted" in found ? withOperators(found, signed.get(jobId)) : { ...found, posted: false };
  }

  return {
    book,
    async load(now) {
      for (const row of await selectRows(query, nodes)) putNode(book, row);
      for (const row of await selectRows(query, acceptances)) {
        book.setAccepted(row.operator, row.what, row.accepted);
      }
      for (const row of await selectRows(query, stakes)) book.setStake(row.operator, row.token, row);
      for (const row of await selectRows(query, markets)) book.setPaused(row.paused);
      for (const row of await selectRows(query, balances)) book.setBalance(row.account, row.token, row.amount);
      for (const row of await selectRows(query, identities)) putIdentity(book, row.identity, row);
      // after what stands behind them, so that each finds its place at once
      const live = "WHERE t.expires_at >= $1::bigint";
      for (const row of await selectRows(query, offers, live, [String(now)])) {
        slots.set(row.slot, placeOf(row));
        book.putOffer(toBookOffer(row));
      }
      const unexpired = "WHERE t.open_until >= $1::bigint";
      for (const row of await selectRows(query, requests, unexpired, [String(now)])) {
        signed.set(row.jobId, { ...toSigned(row), ready: true });
        countOpen(row.jobId);
      }
      const known = `WHERE t.state = 'matched'
        OR t.state = 'posted' AND (t.request ->> 'openUntil')::bigint >= $1::bigint
        OR t.job_id IN (SELECT job_id FROM requests WHERE open_until >= $1::bigint)`;
      for (const row of await selectRows(query, jobs, known, [String(now)])) putJob(row.jobId, row);
    },
    apply(changes) {
      for (const [key, row] of changes.nodes) {
        if (row !== null) putNode(book, row);
        else book.dropNode(...splitNode(key));
      }
      for (const [key, row] of changes.acceptances) book.setAccepted(...splitAccount(key), row?.accepted ?? false);
      for (const [key, row] of changes.stakes) {
        book.setStake(...splitAccount(key), { free: row?.free ?? 0n, locked: row?.locked ?? 0n });
      }
      for (const row of changes.markets.values()) book.setPaused(row?.paused ?? false);
      for (const [key, row] of changes.balances) {
        book.setBalance(...splitAccount(key), row?.amount ?? 0n);
        open.balanceChanged(...splitAccount(key));
      }
      for (const [key, row] of changes.identities) putIdentity(book, key as Address, row);
      for (const [key, row] of changes.jobs) putJob(key as Hex, row);
    },
    putOffer(row) {
      const known = slots.get(row.slot);
      if (known !== undefined && known.seq > row.seq) return; // read before the one that replaced it was taken
      if (known !== undefined) book.dropOffer(known.offerHash);
      slots.set(row.slot, placeOf(row));
      book.putOffer(toBookOffer(row));
    },
    async putRequest(row) {
      const entry = { ...toSigned(row), ready: false };
      signed.set(row.jobId, entry);
      countOpen(row.jobId);
      if (!states.has(row.jobId)) {
        const [job] = await selectRows(query, jobs, "WHERE t.job_id = unhex($1)", [row.jobId]);
        if (!states.has(row.jobId)) putJob(row.jobId, job ?? null);
      }
      entry.ready = true;
    },
    setOperators(jobId, operators) {
      const entry = signed.get(jobId);
      if (entry !== undefined) entry.operators = operators;
    },
    openRequests(now) {
      const ids = new Set([...signed.keys(), ...posted.keys()]);
      return [...ids].map((jobId) => openRequest(jobId, now)).filter((order) => order !== undefined);
    },
    openCount(now) {
      let count = 0;
      for (const jobId of signed.keys()) if (waiting(jobId, now) !== undefined) count++;
      for (const jobId of posted.keys()) if (!signed.has(jobId) && waiting(jobId, now) !== undefined) count++;
      return count;
    },
    openRequest,
    chainState: (jobId) => states.get(jobId) ?? null,
    openOf: open.countOf,
    unfunded: () => open.unfunded,
    watch(jobId) {
      watched.set(jobId, (watched.get(jobId) ?? 0) + 1);
    },
    unwatch(jobId) {
      const left = (watched.get(jobId) ?? 0) - 1;
      if (left > 0) watched.set(jobId, left);
      else watched.delete(jobId);
      forgetEnded(jobId);
    },
    prune(now) {
      book.dropExpired(now);
      for (const [slot, { offerHash }] of slots) if (!book.has(offerHash)) slots.delete(slot);
      const expired = [...signed.values(), ...posted.values()].filter(({ request }) => request.openUntil < now);
      for (const { jobId } of expired) {
        signed.delete(jobId);
        posted.delete(jobId);
        open.drop(jobId);
        forgetEnded(jobId);
      }
    },
  };
}

/** One live offer per node, market terms and audience: a newer one takes the place of the older. */
export function slotOf(offer: Offer): string {
  return [offer.operator, offer.index, offer.requester, termsKey(offer)].join("|");
}

function toSigned(row: RequestRow): SignedRequest {
  const { jobId, signature, payerSignature, receivedAtMs, operators, sources } = row;
  const request = requestSchema.parse(row.request);
  return { jobId: jobId as JobId, request, signature, payerSignature, receivedAtMs, operators, sources };
}

/** The chain has a posted request without the list of operators behind its root. */
function withOperators(order: OpenRequest, signed: SignedRequest | undefined): OpenRequest {
  if (order.request.operators === ZERO_BYTES32) return order;
  return { ...order, operators: signed?.operators ?? null };
}

function toBookOffer({ offerHash, offer, signature, signer, seq }: OfferRow) {
  return { offerHash, offer: offerSchema.parse(offer), signature, signer, seq };
}

function putNode(book: Book, row: NodeRow): void {
  const { operator, index, key, validTo, limits, epoch, active, cpuMilli, memoryMiB, diskMiB, gpus } = row;
  const node: BookNode = {
    operator,
    index,
    key,
    validTo,
    limits: limits === null ? null : { ...limits, maxBond: BigInt(limits.maxBond) },
    use: { epoch, active, cpuMilli, memoryMiB, diskMiB, gpus },
  };
  book.putNode(node);
}

function putIdentity(book: Book, identity: Address, row: IdentityRow | null): void {
  book.setDeactivated(identity, row?.deactivated ?? false);
  book.setController(identity, row?.lastOwner ?? null);
}

function splitNode(key: string): [Address, number] {
  const [operator, index] = key.split("|");
  return [operator as Address, Number(index)];
}

function splitAccount(key: string): [Address, Address] {
  return key.split("|") as [Address, Address];
}
