import { type Job, MODE, ZERO_ADDRESS } from "@berth/protocol";
import { isOver, leaseOf } from "./lease.ts";
import { replicaOf, State } from "./replicas.ts";
import { isWaiting } from "./rules/results.ts";
import type { CallName } from "./scene.ts";
import type { Replica } from "./storage.ts";
import type { Run, Trace } from "./trace.ts";

type Aim = (replica: Replica, job: Job, now: number, over: boolean) => boolean;
const isLease: Aim = ({ state }, job) => job.mode === MODE.lease && state === State.Active;
const isRunning: Aim = (replica, job, now, over) => isLease(replica, job, now, over) && !over;
const isBatch: Aim = ({ state }, job) => job.mode === MODE.batch && state >= State.Active && state <= State.Disputed;

/** For which replicas a call is meant, so that most calls of a trace come to something. */
export const aims = {
  rule: ({ state, lastAt }, { arbiterWindow }, now) => state === State.Disputed && now <= lastAt + arbiterWindow,
  dispute: ({ state, lastAt }, { arbiter, challengeWindow }, now) =>
    isWaiting(state) && arbiter !== ZERO_ADDRESS && now <= lastAt + challengeWindow,
  submit: ({ state, matchedAt }, { mode, submitWindow }, now) =>
    state === State.Active && mode === MODE.batch && now <= matchedAt + submitWindow,
  decline: ({ state, matchedAt, lastAt }, { acceptWindow }, now) =>
    state === State.Active && lastAt === 0 && now <= matchedAt + acceptWindow,
  approve: ({ state }) => isWaiting(state),
  finalize: isBatch,
  finalizeMany: isBatch,
  claim: isRunning,
  topUp: isRunning,
  close: isLease,
} satisfies Partial<Record<CallName, Aim>>;

export type RunCall = keyof typeof aims;

export function isRunCall(kind: string): kind is RunCall {
  return kind in aims;
}

/** The replicas that `kind` of call is meant for now. */
export function aimedAt({ storage, runs, latest }: Trace, kind: RunCall): readonly Run[] {
  const aim: Aim = aims[kind];
  const now = latest + 1;
  return runs.filter(({ terms }) => {
    const over = terms.job.mode === MODE.lease && isOver(leaseOf(storage, terms), terms, now);
    return aim(replicaOf(storage, terms), terms.job, now, over);
  });
}
