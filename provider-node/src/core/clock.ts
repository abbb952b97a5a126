/** The newest block this node applied, and when it saw it (unix milliseconds). */
export interface Seen {
  timestamp: number;
  atMs: number;
}

/** Blocks are a little old when they are seen; within this, the machine's own clock is the better one. */
const TRUSTED_SKEW_SECONDS = 120;

/**
 * Unix seconds by the chain's clock: this machine's time, unless the chain's is far from it, as on a test chain whose time
 * was moved; then the newest block's time, carried on. Pure.
 */
export function chainTime(wallMs: number, seen: Seen | undefined): number {
  const wall = Math.floor(wallMs / 1000);
  if (seen === undefined) return wall;
  const carried = seen.timestamp + Math.max(0, Math.floor((wallMs - seen.atMs) / 1000));
  return Math.abs(carried - wall) <= TRUSTED_SKEW_SECONDS ? Math.max(wall, carried) : carried;
}
