import { constants, existsSync, mkdirSync } from "node:fs";
import { access } from "node:fs/promises";
import type { EngineConfig } from "../config/engine.ts";
import { freeBytesOf } from "../disk.ts";
import { detectCgroups } from "../engine/cgroup.ts";
import { command } from "../engine/command.ts";
import type { Context } from "../engine/types.ts";
import type { Probe } from "./types.ts";

const COMMON_PROGRAMS = ["flock", "mount", "umount", "mkfs.ext4", "fallocate", "tar"];
/** What each engine runs, and the Debian packages that have it. */
const ENGINE_PROGRAMS: Readonly<Record<EngineConfig["type"], { programs: string[]; packages: string }>> = {
  podman: { programs: ["podman", "conmon"], packages: "podman runc conmon" },
  bubblewrap: { programs: ["bwrap", "setpriv", "unshare", "timeout", "stdbuf"], packages: "bubblewrap coreutils" },
  slurm: { programs: [], packages: "" }, // they may be elsewhere than on the PATH, and the engine names them itself
};
const GIB = 2 ** 30;

export interface MachineProbeOptions {
  dataDir: string;
  engine: EngineConfig["type"];
  /** The disk below which the node stops offering. */
  minFreeBytes: number;
}

/** What can be told about the machine without running a job. */
export async function machineProbes(options: MachineProbeOptions, context: Context): Promise<Probe[]> {
  const { dataDir, engine, minFreeBytes } = options;
  const disk = diskProbe(dataDir, minFreeBytes);
  return [rootProbe(), cgroupProbe(), disk, await programsProbe(engine, context), await tunProbe()];
}

function rootProbe(): Probe {
  const ok = process.getuid?.() === 0;
  return {
    name: "runs as root",
    capability: "container",
    ok,
    detail: ok ? "user 0" : `user ${process.getuid?.()}`,
    ...(ok ? {} : { fix: "Start the node as root: limits and volumes are real only then." }),
  };
}

function cgroupProbe(): Probe {
  const { version, controllers } = detectCgroups();
  const missing = ["cpu", "memory", "pids"].filter((name) => !existsSync(controllers.get(name) ?? ""));
  return {
    name: "cgroups",
    capability: "limits",
    ok: missing.length === 0,
    detail: missing.length === 0 ? `version ${version}` : `version ${version}, without ${missing.join(", ")}`,
    ...(missing.length === 0 ? {} : { fix: `Boot with the controllers ${missing.join(", ")} enabled.` }),
  };
}

function diskProbe(dataDir: string, minFreeBytes: number): Probe {
  mkdirSync(dataDir, { recursive: true });
  const free = freeBytesOf(dataDir);
  const ok = free >= minFreeBytes;
  return {
    name: "disk free",
    capability: "disk",
    ok,
    detail: `${(free / GIB).toFixed(1)} GiB free in ${dataDir}`,
    ...(ok ? {} : { fix: `Free at least ${(minFreeBytes / GIB).toFixed(1)} GiB, or move the data folder.` }),
  };
}

async function programsProbe(engine: EngineConfig["type"], { signal }: Context): Promise<Probe> {
  const { programs, packages } = ENGINE_PROGRAMS[engine];
  const all = [...programs, ...COMMON_PROGRAMS];
  const fix = `\`apt-get install ${[packages, "util-linux mount e2fsprogs tar"].join(" ").trim()}\``;
  const tries = all.map(async (name) => {
    const { exitCode } = await command("/bin/sh", ["-c", 'command -v "$1"', "sh", name], { signal });
    return exitCode === 0 ? [] : [name];
  });
  const missing = (await Promise.all(tries)).flat();
  return {
    name: "programs installed",
    capability: "container",
    ok: missing.length === 0,
    detail: missing.length === 0 ? all.join(" ") : `missing: ${missing.join(" ")}`,
    ...(missing.length === 0 ? {} : { fix }),
  };
}

async function tunProbe(): Promise<Probe> {
  const ok = await access("/dev/net/tun", constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
  return {
    name: "tun device",
    capability: "mesh",
    ok,
    detail: ok ? "/dev/net/tun can be opened" : "no usable /dev/net/tun",
    ...(ok
      ? {}
      : { fix: "`modprobe tun`, and give the container /dev/net/tun. Without it the mesh is off; jobs still run." }),
  };
}
