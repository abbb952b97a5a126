import type { FollowerStatus } from "@berth/chain";

/** Two clocks of one machine, in milliseconds: one that people and NTP set, and one that only ever runs on. */
export interface MachineClocks {
  wallMs: number;
  steadyMs: number;
}

/** Unix seconds of the newest head, and when it was first seen by the steady clock. */
export interface Seen {
  timestamp: number;
  steadyMs: number;
}

/** Blocks are a little old when they are seen; within this, the machine's own clock is the better one. */
const TRUSTED_SKEW_SECONDS = 120;

/**
 * Unix seconds by the chain's clock: this machine's time, unless the chain's is far from it, as on a test chain whose time
 * was moved, or beside a clock that was set wrong; then the newest head's time, carried on. Pure.
 * @param known time of the newest block that an earlier process followed; the least that it is before a head was seen
 */
function chainTime({ wallMs, steadyMs }: MachineClocks, seen: Seen | undefined, known = 0): number {
  const wall = Math.floor(wallMs / 1000);
  // Later is safer: nothing is begun, and what cannot be taken back waits for the chain.
  if (seen === undefined) return Math.max(wall, known);
  const carried = seen.timestamp + Math.floor((steadyMs - seen.steadyMs) / 1000);
  return Math.abs(carried - wall) <= TRUSTED_SKEW_SECONDS ? Math.max(wall, carried) : carried;
}

/** Does the node see the end of its chain? Pure. */
export function isFollowed(chain: Pick<FollowerStatus, "state" | "lagBlocks"> | undefined): boolean {
  return chain?.state === "following" || (chain?.state === "catching-up" && chain.lagBlocks === 0);
}

/** The chain's clock as a running process knows it. */
export interface Clock {
  /** Unix seconds by the chain's clock. */
  now(): number;
  /** There is a newer head. */
  saw(timestamp: number): void;
}

/** @param known as of `chainTime` */
export function createClock(known: number | undefined, clocks: () => MachineClocks = machineClocks): Clock {
  let seen: Seen | undefined;
  return {
    now: () => chainTime(clocks(), seen, known),
    saw(timestamp) {
      seen = { timestamp, steadyMs: clocks().steadyMs };
    },
  };
}

function machineClocks(): MachineClocks {
  return { wallMs: Date.now(), steadyMs: performance.now() };
}
