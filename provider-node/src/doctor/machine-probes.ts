import { constants, existsSync, mkdirSync, statfsSync } from "node:fs";
import { access } from "node:fs/promises";
import { detectCgroups } from "../engine/cgroup.ts";
import { command } from "../engine/command.ts";
import type { Context } from "../engine/types.ts";
import type { Probe } from "./types.ts";

const PROGRAMS = ["podman", "conmon", "flock", "mount", "umount", "mkfs.ext4", "fallocate", "tar"];
const GIB = 2 ** 30;

/** What can be told about the machine without running a job. `minFreeBytes` is the disk below which the node stops offering. */
export async function machineProbes(dataDir: string, minFreeBytes: number, context: Context): Promise<Probe[]> {
  return [rootProbe(), cgroupProbe(), diskProbe(dataDir, minFreeBytes), await programsProbe(context), await tunProbe()];
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
  const { bavail, bsize } = statfsSync(dataDir);
  const free = bavail * bsize;
  const ok = free >= minFreeBytes;
  return {
    name: "disk free",
    capability: "container",
    ok,
    detail: `${(free / GIB).toFixed(1)} GiB free in ${dataDir}`,
    ...(ok ? {} : { fix: `Free at least ${(minFreeBytes / GIB).toFixed(1)} GiB, or move the data folder.` }),
  };
}

async function programsProbe({ signal }: Context): Promise<Probe> {
  const tries = PROGRAMS.map(async (name) => {
    const { exitCode } = await command("/bin/sh", ["-c", 'command -v "$1"', "sh", name], { signal });
    return exitCode === 0 ? [] : [name];
  });
  const missing = (await Promise.all(tries)).flat();
  return {
    name: "programs installed",
    capability: "container",
    ok: missing.length === 0,
    detail: missing.length === 0 ? PROGRAMS.join(" ") : `missing: ${missing.join(" ")}`,
    ...(missing.length === 0 ? {} : { fix: "`apt-get install podman runc conmon util-linux mount e2fsprogs tar`" }),
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
