import { MODE, type Terms } from "@berth/protocol";
import { leaseOf } from "./lease.ts";
import { replicaOf, State } from "./replicas.ts";
import type { Storage } from "./storage.ts";

/** The last seconds in which something may still be done with a replica. Where a rule has one, traces go there. */
export function deadlinesOf(storage: Storage, terms: Terms): number[] {
  const { job } = terms;
  const { state, matchedAt, lastAt } = replicaOf(storage, terms);
  if (state === State.Submitted) return [lastAt + job.challengeWindow];
  if (state === State.Judging) {
    return [lastAt + job.challengeWindow, lastAt + job.challengeWindow + job.arbiterWindow];
  }
  if (state === State.Disputed) return [lastAt + job.arbiterWindow];
  if (state !== State.Active) return [];
  if (job.mode === MODE.batch)
    return [matchedAt + job.acceptWindow, matchedAt + job.maxSeconds, matchedAt + job.submitWindow];

  const { since, paidSeconds, chargedSeconds, closingAt } = leaseOf(storage, terms);
  return [
    matchedAt + job.acceptWindow,
    since + job.heartbeatSeconds,
    since + 2 * job.heartbeatSeconds,
    since + paidSeconds - chargedSeconds,
    closingAt,
  ];
}
