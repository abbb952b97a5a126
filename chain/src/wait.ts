/** A wait that can be cut short. A ring while nobody waits is remembered, so that no wake-up is lost. */
export interface Alarm {
  ring(): void;
  /** Until a ring, `ms` passed (undefined: no limit), or the signal aborts (resolves too: look at the signal). */
  wait(ms: number | undefined, signal: AbortSignal): Promise<void>;
}

export function createAlarm(): Alarm {
  let rung = false;
  let wake: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      wake?.();
    },
    async wait(ms, signal) {
      if (!rung && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = ms === undefined ? undefined : setTimeout(done, ms);
          wake = done;
          signal.addEventListener("abort", done, { once: true });
          function done() {
            clearTimeout(timer);
            signal.removeEventListener("abort", done);
            resolve();
          }
        });
        wake = undefined;
      }
      rung = false;
    },
  };
}

/** Milliseconds to wait after `failures` failures in a row: doubling up to 15 polls, spread by ±20 %. */
export function backoffMs(failures: number, pollMs: number): number {
  const wait = Math.min(15 * pollMs, Math.min(pollMs, 500) * 2 ** Math.min(failures - 1, 16));
  return Math.round(wait * (0.8 + Math.random() * 0.4));
}
