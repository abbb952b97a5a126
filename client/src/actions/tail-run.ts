import { MarketError } from "@berth/protocol";
import type { Client, Context } from "../client.ts";
import { followLogs } from "./follow-logs.ts";
import type { Job } from "./get-job.ts";

/** Gets the pieces of each stream as they come, and an empty one at its end. */
export type OnOutput = (stream: "stdout" | "stderr", bytes: Uint8Array) => void;

/** How long the end of the log may take to come once the result is on chain. */
const SETTLE_MS = 2000;

/** Hands on what the first replica of a run writes, while it runs. What goes wrong with that is said, and harms nothing. */
export interface Tail {
  /** Begins, once: the job is matched. */
  begin(job: Job): void;
  /** Resolves when everything was handed on, or soon. */
  settle(): Promise<void>;
}

export function tailRun(client: Client, onOutput: OnOutput | undefined, context: Context): Tail {
  const over = new AbortController();
  const signal = context.signal === undefined ? over.signal : AbortSignal.any([context.signal, over.signal]);
  let done: Promise<void> | undefined;

  async function follow({ jobId, replicas }: Job, hand: OnOutput): Promise<void> {
    const [first] = replicas;
    if (first === undefined) return;
    const place = { jobId, ...first };
    const one = async (stream: "stdout" | "stderr") => {
      const options = { stream, follow: true, onBytes: (bytes: Uint8Array) => hand(stream, bytes) };
      try {
        await followLogs(client, place, options, { ...context, signal });
      } finally {
        hand(stream, new Uint8Array());
      }
    };
    await Promise.all([one("stdout"), one("stderr")]).catch((error: unknown) => {
      if (signal.aborted) return;
      const why = error instanceof MarketError ? error.message : String(error);
      context.onProgress?.({ phase: "run", message: `what the job writes is not shown: ${why}`, jobId });
    });
  }

  return {
    begin(job) {
      if (onOutput !== undefined) done ??= follow(job, onOutput);
    },
    async settle() {
      const timer = setTimeout(() => over.abort(), SETTLE_MS);
      await done;
      clearTimeout(timer);
      over.abort();
    },
  };
}
