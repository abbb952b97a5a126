import type { Spec } from "@berth/protocol";
import type { JobRow } from "../store/journal.ts";

/** Seconds kept free at the end of the submit window, so that a result that says "could not run" still gets there. */
const REPORT_RESERVE_SECONDS = 30;

export interface Deadlines {
  acceptBy: number;
  startBy: number;
  /** From then on only the report is worked on: nothing is begun, and no outputs are waited for. */
  reportBy: number;
  submitBy: number;
  /** From then on nobody can contest a result any more, even one of the last moment. */
  settleBy: number;
}

/** Until when what must have happened, in unix seconds. `spec` is undefined until it was fetched. Pure. */
export function deadlinesOf(
  { terms, matchedAt }: Pick<JobRow, "terms" | "matchedAt">,
  spec: Spec | undefined,
): Deadlines {
  const { acceptWindow, submitWindow, challengeWindow, arbiterWindow } = terms.job;
  const acceptBy = matchedAt + acceptWindow;
  const submitBy = matchedAt + submitWindow;
  const toStart = spec?.timeouts.startSeconds ?? Math.floor(submitWindow / 2);
  const reportBy = Math.max(matchedAt, submitBy - Math.min(REPORT_RESERVE_SECONDS, Math.floor(submitWindow / 4)));
  const startBy = Math.min(matchedAt + toStart, reportBy);
  return { acceptBy, startBy, reportBy, submitBy, settleBy: submitBy + challengeWindow + arbiterWindow };
}
