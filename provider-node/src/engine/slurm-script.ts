import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SlurmConfig } from "../config/slurm.ts";
import { writeConfig } from "./podman-store.ts";
import { trueBundle } from "./runtime.ts";
import { SANDBOX_POLICY, sandboxArgs } from "./sandbox-policy.ts";
import { shellWord } from "./shell-word.ts";
import type { AttemptSpec } from "./types.ts";

const MIB = 1024 * 1024;
/** As in the podman engine: the raw log has some 45 bytes a line besides the text. */
const LOG_BYTES = 4 * SANDBOX_POLICY.maxLogBytes;
/** CPU allowed to the monitor on top of the job's. */
const MONITOR_CPU_MILLI = 250;
const SOURCE = join(import.meta.dirname, "slurm-job.sh");

export interface ScriptPlace {
  /** This node's own folder on the shared file system. */
  home: string;
  /** The folder of the verified images there. */
  images: string;
  /** The attempt's folder there. */
  folder: string;
  /** Twelve hexadecimal digits: the node. */
  id: string;
  runId: string;
  nodeId: string;
  /** Of the image's configuration: podman's image id. */
  imageId: string;
  volume: "loop-ext4" | "tmpfs";
  /** Host folders of the inputs, on the shared file system. */
  inputs: readonly string[];
}

/** Puts what every attempt needs on the shared file system. Returns the path of the script, which changes with its text. */
export function shareScript(home: string): string {
  const hash = createHash("sha256").update(readFileSync(SOURCE)).digest("hex").slice(0, 12);
  const path = join(home, `slurm-job-${hash}.sh`);
  mkdirSync(home, { recursive: true, mode: 0o711 });
  writeConfig(home, "/run/berth/slurm", "overlay"); // the folders in it are given anew on the command line
  writeFileSync(join(home, "conf/bundle.json"), JSON.stringify(trueBundle("PROBE")));
  if (!existsSync(path)) {
    copyFileSync(SOURCE, `${path}.new`);
    renameSync(`${path}.new`, path);
  }
  return path;
}

/** Writes the attempt's `job.env`, and `batch` for Slurm. Returns the path of the latter. */
export function writeJob(
  spec: AttemptSpec,
  script: string,
  place: ScriptPlace,
  { localDir, gpuKind }: SlurmConfig,
): string {
  const here = join(localDir, "attempts", spec.name);
  const { gpus, cpuMilli, diskMiB } = spec.resources;
  // Slurm chooses the GPUs, so the compute node adds them.
  const { gpuDevices: _, ...rest } = spec;
  const plain: AttemptSpec = {
    ...rest,
    resources: { ...spec.resources, gpus: 0 },
    inputs: spec.inputs.map((input, at) => ({ ...input, hostDir: place.inputs[at] as string })),
  };
  const args = sandboxArgs(plain, {
    imageId: place.imageId,
    cgroupParent: commonSettings(spec.name, place, localDir).CGROUP,
    logPath: join(here, "log/raw"),
    outputDir: join(here, "out"),
    runId: place.runId,
    nodeId: place.nodeId,
  });
  const outBytes = Math.max(1, diskMiB) * MIB;
  const inodes = Math.max(32, Math.min(2 * spec.outputs.maxFiles + 64, Math.floor(outBytes / 4096)));
  const settings = {
    ...commonSettings(spec.name, place, localDir),
    IMAGES: place.images,
    IMAGE: spec.imageDigest.replace(":", "-"),
    IMAGE_ID: place.imageId,
    QUOTA_US: (cpuMilli + MONITOR_CPU_MILLI) * 100,
    OUT_BYTES: outBytes,
    OUT_INODES: inodes,
    LOG_BYTES,
    GPUS: gpus,
    GPU_KIND: gpuKind,
  };
  return writeBatch("batch", place.folder, script, [
    ...assignments(settings),
    `CREATE=(${["create", ...args].map(shellWord).join(" ")})`,
  ]);
}

/** Writes what a job needs that only finds out what its compute node can do. Returns the path for Slurm. */
export function writeProbe(
  name: string,
  script: string,
  place: Pick<ScriptPlace, "home" | "folder" | "id" | "volume">,
  { localDir }: SlurmConfig,
): string {
  return writeBatch("probe", place.folder, script, assignments(commonSettings(name, place, localDir)));
}

function commonSettings(
  name: string,
  { home, id, volume }: Pick<ScriptPlace, "home" | "id" | "volume">,
  localDir: string,
) {
  return {
    NAME: name,
    LOCAL: localDir,
    CONF: join(home, "conf"),
    CGROUP: `/berth-slurm-${id}/${name}`,
    VOLUME: volume,
    OWNER: SANDBOX_POLICY.userNamespace.firstHostId,
  };
}

function assignments(settings: Record<string, string | number>): string[] {
  return Object.entries(settings).map(([name, value]) => `${name}=${shellWord(String(value))}`);
}

function writeBatch(mode: "batch" | "probe", folder: string, script: string, env: string[]): string {
  writeFileSync(join(folder, "job.env"), `${env.join("\n")}\n`, { mode: 0o600 });
  const path = join(folder, "batch");
  writeFileSync(path, `#!/bin/bash\nexec /bin/bash ${shellWord(script)} ${mode} ${shellWord(folder)}\n`, {
    mode: 0o700,
  });
  return path;
}
