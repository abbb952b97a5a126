import type { JobId, jobMarketAbi, NodeLimits, Request } from "@berth/protocol";
import type { DecodeEventLogReturnType } from "viem";
import { add } from "./money.ts";
import type { Replayed } from "./replay.ts";
import { replayMatch, replayReplicaMatch } from "./replay-match.ts";
import { isReplicaEvent, replayReplica } from "./replay-replica.ts";
import { State } from "./replicas.ts";
import { acceptedKey, noReplica, noUse, put, replicaKey, type Storage } from "./storage.ts";

export type MarketEvent = DecodeEventLogReturnType<typeof jobMarketAbi>;

export function replayMarket(known: Replayed, event: MarketEvent, now: number): Replayed {
  if (isReplicaEvent(event)) return replayReplica(known, event, now);
  const { storage } = known;
  const change = (changed: Storage): Replayed => ({ ...known, storage: changed });
  switch (event.eventName) {
    case "Deposited":
      return change(add(storage, "balances", event.args.account, event.args.amount));
    case "Withdrawn":
      return change(add(storage, "balances", event.args.account, -event.args.amount));
    case "RequestPosted":
      return replayPost(known, event.args.jobId as JobId, event.args.request as Request);
    case "RequestCancelled":
      return change(replayCancel(known, event.args.jobId as JobId, event.args.released));
    case "JobMatched":
      return replayMatch(known, event.args);
    case "ReplicaMatched":
      return replayReplicaMatch(known, event.args, now);
    case "EpochBumped": {
      const { operator, epoch } = event.args;
      return change(put(storage, "uses", operator, { ...(storage.uses[operator] ?? noUse), epoch }));
    }
    case "NodeLimitsSet":
      return change(put(storage, "limits", event.args.operator, event.args.limits as NodeLimits));
    case "AcceptanceSet": {
      const { operator, what, accepted } = event.args;
      return change(put(storage, "accepted", acceptedKey(operator, what), accepted));
    }
    case "NewJobsPausedSet":
      return change({ ...storage, paused: event.args.paused });
    default:
      return known;
  }
}

function replayPost(known: Replayed, jobId: JobId, request: Request): Replayed {
  const posted = { ...noReplica, state: State.Posted, commitment: `0x${jobId.slice(2, 44)}` as const };
  const stored = put(known.storage, "replicas", replicaKey(jobId, 0), posted);
  const storage = add(stored, "balances", request.payer, -request.maxPrice);
  return { ...known, storage, requests: { ...known.requests, [jobId]: request } };
}

function replayCancel({ storage, requests }: Replayed, jobId: JobId, released: bigint): Storage {
  const key = replicaKey(jobId, 0);
  const cancelled = { ...(storage.replicas[key] ?? noReplica), state: State.Cancelled };
  const stored = put(storage, "replicas", key, cancelled);
  const payer = requests[jobId]?.payer;
  return payer === undefined ? stored : add(stored, "balances", payer, released);
}
