import type { Capacity } from "./offer.ts";

const MIB = 1024 * 1024;

/** What a machine can give to jobs when nobody said: its processors, and three quarters of its memory and free disk. Pure. */
export function defaultCapacity(facts: {
  processors: number;
  memoryBytes: number;
  freeDiskBytes: number;
}): Omit<Capacity, "gpus"> {
  const share = (bytes: number) => Math.max(1, Math.floor((bytes * 0.75) / MIB));
  return {
    cpuMilli: facts.processors * 1000,
    memoryMiB: share(facts.memoryBytes),
    diskMiB: share(facts.freeDiskBytes),
  };
}
