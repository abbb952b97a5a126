import type { Job } from "@berth/protocol";
import type { ChainView } from "./states.ts";

/** A result that may be settled, and from when on. */
export interface Due<T> {
  item: T;
  /** Unix seconds: the last second of the window that protects it. */
  closesAt: number;
}

/**
 * The last second in which the market still refuses to finalize a replica with a result; undefined where it never does or
 * no longer needs to. While a verifier has not said anything, it is the arbiter's window longer.
 * @param lastAt unix seconds of the result, or of the dispute
 */
export function settlesAfter(chain: ChainView, job: Job, lastAt: number): number | undefined {
  if (chain === "submitted" || chain === "judging") return lastAt + job.challengeWindow;
  return chain === "disputed" ? lastAt + job.arbiterWindow : undefined;
}

/**
 * Which results to settle in one transaction now: a full batch at once, fewer when the first has waited long enough.
 * Oldest first. Pure.
 */
export function batchOf<T>(due: readonly Due<T>[], now: number, { maxItems, holdSeconds }: BatchRules): T[] {
  const ready = due.filter(({ closesAt }) => now > closesAt).toSorted((a, b) => a.closesAt - b.closesAt);
  const [oldest] = ready;
  if (oldest === undefined) return [];
  const isFull = ready.length >= maxItems;
  if (!isFull && now <= oldest.closesAt + holdSeconds) return [];
  return ready.slice(0, maxItems).map(({ item }) => item);
}

export interface BatchRules {
  maxItems: number;
  /** Seconds. */
  holdSeconds: number;
}
