import { type DecodedLog, decodeLogs, type FollowedBlock } from "@berth/chain";
import {
  type Address,
  type Deployment,
  didAttributes,
  type Hex,
  identityRegistryAbi,
  type JobId,
  jobMarketAbi,
  type Offer,
  offerSchema,
  orderToJson,
  type Request,
  requestSchema,
} from "@berth/protocol";
import { hexToString, stringToHex } from "viem";
import type { JobRow, RegistryNode } from "../store/journal.ts";

/** Whose events matter. */
export interface NodeId {
  operator: Address;
  index: number;
}

/** What one log means for this node. `at` orders them within their block. */
export type Intent = { at: number } & (
  | { kind: "matched"; job: Omit<JobRow, "chain" | "droppedAt"> }
  | { kind: "submitted" | "settled" | "refunded"; jobId: JobId; replica: number }
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
  const requests = new Map<string, Request>();
  for (const log of market)
    if (log.eventName === "JobMatched") requests.set(log.args.jobId, requestOf(log.args.request as Request));
  const intents = [
    ...market.map((log) => fromMarket(log, requests, me, block.timestamp)),
    ...decodeLogs(identityRegistryAbi, from(deployment.identity)).map(fromIdentity),
  ];
  return intents.filter((intent) => intent !== undefined).sort((a, b) => a.at - b.at);
}

function fromMarket(event: MarketLog, requests: Map<string, Request>, me: NodeId, time: number): Intent | undefined {
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
      const { jobId, replica, offerHash, deposit } = event.args;
      const offer = offerSchema.parse(orderToJson(event.args.offer as Offer));
      const request = requests.get(jobId);
      if (request === undefined || !isMine(offer, me)) return undefined;
      const job = { jobId: jobId as JobId, replica, request, offer, offerHash, matchedAt: time, deposit };
      return { at, kind: "matched", job };
    }
    case "ResultSubmitted":
    case "ReplicaSettled":
    case "ReplicaRefunded": {
      if (event.args.operator.toLowerCase() !== me.operator) return undefined;
      const kind = ({ ResultSubmitted: "submitted", ReplicaSettled: "settled", ReplicaRefunded: "refunded" } as const)[
        event.eventName
      ];
      return { at, kind, jobId: event.args.jobId as JobId, replica: event.args.replica };
    }
    default:
      return undefined;
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

function isMine(offer: Offer, me: NodeId): boolean {
  return offer.operator === me.operator && offer.index === me.index;
}
