import { MarketError } from "@berth/protocol";
import type { Client, Context } from "../client.ts";
import { followLogs } from "./follow-logs.ts";
import type { Job, JobReplica } from "./get-job.ts";

/** Whose output it is: which replica, of how many. */
export interface OutputSource {
  replica: number;
  of: number;
}

/** Gets the pieces of each stream of each replica as they come, and an empty one at its end. */
export type OnOutput = (stream: "stdout" | "stderr", bytes: Uint8Array, source: OutputSource) => void;

/** How long the end of the log may take to come once the result is on chain. */
const SETTLE_MS = 2000;

/** Hands on what the replicas of a run write, while they run. What goes wrong with that is said, and harms nothing. */
export interface Tail {
  /** Begins, once: the job is matched. */
  begin(job: Job): void;
  /** Resolves when everything was handed on, or soon. */
  settle(): Promise<void>;
}

export function tailRun(client: Client, onOutput: OnOutput | undefined, context: Context): Tail {
  const over = new AbortController();
  const signal = context.signal === undefined ? over.signal : AbortSignal.any([context.signal, over.signal]);
  let done: Promise<unknown> | undefined;

  async function follow({ jobId, replicas }: Job, at: JobReplica, hand: OnOutput): Promise<void> {
    const source = { replica: at.replica, of: replicas.length };
    const one = async (stream: "stdout" | "stderr") => {
      const options = { stream, follow: true, onBytes: (bytes: Uint8Array) => hand(stream, bytes, source) };
      try {
        await followLogs(client, { jobId, ...at }, options, { ...context, signal });
      } finally {
        hand(stream, new Uint8Array(), source);
      }
    };
    await Promise.all([one("stdout"), one("stderr")]).catch((error: unknown) => {
      if (signal.aborted) return;
      const why = error instanceof MarketError ? error.message : String(error);
      const who = source.of > 1 ? `replica ${source.replica}: ` : "";
      context.onProgress?.({ phase: "run", message: `${who}what the job writes is not shown: ${why}`, jobId });
    });
  }

  return {
    begin(job) {
      if (onOutput !== undefined) done ??= Promise.all(job.replicas.map((replica) => follow(job, replica, onOutput)));
    },
    async settle() {
      const timer = setTimeout(() => over.abort(), SETTLE_MS);
      await done;
      clearTimeout(timer);
      over.abort();
    },
  };
}
