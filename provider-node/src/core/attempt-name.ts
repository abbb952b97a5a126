import type { JobId } from "@berth/protocol";

/** The name of an attempt's container: the same for the same attempt, so that a second one cannot be made. */
export function attemptName(
  runId: string,
  { jobId, replica, attempt }: { jobId: JobId; replica: number; attempt: number },
): string {
  return `berth-${runId}-${jobId.slice(2, 34)}-${replica}-${attempt}`;
}
