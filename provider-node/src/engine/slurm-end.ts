import type { Inspected } from "./podman-inspect.ts";
import type { AttemptState } from "./types.ts";
import { stateOf } from "./verdict.ts";

const MIB = 1024 * 1024;

/** What the compute node wrote about an attempt's end, in `exit`. */
export interface SlurmEnd {
  /** Nothing of the job was started, and why. */
  failed: string | undefined;
  /** `lost`: the container or its supervisor vanished. */
  end: "ended" | "lost";
  /** What ended the container, if not the job itself: a signal that the batch job was sent. */
  by: "" | "stop" | "kill";
  volume: "loop-ext4" | "tmpfs";
  /** Bytes left on the log's volume. */
  logFree: number;
  cpuNs: bigint;
  peakBytes: number;
  /** Undefined on cgroup v1. */
  oomKills: number | undefined;
}

/** Everything that is known about one attempt, of which nobody can say how it ended but the compute node. */
export interface SlurmAttemptFacts {
  /** The batch job has begun, or this node has withdrawn the attempt. */
  isClaimed: boolean;
  end: SlurmEnd | undefined;
  inspected: Inspected | undefined;
  /** By the compute node's clock. */
  startedAt: Date | undefined;
  /** Slurm has no live job of that name. */
  isGone: boolean;
  /** Since when this process knows that, in milliseconds. */
  goneMs: number;
  graceMs: number;
  /** The compute node answers Slurm's controller. */
  nodeAnswers: boolean;
  now: Date;
  cancelAt: Date | undefined;
  maxSeconds: number;
  memoryMiB: number;
}

/** Lines of `name=value`, as the batch script writes them. Pure. */
export function readFields(text: string): Record<string, string> {
  const fields = text.split("\n").flatMap((line) => {
    const at = line.indexOf("=");
    return at < 1 ? [] : [[line.slice(0, at), line.slice(at + 1)] as const];
  });
  return Object.fromEntries(fields);
}

export function readEnd(text: string): SlurmEnd {
  const { failed, end, by, volume, logFree, cpuNs, peakBytes, oomKills } = readFields(text);
  return {
    failed,
    end: end === "ended" ? "ended" : "lost",
    by: by === "stop" || by === "kill" ? by : "",
    volume: volume === "tmpfs" ? "tmpfs" : "loop-ext4",
    logFree: count(logFree),
    cpuNs: BigInt(count(cpuNs)),
    peakBytes: count(peakBytes),
    oomKills: oomKills === undefined || oomKills === "" ? undefined : count(oomKills),
  };
}

/**
 * Where an attempt stands. Pure. Slurm's own word for how a job ended is never used: its limits are coarse and its records
 * vanish. What ended without our asking, by Slurm's time limit or an administrator, is lost: it is not the job's doing.
 */
export function slurmStateOf(facts: SlurmAttemptFacts): AttemptState {
  const { end, startedAt, cancelAt } = facts;
  if (end?.failed !== undefined) return cancelAt === undefined ? { phase: "created" } : neverRan();
  if (end !== undefined) return endedState(facts, end);
  if (!facts.isClaimed) return { phase: "created" };
  const times = startedAt && { startedAt };
  return { phase: isLost(facts) ? "lost" : "running", ...times };
}

/** An attempt that was withdrawn before it began. */
export function neverRan(): AttemptState {
  return { phase: "exited", exitCode: 143, oomKilled: false, timedOut: false, cancelled: true };
}

function endedState({ inspected, cancelAt, maxSeconds, memoryMiB }: SlurmAttemptFacts, end: SlurmEnd): AttemptState {
  const { Status, ExitCode, StartedAt, FinishedAt } = inspected?.State ?? {};
  const times = { ...(StartedAt && { startedAt: StartedAt }), ...(FinishedAt && { finishedAt: FinishedAt }) };
  if (end.end === "lost" || Status === undefined) return { phase: "lost", ...times };
  if (end.by !== "" && cancelAt === undefined) return { phase: "lost", ...times };
  const bootId = "same"; // a supervisor does not live through a reboot
  return stateOf({
    status: Status,
    exitCode: ExitCode ?? 0,
    startedAt: StartedAt,
    finishedAt: FinishedAt,
    monitorAlive: false,
    startIntent: { bootId },
    bootId,
    hasRun: true,
    // Two clocks are not compared: the compute node knows that it was a signal, and we that it was ours.
    cancelAt: end.by === "" ? undefined : FinishedAt,
    maxSeconds,
    memoryBytes: memoryMiB * MIB,
    peakBytes: end.peakBytes,
    oomKills: end.oomKills,
  });
}

/** Gone from Slurm without a word on the shared folder, which may be slow, or cut off together with the compute node. */
function isLost({ isGone, goneMs, graceMs, nodeAnswers, startedAt, now, maxSeconds }: SlurmAttemptFacts): boolean {
  if (!isGone || goneMs < graceMs) return false;
  if (nodeAnswers) return true;
  // Its monitor holds the time limit on a node that is cut off as well.
  return startedAt !== undefined && now.getTime() - startedAt.getTime() > maxSeconds * 1000 + graceMs;
}

function count(text: string | undefined): number {
  const value = Number(text ?? "");
  return Number.isSafeInteger(value) && value >= 0 ? value : 0;
}
