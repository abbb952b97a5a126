import { type Job, type JobId, replicaCommitment, type Terms } from "@berth/protocol";
import { add } from "./money.ts";
import type { Replayed } from "./replay.ts";
import type { MarketEvent } from "./replay-market.ts";
import { State } from "./replicas.ts";
import { noUse, put, replicaKey } from "./storage.ts";

type Args<Name extends MarketEvent["eventName"]> = Extract<MarketEvent, { eventName: Name }>["args"];

/** Money of a match: a posted request had reserved all that it may cost, a signed one nothing. */
export function replayMatch(known: Replayed, { matcher, spent, released, tip, job }: Args<"JobMatched">): Replayed {
  const posted = known.requests[job.jobId as JobId] !== undefined;
  const charged = add(known.storage, "balances", job.payer, posted ? released : -spent);
  const storage = add(charged, "balances", matcher, tip);
  return { ...known, storage, jobs: { ...known.jobs, [job.jobId]: job as Job } };
}

export function replayReplicaMatch(known: Replayed, args: Args<"ReplicaMatched">, matchedAt: number): Replayed {
  const terms = { job: known.jobs[args.jobId as JobId], assignment: args.assignment } as Terms;
  const { job, assignment } = terms;
  const use = known.storage.uses[assignment.operator] ?? noUse;
  const taken = put(known.storage, "uses", assignment.operator, {
    ...use,
    active: use.active + 1,
    cpuMilli: use.cpuMilli + job.cpuMilli,
    memoryMiB: use.memoryMiB + job.memoryMiB,
    diskMiB: use.diskMiB + job.diskMiB,
    gpus: use.gpus + job.gpus,
    touched: true,
  });
  const running = { state: State.Active, matchedAt, lastAt: 0, commitment: replicaCommitment(terms) };
  const key = replicaKey(job.jobId, assignment.replica);
  const assignments = { ...known.assignments, [key]: assignment };
  return { ...known, storage: put(taken, "replicas", key, running), assignments };
}
