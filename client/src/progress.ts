import type { JobId } from "@berth/protocol";

/** The parts of a run, in their order. */
export type Phase =
  | "image"
  | "estimate"
  | "fund"
  | "request"
  | "match"
  | "run"
  | "fetch"
  | "verify"
  | "export"
  | "approve";

/** One line of progress: what just happened, as a sentence without a full stop. */
export interface ProgressEvent {
  phase: Phase;
  message: string;
  jobId?: JobId;
}

/** Seconds that each phase took. */
export interface PhaseTime {
  name: string;
  seconds: number;
}

/** Times phases one after the other. */
export function phaseClock(): {
  run<T>(name: string, work: () => Promise<T>): Promise<T>;
  add(name: string, seconds: number): void;
  times: PhaseTime[];
} {
  const times: PhaseTime[] = [];
  const add = (name: string, seconds: number) => {
    times.push({ name, seconds: Math.round(seconds * 1000) / 1000 });
  };
  return {
    times,
    add,
    async run(name, work) {
      const startedAt = performance.now();
      try {
        return await work();
      } finally {
        add(name, (performance.now() - startedAt) / 1000);
      }
    },
  };
}
