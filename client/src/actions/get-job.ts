import type { DecodedLog } from "@berth/chain";
import {
  type Address,
  type Claim,
  type Hex,
  type JobId,
  type jobMarketAbi,
  MarketError,
  type Offer,
  offerHashOf,
  type Request,
  type Terms,
  type UnixSeconds,
} from "@berth/protocol";
import { jobEvents, publicationsOf, type ReplicaState, storedReplica } from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";

/** One replica of a matched job. */
export interface JobReplica {
  replica: number;
  operator: Address;
  index: number;
  state: ReplicaState;
  offer: Offer;
  offerHash: Hex;
  /** Token units. */
  deposit: bigint;
  matchedAt: UnixSeconds;
  /** 0: no result yet. */
  submittedAt: UnixSeconds;
  claim: Claim | null;
  /** Token units that the node earned; null until it settled. */
  charge: bigint | null;
  refund: bigint | null;
  reason: "declined" | "timed-out" | null;
  /** Where the node serves its content. */
  contentUrl: string;
  blocks: { matched: number; submitted: number | undefined };
  transactions: { matched: Hex; submitted: Hex | undefined; ended: Hex | undefined };
}

/** A job, from the chain's own storage and events. */
export interface Job {
  jobId: JobId;
  /** Of all replicas together: what is still to come decides. `open`: signed, and known to the indexer only. */
  state: "open" | "expired" | ReplicaState;
  request: Request;
  replicas: JobReplica[];
}

/**
 * Everything about one job. The chain says it all once the job is posted or matched; before, the indexer knows the request.
 * Throws JOB_UNKNOWN.
 */
export async function getJob(client: Client, jobId: JobId, context: Context = {}): Promise<Job> {
  const events = await jobEvents(client, jobId, context.signal);
  const matched = lastOf(events, "JobMatched");
  const posted = lastOf(events, "RequestPosted");
  if (matched === undefined)
    return await unmatched(client, jobId, posted?.args.request as Request | undefined, context);
  const replicas = await Promise.all(
    events
      .filter((event) => event.eventName === "ReplicaMatched")
      .map((event) => readReplica(client, jobId, event, events, context)),
  );
  replicas.sort((a, b) => a.replica - b.replica);
  return { jobId, state: stateOf(replicas), request: normalise(matched.args.request as Request), replicas };
}

/** The terms of one replica, as every call about it carries them. */
export function termsOf(job: Job, { offer, replica }: JobReplica): Terms {
  return { request: job.request, offer, replica };
}

type MarketEvent = DecodedLog<typeof jobMarketAbi>;
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

async function readReplica(
  client: Client,
  jobId: JobId,
  matched: EventOf<"ReplicaMatched">,
  events: readonly MarketEvent[],
  { signal }: Context,
): Promise<JobReplica> {
  const { replica, deposit } = matched.args;
  const offer = normalise(matched.args.offer as Offer);
  const { operator, index } = offer;
  const [stored, publications] = await Promise.all([
    storedReplica(client, jobId, replica),
    publicationsOf(client, operator, index, signal),
  ]);
  const submitted = lastOf(events, "ResultSubmitted", replica);
  const settled = lastOf(events, "ReplicaSettled", replica);
  const refunded = lastOf(events, "ReplicaRefunded", replica);
  return {
    replica,
    operator,
    index,
    state: stored.state,
    offer,
    offerHash: offerHashOf(client.domain, offer),
    deposit,
    matchedAt: stored.matchedAt,
    submittedAt: stored.submittedAt,
    claim: submitted === undefined ? null : (submitted.args.claim as Claim),
    charge: settled?.args.charge ?? null,
    refund: settled?.args.refund ?? refunded?.args.refund ?? null,
    reason: refunded === undefined ? null : refunded.args.reason === 0 ? "declined" : "timed-out",
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
  if (posted !== undefined) return { jobId, state, request: normalise(posted), replicas: [] };
  const known = await client.indexer?.request(jobId, context);
  if (known === undefined) {
    const asked = client.indexer === undefined ? "" : ", nor does the indexer";
    throw new MarketError("JOB_UNKNOWN", `The market does not know the job ${jobId}${asked}.`, {
      hint: "Check the id, and that this is the right chain: `berth ls` lists jobs.",
    });
  }
  const open = known.state === "expired" ? "expired" : "open";
  return { jobId, state: state === "none" ? open : state, request: known.request, replicas: [] };
}

function stateOf(replicas: readonly JobReplica[]): Job["state"] {
  const order: ReplicaState[] = ["active", "disputed", "submitted", "refunded", "settled"];
  return order.find((state) => replicas.some((replica) => replica.state === state)) ?? "none";
}

/** Addresses and bytes in lower case, as everywhere in this house. */
function normalise<T extends Request | Offer>(order: T): T {
  const lower = Object.entries(order).map(([name, value]) => [
    name,
    typeof value === "string" ? value.toLowerCase() : value,
  ]);
  return Object.fromEntries(lower) as T;
}
