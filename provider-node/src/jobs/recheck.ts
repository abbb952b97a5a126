import { createAlarm } from "@berth/chain";
import { errorToJson } from "@berth/protocol";
import type { Context } from "../log.ts";
import type { MachineDiagnosis } from "./doctor.ts";

/**
 * Tries the machine again every `everyMs` and hands on what was found. Nothing is assumed: a check that cannot be made
 * proves nothing either way, so it is told and what was proven before stays until the next one.
 */
export async function recheck(
  check: () => Promise<MachineDiagnosis>,
  everyMs: number,
  onFound: (found: MachineDiagnosis) => void,
  { signal, log }: Context,
): Promise<void> {
  const alarm = createAlarm();
  for (;;) {
    await alarm.wait(everyMs, signal);
    if (signal.aborted) return;
    try {
      onFound(await check());
    } catch (error) {
      if (!signal.aborted) log.warn({ reason: errorToJson(error).message }, "this machine could not be checked again");
    }
  }
}
