import type { Outcome } from "@berth/protocol";
import type { AttemptState } from "./types.ts";

/** The facts that podman, the monitor's process and our own records give about one attempt. */
export interface AttemptFacts {
  /** podman's stored status; undefined when it knows no such container. */
  status: string | undefined;
  exitCode: number;
  startedAt: Date | undefined;
  finishedAt: Date | undefined;
  monitorAlive: boolean;
  /** Our record of the start, written before it. */
  startIntent: { bootId: string } | undefined;
  bootId: string;
  /** Something has run in the attempt's cgroup, whatever podman says. */
  hasRun: boolean;
  /** When stop or kill was asked for. */
  cancelAt: Date | undefined;
  maxSeconds: number;
  memoryBytes: number;
  /** Highest memory of the attempt's cgroup; undefined when the cgroup is gone. */
  peakBytes: number | undefined;
  /** Kills counted by the kernel (cgroup v2); undefined on v1, which forgets them with the container. */
  oomKills: number | undefined;
}

/** podman's timer and its clock reading at the start are a little apart. */
const TIMER_SLACK_MS = 1000;
/** The kernel charges memory in batches, so the peak may stay this far below the limit. */
const CHARGE_SLACK_BYTES = 1024 * 1024;

/**
 * What really happened to an attempt. Pure. podman alone is wrong twice: it says `running` for ever when the monitor is
 * killed, and `created` with exit code 0 after a reboot. A job of some milliseconds may finish "before" it started.
 */
export function stateOf(facts: AttemptFacts): AttemptState {
  const { status, exitCode, startedAt, startIntent } = facts;
  const finishedAt = laterOf(startedAt, facts.finishedAt);
  const times = { ...(startedAt && { startedAt }), ...(finishedAt && { finishedAt }) };
  switch (status) {
    case undefined:
      return { phase: startIntent ? "lost" : "absent" };
    case "created":
    case "configured":
    case "initialized": {
      // A start that was cut short leaves "created" behind; it must not be repeated once anything ran.
      const cutShort = startIntent !== undefined && (startIntent.bootId !== facts.bootId || facts.hasRun);
      const ranBefore = startedAt !== undefined || cutShort;
      return ranBefore ? { phase: "lost", ...times } : { phase: "created" };
    }
    case "exited":
    case "stopped": {
      if (!startedAt || !finishedAt || !startIntent) return { phase: "lost", ...times };
      const cancelled =
        facts.cancelAt !== undefined && finishedAt.getTime() >= facts.cancelAt.getTime() - TIMER_SLACK_MS;
      const timedOut = !cancelled && ranOut(facts, finishedAt.getTime() - startedAt.getTime());
      if (exitCode < 0 && !timedOut && !cancelled) return { phase: "lost", ...times };
      const oomKilled = !cancelled && !timedOut && ranOutOfMemory(facts);
      return { phase: "exited", exitCode, oomKilled, timedOut, cancelled, ...times };
    }
    default:
      return { phase: facts.monitorAlive ? "running" : "lost", ...times };
  }
}

/** The outcome that a result record carries, for an attempt that has ended. */
export function outcomeOf(state: AttemptState, outputTooLarge: boolean): Outcome {
  if (state.phase === "lost" || state.phase === "absent") return "lost";
  if (state.cancelled) return "cancelled";
  if (state.timedOut) return "timed-out";
  if (state.oomKilled) return "out-of-memory";
  return outputTooLarge ? "output-too-large" : "exited";
}

function laterOf(startedAt: Date | undefined, finishedAt: Date | undefined): Date | undefined {
  return startedAt && finishedAt && finishedAt < startedAt ? startedAt : finishedAt;
}

/** The monitor kills at the limit and reports -1; some versions report the signal instead. */
function ranOut({ exitCode, maxSeconds }: AttemptFacts, ranMs: number): boolean {
  const limitMs = maxSeconds * 1000;
  if (exitCode < 0) return ranMs >= limitMs - TIMER_SLACK_MS;
  return (exitCode === 137 || exitCode === 255) && ranMs >= limitMs;
}

function ranOutOfMemory({ exitCode, oomKills, peakBytes, memoryBytes }: AttemptFacts): boolean {
  if (exitCode !== 137) return false;
  if (oomKills !== undefined) return oomKills > 0;
  return peakBytes !== undefined && peakBytes >= memoryBytes - CHARGE_SLACK_BYTES;
}
