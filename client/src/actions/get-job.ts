import {
  type Address,
  type Assignment,
  type Claim,
  depositOf,
  type Hex,
  type JobId,
  type Job as JobTerms,
  jobIdOf,
  MarketError,
  type Offer,
  offerHashOf,
  type Request,
  type Terms,
  type UnixSeconds,
} from "@berth/protocol";
import {
  blockTime,
  jobEvents,
  lowerCase,
  type MarketEvent,
  publicationsOf,
  type ReplicaState,
  storedReplica,
} from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";
import { type MatchOrders, matchOrders } from "./match-orders.ts";

/** One replica of a matched job. */
export interface JobReplica {
  replica: number;
  operator: Address;
  index: number;
  state: ReplicaState;
  /** As every call about this replica carries them. */
  terms: Terms;
  /** What the node signed; null where only its hash is known. */
  offer: Offer | null;
  /** Token units that were held for it at the match. */
  deposit: bigint;
  matchedAt: UnixSeconds;
  /** 0: no result yet. */
  submittedAt: UnixSeconds;
  claim: Claim | null;
  /** Token units that the node earned; null until it settled. */
  charge: bigint | null;
  refund: bigint | null;
  /** Why it was refunded. */
  reason: (typeof refundReasons)[number] | null;
  /** Where the node serves its content. */
  contentUrl: string;
  blocks: { matched: number; submitted: number | undefined };
  transactions: { matched: Hex; submitted: Hex | undefined; ended: Hex | undefined };
}

/** Why a replica was refunded, in the contract's order. */
const refundReasons = ["declined", "timed-out", "refused", "undecided", "left"] as const;

/** What counts of a request before the match and after it. */
export type Order = Omit<JobTerms, "jobId">;

/** A job, from the chain's own storage and events. */
export interface Job {
  jobId: JobId;
  /** Of all replicas together: what is still to come decides. `open`: signed, and known to the indexer only. */
  state: "open" | "expired" | ReplicaState;
  /** From the match on, what the market itself announced. */
  order: Order;
  /** What the requester signed; null where the market announced a match, and the request is not to be had. */
  request: Request | null;
  replicas: JobReplica[];
}

/**
 * Everything about one job. The chain says it all once the job is posted or matched; before, the indexer knows the request.
 * Throws JOB_UNKNOWN.
 */
export async function getJob(client: Client, jobId: JobId, context: Context = {}): Promise<Job> {
  const events = await jobEvents(client, jobId, context.signal);
  const matched = lastOf(events, "JobMatched");
  const announced = lastOf(events, "RequestPosted")?.args.request;
  const posted = announced && lowerCase(announced);
  if (matched === undefined) return await unmatched(client, jobId, posted, context);
  const { transactionHash: transaction } = matched.log;
  const orders = await matchOrders(client, { jobId, transaction }, context.signal);
  const job = lowerCase(matched.args.job) as JobTerms;
  const replicas = await Promise.all(
    events
      .filter((event) => event.eventName === "ReplicaMatched")
      .map((event) => readReplica(client, { job, matched: event, events, orders }, context)),
  );
  replicas.sort((a, b) => a.replica - b.replica);
  const request = orders?.request ?? posted ?? (await requestAtIndexer(client, jobId, context)) ?? null;
  const { jobId: _, ...order } = job;
  return { jobId, state: stateOf(replicas), order, request, replicas };
}

type EventOf<Name extends MarketEvent["eventName"]> = Extract<MarketEvent, { eventName: Name }>;

function lastOf<Name extends MarketEvent["eventName"]>(
  events: readonly MarketEvent[],
  name: Name,
  replica?: number,
): EventOf<Name> | undefined {
  return events.findLast(
    (event): event is EventOf<Name> =>
      event.eventName === name && (replica === undefined || (event.args as { replica?: number }).replica === replica),
  );
}

interface ReplicaFacts {
  job: JobTerms;
  matched: EventOf<"ReplicaMatched">;
  /** All of the job. */
  events: readonly MarketEvent[];
  orders: MatchOrders | undefined;
}

async function readReplica(
  client: Client,
  { job, matched, events, orders }: ReplicaFacts,
  { signal }: Context,
): Promise<JobReplica> {
  const assignment = lowerCase(matched.args.assignment) as Assignment;
  const { replica, operator, index, offerHash } = assignment;
  const terms = { job, assignment };
  const [stored, publications] = await Promise.all([
    storedReplica(client, job.jobId, replica),
    publicationsOf(client, operator, index, signal),
  ]);
  const submitted = lastOf(events, "ResultSubmitted", replica);
  const settled = lastOf(events, "ReplicaSettled", replica);
  const refunded = lastOf(events, "ReplicaRefunded", replica);
  const offer = orders?.offers[replica];
  return {
    replica,
    operator,
    index,
    state: stored.state,
    terms,
    offer: offer !== undefined && offerHashOf(client.domain, offer) === offerHash ? offer : null,
    deposit: depositOf(terms),
    matchedAt: stored.matchedAt,
    submittedAt: submitted === undefined ? 0 : await blockTime(client, submitted.log.blockNumber),
    claim: submitted === undefined ? null : (submitted.args.claim as Claim),
    charge: settled?.args.charge ?? null,
    refund: settled?.args.refund ?? refunded?.args.refund ?? null,
    reason: refunded === undefined ? null : (refundReasons[refunded.args.reason] ?? null),
    contentUrl: publications.at(-1)?.contentUrl ?? "",
    blocks: { matched: matched.log.blockNumber, submitted: submitted?.log.blockNumber },
    transactions: {
      matched: matched.log.transactionHash,
      submitted: submitted?.log.transactionHash,
      ended: (settled ?? refunded)?.log.transactionHash,
    },
  };
}

/** A job that is only posted, cancelled, or signed. */
async function unmatched(client: Client, jobId: JobId, posted: Request | undefined, context: Context): Promise<Job> {
  const { state } = await storedReplica(client, jobId, 0);
  if (posted !== undefined) return { jobId, state, order: posted, request: posted, replicas: [] };
  const known = await askIndexer(client, jobId, context);
  if (known === undefined) {
    const asked = client.indexer === undefined ? "" : ", nor does the indexer";
    throw new MarketError("JOB_UNKNOWN", `The market does not know the job ${jobId}${asked}.`, {
      hint: "Check the id, and that this is the right chain: `berth ls` lists jobs.",
    });
  }
  const { request } = known;
  const open = known.state === "expired" ? "expired" : "open";
  return { jobId, state: state === "none" ? open : state, order: request, request, replicas: [] };
}

/** What the indexer knows under this id, if it really is that. */
async function askIndexer(client: Client, jobId: JobId, context: Context) {
  const known = await client.indexer?.request(jobId, context);
  return known !== undefined && jobIdOf(client.domain, known.request) === jobId ? known : undefined;
}

/** Not needed to know how a matched job stands, so an indexer that does not answer is no error here. */
async function requestAtIndexer(client: Client, jobId: JobId, context: Context): Promise<Request | undefined> {
  try {
    return (await askIndexer(client, jobId, context))?.request;
  } catch {
    context.signal?.throwIfAborted();
    return undefined;
  }
}

function stateOf(replicas: readonly JobReplica[]): Job["state"] {
  const order: ReplicaState[] = ["active", "disputed", "judging", "submitted", "refunded", "settled"];
  return order.find((state) => replicas.some((replica) => replica.state === state)) ?? "none";
}
