import type { AttemptState } from "../core/states.ts";
import type { AttemptRow } from "../store/journal.ts";

/** The parts of an attempt, in their order. */
export const phases = ["fetch", "start", "run", "collect", "publish", "submit"] as const;
export type Phase = (typeof phases)[number];

/** One change of an attempt's state, just after it was written. */
export interface Transition {
  from: AttemptRow;
  to: AttemptRow;
}

const phaseOf: Partial<Record<AttemptState, Phase>> = {
  fetching: "fetch",
  prepared: "start",
  attested: "start",
  running: "run",
  exited: "collect",
  collected: "publish",
  published: "submit",
  submitting: "submit",
};

/**
 * Tells how long each phase took, in seconds, as its attempt leaves it. A phase that began in an earlier process is
 * measured by the journal's whole seconds.
 */
export function createPhaseClock(
  took: (phase: Phase, seconds: number) => void,
  nowMs: () => number = () => performance.now(),
): (transition: Transition) => void {
  const begun = new Map<string, number>();
  return ({ from, to }) => {
    const [left, entered] = [phaseOf[from.state], phaseOf[to.state]];
    if (left === entered) return;
    const key = `${to.jobId}/${to.replica}/${to.attempt}`;
    const startedAt = begun.get(key);
    if (left !== undefined) {
      took(left, startedAt === undefined ? Math.max(0, to.since - from.since) : (nowMs() - startedAt) / 1000);
    }
    if (entered === undefined) begun.delete(key);
    else begun.set(key, nowMs());
  };
}
