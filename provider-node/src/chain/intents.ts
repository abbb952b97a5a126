import { type DecodedLog, decodeLogs, type FollowedBlock } from "@berth/chain";
import {
  type Address,
  type Assignment,
  assignmentSchema,
  type Deployment,
  didAttributes,
  type Hex,
  identityRegistryAbi,
  type Job,
  type JobId,
  jobMarketAbi,
  jobSchema,
  orderToJson,
  type Request,
  requestSchema,
} from "@berth/protocol";
import { hexToString, stringToHex } from "viem";
import type { ChainView } from "../core/states.ts";
import type { JobRow, RegistryNode } from "../store/journal.ts";

/** Whose events matter. */
export interface NodeId {
  operator: Address;
  index: number;
}

/** What became of a replica: the chain's view of it from then on. */
export type ReplicaEvent = Exclude<ChainView, "active" | "dropped">;

/** What one log means for this node. `at` orders them within their block. */
export type Intent = { at: number } & (
  | { kind: "matched"; job: Omit<JobRow, "chain" | "droppedAt"> }
  | { kind: ReplicaEvent; jobId: JobId; replica: number }
  | { kind: "posted"; jobId: JobId; request: Request }
  | { kind: "closed"; jobId: JobId }
  | { kind: "node"; operator: Address; index: number; node: RegistryNode | null }
  | { kind: "content-url"; identity: Address; url: string; validTo: number }
);

type MarketLog = DecodedLog<typeof jobMarketAbi>;
type IdentityLog = DecodedLog<typeof identityRegistryAbi>;

const CONTENT_ATTRIBUTE = stringToHex(didAttributes.contentUrl, { size: 32 });
/** Longest gateway address that is believed. */
const MAX_URL_BYTES = 2048;

/** What a block means for node `me`, in the order of its logs. Pure. */
export function intentsOf(block: FollowedBlock, me: NodeId, deployment: Deployment): Intent[] {
  const from = (address: Address) => block.logs.filter((log) => log.address === address);
  const market = decodeLogs(jobMarketAbi, from(deployment.market));
  const jobs = new Map<string, Job>();
  for (const log of market) if (log.eventName === "JobMatched") jobs.set(log.args.jobId, jobOf(log.args.job as Job));
  const intents = [
    ...market.map((log) => fromMarket(log, jobs, me, block.timestamp)),
    ...decodeLogs(identityRegistryAbi, from(deployment.identity)).map(fromIdentity),
  ];
  return intents.filter((intent) => intent !== undefined).sort((a, b) => a.at - b.at);
}

function fromMarket(event: MarketLog, jobs: Map<string, Job>, me: NodeId, time: number): Intent | undefined {
  const at = event.log.logIndex;
  switch (event.eventName) {
    case "RequestPosted":
      return {
        at,
        kind: "posted",
        jobId: event.args.jobId as JobId,
        request: requestOf(event.args.request as Request),
      };
    case "RequestCancelled":
    case "JobMatched":
      return { at, kind: "closed", jobId: event.args.jobId as JobId };
    case "ReplicaMatched": {
      const job = jobs.get(event.args.jobId);
      const assignment = assignmentSchema.parse(orderToJson(event.args.assignment as Assignment));
      if (job === undefined || !isMine(assignment, me)) return undefined;
      const { jobId } = job;
      const { replica } = assignment;
      return { at, kind: "matched", job: { jobId, replica, terms: { job, assignment }, matchedAt: time } };
    }
    case "ResultSubmitted":
      return ofReplica(event.args, event.args.judging ? "judging" : "submitted");
    case "ReplicaSettled":
      return ofReplica(event.args, "settled");
    case "ReplicaRefunded":
      return ofReplica(event.args, "refunded");
    case "ReplicaDisputed": {
      // Names no operator; whether the replica is one of this node's, the journal knows.
      const { jobId, replica } = event.args;
      return { at, kind: "disputed", jobId: jobId as JobId, replica };
    }
    default:
      return undefined;
  }

  function ofReplica(args: { jobId: Hex; operator: Address; replica: number }, kind: ReplicaEvent): Intent | undefined {
    if (args.operator.toLowerCase() !== me.operator) return undefined;
    return { at, kind, jobId: args.jobId as JobId, replica: args.replica };
  }
}

function fromIdentity(event: IdentityLog): Intent | undefined {
  const at = event.log.logIndex;
  switch (event.eventName) {
    case "NodePublished": {
      const { index, key, wgKey, prefix, validTo, keyVersion, wgEndpoint, contentUrl } = event.args;
      const operator = event.args.operator.toLowerCase() as Address;
      const plain = { wgKey: wgKey as Hex, prefix: String(prefix), validTo, keyVersion, wgEndpoint, contentUrl };
      return {
        at,
        kind: "node",
        operator,
        index,
        node: { operator, index, key: key.toLowerCase() as Address, ...plain },
      };
    }
    case "NodeRevoked":
      return {
        at,
        kind: "node",
        operator: event.args.operator.toLowerCase() as Address,
        index: event.args.index,
        node: null,
      };
    case "DIDAttributeChanged": {
      if (event.args.name !== CONTENT_ATTRIBUTE || event.args.value.length > 2 + 2 * MAX_URL_BYTES) return undefined;
      const validTo = Number(
        event.args.validTo > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : event.args.validTo,
      );
      const identity = event.args.identity.toLowerCase() as Address;
      return { at, kind: "content-url", identity, url: hexToString(event.args.value), validTo };
    }
    default:
      return undefined;
  }
}

/** The decoder writes addresses in mixed case; here they are lower case everywhere. */
function requestOf(decoded: Request): Request {
  return requestSchema.parse(orderToJson(decoded));
}

function jobOf(decoded: Job): Job {
  return jobSchema.parse(orderToJson(decoded));
}

function isMine({ operator, index }: Assignment, me: NodeId): boolean {
  return operator === me.operator && index === me.index;
}
