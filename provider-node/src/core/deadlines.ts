import type { Request, Spec } from "@berth/protocol";

/** Seconds kept free at the end of the submit window, so that a result that says "could not run" still gets there. */
const REPORT_RESERVE_SECONDS = 30;

export interface Deadlines {
  acceptBy: number;
  startBy: number;
  /** From then on only the report is worked on: nothing is begun, and no outputs are waited for. */
  reportBy: number;
  submitBy: number;
}

/** Until when what must have happened, in unix seconds. `spec` is undefined until it was fetched. Pure. */
export function deadlinesOf(request: Request, matchedAt: number, spec: Spec | undefined): Deadlines {
  const submitBy = matchedAt + request.submitWindow;
  const toStart = spec?.timeouts.startSeconds ?? Math.floor(request.submitWindow / 2);
  const reportBy = Math.max(
    matchedAt,
    submitBy - Math.min(REPORT_RESERVE_SECONDS, Math.floor(request.submitWindow / 4)),
  );
  return {
    acceptBy: matchedAt + request.acceptWindow,
    startBy: Math.min(matchedAt + toStart, reportBy),
    reportBy,
    submitBy,
  };
}
