import type { AttemptState, Usage } from "./types.ts";

/** What an attempt has used, of what its cgroup counted; so far, while it has not ended. */
export function usageOf(
  { startedAt, finishedAt }: AttemptState,
  counted: Pick<Usage, "cpuNs" | "peakBytes"> | undefined,
  now = new Date(),
): Usage {
  const wallMs = startedAt ? Math.max(0, (finishedAt ?? now).getTime() - startedAt.getTime()) : 0;
  return { wallMs, cpuNs: counted?.cpuNs ?? 0n, peakBytes: counted?.peakBytes ?? 0 };
}
