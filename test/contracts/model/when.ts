import type { Move } from "./moves.ts";
import { pickOf } from "./pick.ts";
import type { Trace } from "./trace.ts";

/** Mostly the next second, or else within a minute. */
export function soonOf({ latest }: Trace, { pick }: Move): number {
  return latest + 1 + (pick % 3 === 0 ? pick % 50 : 0);
}

/** Soon, or at a deadline that is not over, or one second later. */
export function timeOf(trace: Trace, move: Move, deadlines: readonly number[]): number {
  const late = move.when === "after" ? 1 : 0;
  const ahead = deadlines.map((deadline) => deadline + late).filter((time) => time > trace.latest);
  const soon = soonOf(trace, move);
  return move.when === "soon" ? soon : (pickOf(ahead, move.share) ?? soon);
}
