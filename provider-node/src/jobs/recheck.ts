import { createAlarm } from "@berth/chain";
import { errorToJson } from "@berth/protocol";
import type { Context } from "../log.ts";
import type { MachineDiagnosis } from "./doctor.ts";

export interface RecheckOptions {
  /** What the checks at the start found. */
  first: MachineDiagnosis;
  check(): Promise<MachineDiagnosis>;
  everyMs: number;
  onFound(found: MachineDiagnosis): void;
  alarm?: ReturnType<typeof createAlarm>;
}

export interface Rechecking {
  /** Something of the machine has changed: check it now. */
  poke(): void;
  readonly done: Promise<void>;
}

/** After a check that failed, the next one comes this soon; each that fails in a row doubles it. */
const SOON_MS = 60_000;

/**
 * Tries the machine again every `everyMs`, and sooner after a failure, which may have been a busy moment. Nothing is
 * assumed: a check that cannot be made proves nothing either way, so it is told and what was proven before stays.
 */
export function startRechecking(options: RecheckOptions, { signal, log }: Context): Rechecking {
  const { first, check, everyMs, onFound, alarm = createAlarm() } = options;
  const done = (async () => {
    let failures = hasFailed(first) ? 1 : 0;
    for (;;) {
      await alarm.wait(failures === 0 ? everyMs : Math.min(everyMs, SOON_MS * 2 ** (failures - 1)), signal);
      if (signal.aborted) return;
      try {
        const found = await check();
        failures = hasFailed(found) ? failures + 1 : 0;
        onFound(found);
      } catch (error) {
        if (signal.aborted) return;
        failures += 1;
        log.warn({ reason: errorToJson(error).message }, "this machine could not be checked again");
      }
    }
  })();
  return { poke: alarm.ring, done };
}

function hasFailed({ checks }: MachineDiagnosis): boolean {
  return checks.some(({ status }) => status === "fail");
}
