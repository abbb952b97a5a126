import type { SlurmConfig } from "../config/slurm.ts";
import type { AttemptRecords } from "./attempt-record.ts";
import type { SlurmCluster } from "./slurm-cluster.ts";
import { readFields, slurmStateOf } from "./slurm-end.ts";
import type { AttemptFiles } from "./slurm-files.ts";
import type { AttemptState, Context } from "./types.ts";
import { usageOf } from "./usage.ts";

export interface InspectorParts {
  slurm: SlurmConfig;
  records: AttemptRecords;
  files: AttemptFiles;
  cluster: Pick<SlurmCluster, "answers">;
  /** Has Slurm a live job of this name? */
  isQueued(name: string, context: Context): Promise<boolean>;
}

/** Finds out where attempts stand. */
export interface Inspector {
  /** The end of an attempt is recorded when it is first seen, and never changes after. */
  inspect(name: string, context: Context): Promise<AttemptState>;
  /** The attempt is cleaned up. */
  forget(name: string): void;
}

export function createInspector({ slurm, records, files, cluster, isQueued }: InspectorParts): Inspector {
  /** Since when this process knows that Slurm has no job for an attempt, in Unix milliseconds. */
  const goneSince = new Map<string, number>();

  const inspect = async (name: string, context: Context): Promise<AttemptState> => {
    const before = records.read(name);
    if (!before) return { phase: "absent" };
    if (before.end) return before.end.state;
    if (!before.startIntent) return { phase: "created" };
    const isClaimed = files.has(name, "claim");
    let end = files.endOf(name);
    let isGone = false;
    let nodeAnswers = true;
    const started = readFields(files.read(name, "started") ?? "");
    if (isClaimed && end === undefined) {
      isGone = !(await isQueued(name, context));
      if (isGone && started["node"]) nodeAnswers = await cluster.answers(started["node"], context);
      end = files.endOf(name); // it may have ended between the two looks
    }
    if (!isGone) goneSince.delete(name);
    else if (!goneSince.has(name)) goneSince.set(name, Date.now());
    const record = records.read(name); // someone else may have stopped it meanwhile, or seen its end
    if (!record) return { phase: "absent" };
    if (record.end) return record.end.state;
    const inspected = files.inspectedOf(name);
    const now = new Date();
    const state = slurmStateOf({
      isClaimed,
      end,
      inspected,
      startedAt:
        inspected?.State.StartedAt ??
        (started["startedAt"] ? new Date(Number(started["startedAt"]) * 1000) : undefined),
      isGone,
      goneMs: Date.now() - (goneSince.get(name) ?? Date.now()),
      graceMs: slurm.graceSeconds * 1000,
      nodeAnswers,
      now,
      cancelAt: record.cancelAt,
      maxSeconds: record.spec.maxSeconds,
      memoryMiB: record.spec.resources.memoryMiB,
    });
    if (state.phase === "exited" || state.phase === "lost") {
      records.write({ ...record, end: { state, usage: usageOf(state, end, now) } });
      const { job: slurmJob, node } = started;
      context.log.info(
        { attempt: name, phase: state.phase, exitCode: state.exitCode, slurmJob, node },
        "attempt ended",
      );
    }
    return state;
  };

  return { inspect, forget: (name) => void goneSince.delete(name) };
}
