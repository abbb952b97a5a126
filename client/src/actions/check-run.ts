import type { Outcome, Result } from "@berth/protocol";
import type { JobReplica } from "./get-job.ts";

/** How far a node's clock may be off the chain's. */
const MAX_CLOCK_SKEW_MS = 300_000;
/** Between a run's length and the times of its start and end, which are read one after the other. */
const READING_SLACK_MS = 1000;

/** What a run can only end in once its command has started. */
const startedOutcomes: readonly Outcome[] = ["exited", "timed-out", "out-of-memory", "output-too-large"];
/** What a run can only end in before its command has started. */
const unstartedOutcomes: readonly Outcome[] = ["inputs-unavailable", "spec-invalid", "image-mismatch"];

/**
 * Did nothing run, by the record's own word? Then there is nothing to attest, and no time to charge. An outcome that a
 * started command alone can have is never believed to be one of these. Pure.
 */
export function neverRan({ outcome, startedAt }: Pick<Result, "outcome" | "startedAt">): boolean {
  return unstartedOutcomes.includes(outcome) || (startedAt === null && !startedOutcomes.includes(outcome));
}

/** Does what the record says of the run hold together, and fit the chain? Pure. Throws an Error with the reason. */
export function checkRun(record: Result, times: Pick<JobReplica, "matchedAt" | "submittedAt">): string {
  const { outcome, exitCode, imageDigest, startedAt, finishedAt } = record;
  if (outcome === "exited" && exitCode === null)
    throw new Error("The command ran to its end, but the record has no exit code.");
  if (outcome !== "exited" && exitCode !== null)
    throw new Error(`The run ended as "${outcome}", but the record has the exit code ${exitCode}.`);
  if (startedOutcomes.includes(outcome)) {
    const missing = startedAt === null ? "when the command started" : imageDigest === null ? "the image" : undefined;
    if (missing !== undefined)
      throw new Error(`The run ended as "${outcome}", but the record says nothing of ${missing}.`);
  }
  const ended = Date.parse(finishedAt);
  const began = startedAt === null ? ended : Date.parse(startedAt);
  if (began > ended) throw new Error(`The record says that the run began at ${startedAt} and ended at ${finishedAt}.`);
  if (began < times.matchedAt * 1000 - MAX_CLOCK_SKEW_MS)
    throw new Error(`The run began at ${startedAt ?? finishedAt}, before the match at ${isoOf(times.matchedAt)}.`);
  if (ended > times.submittedAt * 1000 + MAX_CLOCK_SKEW_MS)
    throw new Error(`The run ended at ${finishedAt}, after the result was submitted at ${isoOf(times.submittedAt)}.`);
  const code = exitCode === null ? "" : ` with code ${exitCode}`;
  return `${outcome}${code}; ${startedAt === null ? "nothing started" : "ran"} between match and result`;
}

/** The run time that a charge may count, in whole seconds. Pure. Throws an Error when the record's times give less. */
export function chargedSeconds(record: Pick<Result, "outcome" | "startedAt" | "finishedAt" | "usage">): number {
  const { startedAt, finishedAt, usage } = record;
  if (usage.wallMs > 0 && (startedAt === null || neverRan(record)))
    throw new Error(`By the record nothing ran, but ${usage.wallMs} ms are charged.`);
  const ranMs = startedAt === null ? 0 : Date.parse(finishedAt) - Date.parse(startedAt);
  if (startedAt !== null && usage.wallMs > ranMs + READING_SLACK_MS)
    throw new Error(`The run took ${ranMs} ms from start to end, but ${usage.wallMs} ms are charged.`);
  return Math.floor(usage.wallMs / 1000);
}

function isoOf(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
