import type { Config } from "../config.ts";
import type { Capacity } from "../core/offer.ts";
import type { AttemptState } from "../core/states.ts";
import { freeBytesOf } from "../disk.ts";
import { openSlurmCluster } from "../engine/slurm-cluster.ts";
import { capacityIn } from "../engine/slurm-partition.ts";
import type { Context } from "../log.ts";
import type { Journal } from "../store/journal.ts";

export interface MeasureOptions {
  config: Pick<Config, "dataDir" | "engine" | "minFreeMiB">;
  /** What the operator's limits allow at most. */
  capacity: Capacity;
  journal: Pick<Journal, "open" | "job">;
  freeBytes?: typeof freeBytesOf;
}

/** Between these an attempt has its output volume, and on this machine that is reserved on the disk. */
const HAVE_VOLUME: readonly AttemptState[] = [
  "prepared",
  "attested",
  "running",
  "exited",
  "collected",
  "published",
  "submitting",
];
const MIB = 2 ** 20;

/**
 * Finds what of the capacity is there just now, what running jobs have of it included: the market subtracts that itself.
 * The disk counts as far as it is free, and compute nodes of a cluster as far as they take jobs.
 * @throws MarketError ENGINE_CLUSTER_SILENT
 */
export function createMeasure(options: MeasureOptions): (own: Context) => Promise<Capacity> {
  const { config, capacity, journal, freeBytes = freeBytesOf } = options;
  const { engine, dataDir, minFreeMiB } = config;
  const slurm = engine.type === "slurm" ? engine.slurm : undefined;
  const cluster = slurm && openSlurmCluster(slurm);
  let told = "";
  return async (own) => {
    const nodes = cluster && capacityIn(await cluster.partition(own));
    const free = Math.floor(freeBytes(slurm?.sharedDir ?? dataDir) / MIB) - minFreeMiB;
    const reserved = slurm === undefined ? reservedMiB(journal) : 0;
    const found = leastOf(capacity, { ...nodes, diskMiB: free + reserved });
    const lacking = (["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const).filter((n) => found[n] < capacity[n]);
    if (told !== lacking.join()) own.log.info({ lacking, found, capacity }, "what this node can offer has changed");
    told = lacking.join();
    return found;
  };
}

/** Of each the smaller amount, and nothing below zero. Pure. */
function leastOf(capacity: Capacity, measured: Partial<Capacity>): Capacity {
  const least = (name: keyof Capacity) => Math.max(0, Math.min(capacity[name], measured[name] ?? capacity[name]));
  return {
    cpuMilli: least("cpuMilli"),
    memoryMiB: least("memoryMiB"),
    diskMiB: least("diskMiB"),
    gpus: least("gpus"),
  };
}

/** What of the disk that is no longer free is that of jobs which the market still counts. */
function reservedMiB({ open, job }: Pick<Journal, "open" | "job">): number {
  const jobs = open().flatMap(({ state, jobId, replica }) =>
    HAVE_VOLUME.includes(state) ? [job(jobId, replica)] : [],
  );
  return jobs.reduce((sum, found) => sum + (found?.chain === "active" ? found.terms.job.diskMiB : 0), 0);
}
