import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { detectCgroups } from "../../../provider-node/src/engine/cgroup.ts";
import { mountPoints } from "../../../provider-node/src/engine/volume.ts";
import type { EngineBench } from "../../support/engine.ts";

/** What is still there of one attempt: mounts, control groups, files and processes. */
export function tracesOf({ dataDir }: Pick<EngineBench, "dataDir">, name: string): string[] {
  const folders = readdirSync(dataDir).map((folder) => join(dataDir, folder, "attempts", name));
  return [
    ...mountPoints().filter((path) => path.includes(name)),
    ...ownCgroups((path) => path.endsWith(`/${name}`)),
    ...folders.filter((path) => existsSync(path)),
    ...processesWith(name).map((pid) => `process ${pid}`),
  ];
}

/** What is still there of a whole engine. */
export function leftOnMachine({ dataDir }: EngineBench): string[] {
  const id = createHash("sha256").update(dataDir).digest("hex").slice(0, 12); // part of every engine's names
  return [
    ...mountPoints().filter((path) => path.includes(dataDir) || path.includes(id)),
    ...ownCgroups((path) => path.includes(id)),
    ...(existsSync("/run/berth") ? readdirSync("/run/berth").filter((folder) => folder.includes(id)) : []),
    ...processesWith(dataDir).map((pid) => `process ${pid}`),
  ];
}

/** Control groups of any engine: `<tree>/berth-<id>` and those directly below. */
function ownCgroups(wanted: (path: string) => boolean): string[] {
  return detectCgroups()
    .trees.flatMap((tree) => inside(tree))
    .filter((path) => /\/berth-[^/]+$/.test(path))
    .flatMap((path) => [path, ...inside(path)])
    .filter(wanted);
}

/** Nothing where it is gone: other programs of this machine come and go. */
function inside(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}

/** Processes with these characters somewhere on their command line, but for this one. */
export function processesWith(marker: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid && isRunning(pid) && commandLine(pid).includes(marker));
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

/** A dead process that nobody has waited for yet does not run. */
export function isRunning(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}
