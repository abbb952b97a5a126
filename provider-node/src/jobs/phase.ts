import type { JobId } from "@berth/protocol";
import { progressOf } from "../core/progress.ts";
import type { PhaseAnswer } from "../http/server.ts";
import type { Journal } from "../store/journal.ts";
import type { Intake } from "./intake.ts";
import type { Runner } from "./runner.ts";

export interface PhaseTools {
  journal: Journal;
  runner: Runner | undefined;
  intake: Intake;
  now(): number;
}

/** What anyone may know of a replica here. Undefined: this node has no such replica. */
export function phaseOf(
  { journal, runner, intake, now }: PhaseTools,
  jobId: JobId,
  replica: number,
): PhaseAnswer | undefined {
  const [job, attempt] = [journal.job(jobId, replica), journal.attempt(jobId, replica)];
  if (job === undefined || attempt === undefined) return undefined;
  const message = attempt.message || runner?.troubleOf(jobId, replica);
  return {
    ...{ jobId, replica, ...progressOf(job, attempt, now(), intake.of(job)) },
    ...(message !== undefined && message !== "" && { message }),
  };
}
