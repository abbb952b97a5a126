import { spawnSync } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { MarketError } from "@berth/protocol";
import type { SlurmConfig } from "../config/slurm.ts";
import { command } from "./command.ts";
import { capacityIn, PARTITION_FORMAT, type Partition, readPartition } from "./slurm-partition.ts";
import { unless } from "./unless.ts";

/** A job as Slurm's queue shows it. */
export interface SlurmJob {
  id: string;
  state: string;
  node: string;
  /** It waits, runs or is about to end. */
  isLive: boolean;
}

export interface SlurmOrder {
  name: string;
  comment: string;
  script: string;
  cpus: number;
  memoryMiB: number;
  gpus: number;
  seconds: number;
}

type Own = { signal: AbortSignal };

/**
 * Slurm's commands for one partition.
 * @throws MarketError ENGINE_CLUSTER_SILENT when Slurm does not answer: what is unknown is never taken for gone
 */
export interface SlurmCluster {
  submit(order: SlurmOrder, own: Own): Promise<string>;
  /** Jobs of that name, those of the last minutes that have ended too. One `squeue` serves all who ask in one interval. */
  find(name: string, own: Own): Promise<SlurmJob[]>;
  /** Signals the batch shells of that name. */
  tell(name: string, signal: "USR1", own: Own): Promise<void>;
  cancel(name: string, own: Own, options?: { onlyPending: boolean }): Promise<void>;
  /** Does the daemon of that node answer the controller? */
  answers(node: string, own: Own): Promise<boolean>;
  partition(own: Own): Promise<Partition>;
  version(own: Own): Promise<string>;
}

const ENDED = new Set(
  "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT".split(" "),
);
const PATIENCE_MS = 60_000;
/** Flags that sinfo puts behind the state of a node that the controller does not hear from, or that is being powered. */
const SILENT = /[*~#!%$@^]|^(down|unknown)/;

export function openSlurmCluster(config: SlurmConfig): SlurmCluster {
  const { partition } = config;
  const env = environment(config);
  const run = async (program: string, args: string[], { signal }: Own): Promise<string> => {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
    const { exitCode, stdout, stderr } = await command(program, args, { signal: patience, env }).catch(
      (error: unknown) => {
        signal.throwIfAborted();
        if (error instanceof MarketError) throw error;
        return { exitCode: 1, stdout: "", stderr: `${program} did not answer in ${PATIENCE_MS / 1000} s` };
      },
    );
    if (exitCode === 0) return stdout;
    throw silent(program, lastLine(stderr) || `it ended with ${exitCode}`);
  };

  const listed = async (names: readonly string[]): Promise<Map<string, SlurmJob[]>> => {
    const own = { signal: AbortSignal.timeout(PATIENCE_MS) };
    const args = ["--noheader", "--states=all", `--name=${names.join(",")}`, "--format=%i|%j|%T|%N"];
    const jobs = new Map<string, SlurmJob[]>(names.map((name) => [name, []]));
    for (const line of (await run("squeue", args, own)).split("\n")) {
      const [id = "", name = "", state = "", node = ""] = line.trim().split("|");
      jobs.get(name)?.push({ id, state, node, isLive: !ENDED.has(state) });
    }
    return jobs;
  };
  const find = inBatches(listed, config.pollMs);

  return {
    submit: async ({ name, comment, script, cpus, memoryMiB, gpus, seconds }, own) => {
      const args = [
        "--parsable",
        "--no-requeue",
        `--job-name=${name}`,
        `--comment=${comment}`,
        `--partition=${partition}`,
        "--nodes=1",
        "--ntasks=1",
        `--cpus-per-task=${cpus}`,
        `--mem=${memoryMiB}M`,
        `--time=${Math.ceil(seconds / 60)}`,
        ...(gpus > 0 ? [`--gres=${config.gres}:${gpus}`] : []),
        "--propagate=NONE",
        "--input=/dev/null",
        "--output=/dev/null",
        "--chdir=/",
        ...config.sbatchArgs,
        script,
      ];
      return (await run("sbatch", args, own)).trim().split(";")[0] as string;
    },
    find: async (name, { signal }) => (await unless(signal, find(name))) ?? [],
    tell: async (name, signal, own) => {
      await run("scancel", ["--quiet", "--batch", `--signal=${signal}`, `--name=${name}`], own);
    },
    cancel: async (name, own, { onlyPending } = { onlyPending: false }) => {
      await run("scancel", ["--quiet", ...(onlyPending ? ["--state=PENDING"] : []), `--name=${name}`], own);
    },
    answers: async (node, own) => {
      const state = (await run("sinfo", ["--noheader", `--nodes=${node}`, "--format=%T"], own)).trim();
      return state !== "" && !state.split("\n").some((one) => SILENT.test(one));
    },
    partition: async (own) => {
      const found = readPartition(await run("sinfo", askFor(config), own), config);
      if (found.nodes.length > 0) return found;
      throw new MarketError("ENGINE_NO_PARTITION", `The cluster has no nodes in a partition "${partition}".`, {
        hint: "Set engine.slurm.partition to one that `sinfo` lists.",
      });
    },
    version: async (own) => (await run("sinfo", ["--version"], own)).trim().replace(/^slurm /i, ""),
  };
}

/**
 * What all nodes of the partition give together just now.
 * @throws MarketError ENGINE_CLUSTER_SILENT
 */
export function measurePartition(config: SlurmConfig): { cpuMilli: number; memoryMiB: number; gpus: number } {
  const { status, stdout, stderr, error } = spawnSync("sinfo", askFor(config), {
    env: environment(config),
    encoding: "utf8",
    timeout: PATIENCE_MS,
  });
  if (status === 0) return capacityIn(readPartition(stdout, config));
  throw silent("sinfo", error?.message ?? lastLine(stderr));
}

function askFor({ partition }: SlurmConfig): string[] {
  return ["--noheader", "--Node", `--partition=${partition}`, `--format=${PARTITION_FORMAT}`];
}

function environment({ binDir, conf = process.env["SLURM_CONF"] }: SlurmConfig): Record<string, string> {
  const path = process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin";
  return {
    PATH: binDir === undefined ? path : `${binDir}:${path}`,
    ...(conf === undefined ? {} : { SLURM_CONF: conf }),
  };
}

function silent(program: string, why: string): MarketError {
  return new MarketError("ENGINE_CLUSTER_SILENT", `${program} failed: ${why || "it gave no reason"}.`, {
    hint: "Check with `sinfo` that the cluster's controller answers.",
    retryable: true,
  });
}

/** Gathers the names asked for, and looks all of them up at once, at most every `everyMs`. An answer is never older than its question. */
function inBatches<T>(lookUp: (names: string[]) => Promise<Map<string, T>>, everyMs: number) {
  let waiting: { name: string; resolve(found: T | undefined): void; reject(error: unknown): void }[] = [];
  let isBusy = false;
  let nextAt = 0;
  const serve = async () => {
    while (waiting.length > 0) {
      await pause(Math.max(5, nextAt - Date.now()));
      nextAt = Date.now() + everyMs;
      const batch = waiting;
      waiting = [];
      try {
        const found = await lookUp([...new Set(batch.map(({ name }) => name))]);
        for (const { name, resolve } of batch) resolve(found.get(name));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    isBusy = false;
  };
  return (name: string) =>
    new Promise<T | undefined>((resolve, reject) => {
      waiting.push({ name, resolve, reject });
      if (isBusy) return;
      isBusy = true;
      void serve();
    });
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}
