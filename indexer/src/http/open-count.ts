import type { ApiContext } from "./route.ts";

type Counted = Pick<ApiContext, "live" | "changes" | "now">;

/** By the book that was counted. */
const counts = new WeakMap<object, { now: number; newest: number; count: number }>();

/**
 * Requests that can be matched now. To count them, all are looked at: once in a second, and after a change, whoever asks
 * however often.
 */
export function openCountOf({ live, changes, now }: Counted): number {
  const known = counts.get(live);
  const at = { now: now(), newest: changes.newest };
  if (known !== undefined && changes.settled && known.now === at.now && known.newest === at.newest) return known.count;
  const count = live.openCount(at.now);
  counts.set(live, { ...at, count });
  return count;
}
