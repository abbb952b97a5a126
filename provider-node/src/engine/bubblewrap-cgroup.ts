import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CgroupHost, makeCgroup } from "./cgroup.ts";
import { SANDBOX_POLICY } from "./sandbox-policy.ts";
import type { AttemptResources } from "./types.ts";

/** Below an attempt's cgroup: the job with its limits, and what watches over it. The latter is not metered. */
export const JOB = "job";
export const MONITOR = "conmon";

const CPU_PERIOD_US = 100_000;
/** The last is where systemd looks for what belongs to the node's unit: a restart of the node is not one of its jobs. */
const V1_CONTROLLERS = ["cpu", "cpuacct", "memory", "pids", "name=systemd"];

/** Makes the attempt's cgroup with both children, and sets the job's limits. Making it again changes nothing. */
export function makeJobCgroup(host: CgroupHost, path: string, { cpuMilli, memoryMiB }: AttemptResources): void {
  makeCgroup(host, path, cpuMilli);
  const trees = host.version === 1 ? V1_CONTROLLERS.map((name) => host.controllers.get(name)) : [host.trees[0]];
  for (const tree of trees) {
    for (const child of [JOB, MONITOR]) if (tree) mkdirSync(join(tree, path, child), { recursive: true });
  }
  const memory = String(memoryMiB * 2 ** 20);
  const pids = String(SANDBOX_POLICY.pidsLimit);
  const quotaUs = String((cpuMilli * CPU_PERIOD_US) / 1000);
  const set = (controller: string, file: string, value: string, { optional = false } = {}) => {
    const name = join(host.controllers.get(controller) ?? "", path, JOB, file);
    if (!optional || existsSync(name)) writeFileSync(name, value);
  };
  set("pids", "pids.max", pids);
  if (host.version === 1) {
    set("memory", "memory.limit_in_bytes", memory);
    set("memory", "memory.memsw.limit_in_bytes", memory, { optional: true }); // only where swap is accounted
    set("memory", "memory.swappiness", "0", { optional: true });
    set("cpu", "cpu.cfs_period_us", String(CPU_PERIOD_US));
    set("cpu", "cpu.cfs_quota_us", quotaUs);
    return;
  }
  set("memory", "memory.max", memory);
  set("memory", "memory.swap.max", "0", { optional: true });
  set("cpu", "cpu.max", `${quotaUs} ${CPU_PERIOD_US}`);
}

/** The files into which a process writes its id to enter a child of the attempt's cgroup. */
export function procsFiles(host: CgroupHost, path: string, child: string): string[] {
  const trees =
    host.version === 1 ? V1_CONTROLLERS.flatMap((name) => host.controllers.get(name) ?? []) : host.trees.slice(0, 1);
  return [...new Set(trees)].map((tree) => join(tree, path, child, "cgroup.procs"));
}

/** Processes of the job that the kernel has killed for lack of memory. The cgroup outlives them, so v1 knows it too. */
export function oomKillsOf(host: CgroupHost, path: string): number {
  const file = host.version === 1 ? "memory.oom_control" : "memory.events";
  const name = join(host.controllers.get("memory") ?? "", path, JOB, file);
  if (!existsSync(name)) return 0;
  return Number(/^oom_kill (\d+)$/m.exec(readFileSync(name, "utf8"))?.[1] ?? 0);
}

/** A process of the job by its number in the job's own process namespace: 1 is bwrap's reaper, 2 the job's first. */
export function jobProcess(host: CgroupHost, path: string, number: 1 | 2): number | undefined {
  const [file = ""] = procsFiles(host, path, JOB).slice(-1);
  if (!existsSync(file)) return undefined;
  const pids = readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number);
  return pids.find((pid) => {
    const numbers = numbersOf(pid);
    return numbers.length > 1 && numbers.at(-1) === number;
  });
}

/** The process's number in each namespace, outermost first. */
function numbersOf(pid: number): number[] {
  try {
    const line = /^NSpid:(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "";
    return line.trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}
