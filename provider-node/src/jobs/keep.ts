import { deadlinesOf } from "../core/deadlines.ts";
import type { JobTools } from "../core/ports.ts";
import type { Context } from "../log.ts";
import type { Artifact, AttemptRow, JobRow } from "../store/journal.ts";

/** Pins something until the last moment at which anyone may still need it, and writes down that it is kept. */
export async function keepArtifact(
  job: JobRow,
  attempt: AttemptRow,
  artifact: Omit<Artifact, "keptUntil">,
  tools: JobTools,
  { signal }: Context,
): Promise<void> {
  const keptUntil = keptUntilOf(job, attempt, tools.now());
  await tools.content.pin(artifact.cid, keptUntil, { owner: `${job.jobId}/${job.replica}`, signal });
  tools.database.atomically(() => tools.journal.keep(attempt, [{ ...artifact, keptUntil }]));
}

/** Unix seconds: every window of the job from `now` on, and the spec's retention. */
function keptUntilOf({ terms, matchedAt }: JobRow, { facts: { spec } }: AttemptRow, now: number): number {
  const { settleBy } = deadlinesOf({ terms, matchedAt: Math.max(now, matchedAt) }, spec);
  return settleBy + (spec?.retentionSeconds ?? 0);
}
