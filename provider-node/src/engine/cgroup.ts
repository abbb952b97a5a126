import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/** Where this machine's cgroups are. On v1 every controller is its own tree. */
export interface CgroupHost {
  version: 1 | 2;
  /** Controller name to mount point; on v2 every name leads to the same tree. */
  controllers: ReadonlyMap<string, string>;
  /** All trees in which a child may appear, `systemd` and `unified` of a hybrid v1 too. */
  trees: readonly string[];
}

export interface CgroupReading {
  cpuNs: bigint;
  /** 0 where the kernel does not keep it (v2 before Linux 5.19). */
  peakBytes: number;
  /** Undefined on v1, which forgets the count with the container. */
  oomKills: number | undefined;
}

const V2_CONTROLLERS = ["cpu", "memory", "pids"];
/** CPU allowed to the monitor on top of the job's, so that a flood of log lines cannot take a whole core. */
const MONITOR_CPU_MILLI = 250;
const CPU_PERIOD_US = 100_000;

/** Reads the mounts of this process. `mounts` is the text of /proc/self/mounts. */
export function detectCgroups(mounts = readFileSync("/proc/self/mounts", "utf8")): CgroupHost {
  const lines = mounts.split("\n").map((line) => line.split(" "));
  const v1 = lines.filter(([, , type]) => type === "cgroup");
  const v2 = lines.filter(([, , type]) => type === "cgroup2").flatMap(([, path]) => (path ? [path] : []));
  const byName = new Map<string, string>();
  for (const [, path, , options = ""] of v1) {
    if (path) for (const name of options.split(",")) byName.set(name, path);
  }
  if (byName.has("memory")) {
    const trees = [...new Set([...v1.flatMap(([, path]) => (path ? [path] : [])), ...v2])];
    return { version: 1, controllers: byName, trees };
  }
  const tree = v2[0] ?? "/sys/fs/cgroup";
  return { version: 2, controllers: new Map(V2_CONTROLLERS.map((name) => [name, tree])), trees: [tree] };
}

/**
 * Makes the cgroup that encloses one attempt. The job's limits are set by podman on the container inside; this one
 * stays after the container is gone, so that what was used can still be read.
 */
export function makeCgroup(host: CgroupHost, path: string, cpuMilli: number): void {
  const quotaUs = ((cpuMilli + MONITOR_CPU_MILLI) * CPU_PERIOD_US) / 1000;
  if (host.version === 1) {
    for (const name of ["cpu", "cpuacct", "memory", "pids"]) {
      const tree = host.controllers.get(name);
      if (tree) mkdirSync(join(tree, path), { recursive: true });
    }
    const cpu = host.controllers.get("cpu");
    if (cpu) writeFileSync(join(cpu, path, "cpu.cfs_quota_us"), String(quotaUs));
    return;
  }
  const tree = host.trees[0] as string;
  mkdirSync(join(tree, path), { recursive: true });
  let level = tree;
  for (const part of [...path.split("/").filter(Boolean), ""]) {
    writeFileSync(join(level, "cgroup.subtree_control"), V2_CONTROLLERS.map((name) => `+${name}`).join(" "));
    level = join(level, part);
  }
  writeFileSync(join(tree, path, "cpu.max"), `${quotaUs} ${CPU_PERIOD_US}`);
}

/** What the attempt has used so far, or used in all when it has ended. Undefined when the cgroup does not exist. */
export function readCgroup(host: CgroupHost, path: string): CgroupReading | undefined {
  const read = (controller: string, file: string, child = "") => {
    const name = join(host.controllers.get(controller) ?? "", path, child, file);
    return existsSync(name) ? readFileSync(name, "utf8").trim() : undefined;
  };
  if (host.version === 1) {
    const all = read("cpuacct", "cpuacct.usage");
    if (all === undefined) return undefined;
    const monitor = read("cpuacct", "cpuacct.usage", "conmon") ?? "0";
    const peakBytes = Number(read("memory", "memory.max_usage_in_bytes") ?? 0);
    return { cpuNs: BigInt(all) - BigInt(monitor), peakBytes, oomKills: undefined };
  }
  const all = field(read("cpu", "cpu.stat"), "usage_usec");
  if (all === undefined) return undefined;
  const monitor = field(read("cpu", "cpu.stat", "conmon"), "usage_usec") ?? 0;
  return {
    cpuNs: BigInt(all - monitor) * 1000n,
    peakBytes: Number(read("memory", "memory.peak") ?? 0),
    oomKills: field(read("memory", "memory.events"), "oom_kill") ?? 0,
  };
}

/** Kills every process of the attempt's container; with `monitor`, podman's monitor too. Resolves when none is left. */
export async function killCgroup(host: CgroupHost, path: string, { monitor = false } = {}): Promise<void> {
  const tree = host.controllers.get("pids") ?? (host.trees[0] as string);
  const deadline = Date.now() + 5000;
  while (Date.now() < deadline) {
    const pids = processesBelow(join(tree, path), monitor ? () => true : (name) => name !== "conmon");
    if (pids.length === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it ended by itself
      }
    }
    await pause(10);
  }
}

/** Removes the cgroup in every tree, with what podman and the runtime made below it, and its parent when empty. */
export async function removeCgroup(host: CgroupHost, path: string): Promise<void> {
  for (const tree of host.trees) {
    const deadline = Date.now() + 5000;
    while (!tryRemove(join(tree, path)) && Date.now() < deadline) await pause(20);
    try {
      rmdirSync(join(tree, path, ".."));
    } catch {
      // other attempts are in it
    }
  }
}

function tryRemove(folder: string): boolean {
  if (!existsSync(folder)) return true;
  for (const child of folders(folder)) tryRemove(join(folder, child));
  try {
    rmdirSync(folder);
    return true;
  } catch {
    return !existsSync(folder); // busy while the last process is still being reaped
  }
}

function processesBelow(folder: string, wanted: (name: string) => boolean): number[] {
  if (!existsSync(folder)) return [];
  const here = readFileSync(join(folder, "cgroup.procs"), "utf8").split("\n").filter(Boolean).map(Number);
  return [
    ...here,
    ...folders(folder)
      .filter(wanted)
      .flatMap((child) => processesBelow(join(folder, child), wanted)),
  ];
}

function folders(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
}

function field(text: string | undefined, name: string): number | undefined {
  const line = text?.split("\n").find((candidate) => candidate.startsWith(`${name} `));
  return line === undefined ? undefined : Number(line.slice(name.length + 1));
}
