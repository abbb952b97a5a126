import type { AttemptRow, JobRow } from "../store/journal.ts";
import { deadlinesOf } from "./deadlines.ts";
import { publicPhase } from "./states.ts";

/** How far one replica is. Nothing secret: the world may read it. */
export interface Progress {
  phase: string;
  /** Unix seconds of the last change of state. */
  since: number;
  /** Unix seconds: by then this phase has to be over; null where none presses. */
  deadline: number | null;
  /** Seconds that the command has been running; null while it does not. */
  runningSeconds: number | null;
  /** Content bytes that came in for this attempt so far; the total is not known before a source is done. */
  fetchedBytes: number;
}

/** @param fetched bytes that the running process counted; less than what the journal has after a restart */
export function progressOf(job: JobRow, attempt: AttemptRow, now: number, fetched = 0): Progress {
  const { state, since, facts } = attempt;
  return {
    phase: publicPhase[state],
    since,
    deadline: deadlineOf(job, attempt),
    runningSeconds: state === "running" ? Math.max(0, now - since) : null,
    fetchedBytes: Math.max(facts.inBytes ?? 0, fetched),
  };
}

function deadlineOf(job: JobRow, { state, since, facts: { spec } }: AttemptRow): number | null {
  const { startBy, submitBy } = deadlinesOf(job, spec);
  switch (state) {
    case "matched":
    case "fetching":
    case "prepared":
    case "attested":
      return startBy;
    case "running":
      return since + (spec?.timeouts.runSeconds ?? job.terms.job.maxSeconds);
    case "exited":
    case "collected":
    case "published":
    case "submitting":
      return submitBy;
    default:
      return null;
  }
}
