import { MarketError } from "@berth/protocol";
import type { JobTools } from "../core/ports.ts";
import type { Context } from "../log.ts";

/** A step's own context, which ends at a time of the chain's clock, or when `stillFine` throws. */
export interface Bounded extends Disposable {
  context: Context;
  /** Has the time passed? */
  isOver(): boolean;
}

/** How often the clock is read: the chain's time may jump, so no timer can be set for it. */
const LOOK_MS = 250;
/** Signals of a step that ended because its time was over carry this code. */
export const STEP_OVERDUE = "STEP_OVERDUE";

type ChainClock = Pick<JobTools, "now" | "isFollowed">;

/** Is it over, as the chain says? A node that does not see its chain cannot tell, and holds nobody to a time. */
export function isPast(until: number, { now, isFollowed = () => true }: ChainClock): boolean {
  return isFollowed() && now() > until;
}

/**
 * Bounds a step whose length others decide. Dispose it when the step has ended.
 * @param until unix seconds; the first moment after it ends the step with STEP_OVERDUE
 * @param stillFine looked at as often as the clock; what it throws ends the step
 */
export function boundedBy(
  until: number,
  clock: ChainClock,
  { signal, log }: Context,
  stillFine: () => void = () => {},
): Bounded {
  const over = new AbortController();
  const isOver = () => isPast(until, clock);
  const look = () => {
    if (isOver()) over.abort(new MarketError(STEP_OVERDUE, "The step was not done in its time."));
    try {
      stillFine();
    } catch (error) {
      over.abort(error);
    }
  };
  look();
  const timer = setInterval(look, LOOK_MS);
  return {
    context: { signal: AbortSignal.any([signal, over.signal]), log },
    isOver,
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
