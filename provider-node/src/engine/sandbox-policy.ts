import { isAbsolute, normalize } from "node:path";
import { documentHash, type Hex, MarketError } from "@berth/protocol";
import type { AttemptSpec } from "./types.ts";

/**
 * The sandbox every job runs in. Its hash is bound into attestations, so a change here is a new policy:
 * raise `version` with it.
 */
export const SANDBOX_POLICY = {
  version: 2,
  capabilities: "none",
  noNewPrivileges: true,
  readOnlyRoot: true,
  seccomp: "default",
  network: "none",
  hostNames: false,
  pullImages: false,
  imageVolumes: "ignore",
  userNamespace: { firstHostId: 100_000, ids: 65_536 },
  pidsLimit: 512,
  openFiles: 1024,
  processesPerUser: 4096,
  swap: false,
  sharedMemoryMiB: 64,
  /** `/tmp` gets a quarter of the job's memory, up to this, and counts against it. */
  tmpMaxMiB: 256,
  tmpOptions: "nosuid,nodev,noexec",
  outputOptions: "nosuid,nodev,noexec",
  /** Kept of each of stdout and stderr. */
  maxLogBytes: 4 * 1024 * 1024,
  /**
   * For jobs that ask for gVisor. Its other platform, KVM, hangs for ever where /dev/kvm lies. Its kernel's own threads
   * count against the pids limit: with too few of them left it hangs too.
   */
  gvisor: { runtime: "runsc", platform: "ptrace", network: "none", pidsLimit: 1024, startSeconds: 60 },
} as const;

/** Hash of the policy as results and attestations carry it: sha2-256 of its canonical JSON. */
export function policyHash(policy: object = SANDBOX_POLICY): Hex {
  return documentHash(policy);
}

/** Hash of one attempt's spec: the label that tells a repeated `prepare` from a name clash. */
export function attemptHash(spec: AttemptSpec): Hex {
  return documentHash(spec);
}

/** What the arguments depend on besides the attempt: facts of this machine and places made for this attempt. */
export interface SandboxPlace {
  /** Local image id; a name could be moved to other bytes. */
  imageId: string;
  cgroupParent: string;
  logPath: string;
  outputDir: string;
  runId: string;
  nodeId: string;
}

/** The arguments of podman itself, before any command that makes or starts the attempt: its OCI runtime. */
export function runtimeArgs({ isolation }: AttemptSpec): string[] {
  if (isolation !== "gvisor") return [];
  const { runtime, platform, network } = SANDBOX_POLICY.gvisor;
  return [`--runtime=${runtime}`, `--runtime-flag=platform=${platform}`, `--runtime-flag=network=${network}`];
}

/** The arguments of `podman create` and `podman run`. The one place where the sandbox is built. */
export function sandboxArgs(spec: AttemptSpec, place: SandboxPlace): string[] {
  checkSpec(spec);
  const p = SANDBOX_POLICY;
  const { pidsLimit } = spec.isolation === "gvisor" ? p.gvisor : p;
  const { firstHostId, ids } = p.userNamespace;
  const { resources } = spec;
  const mounts = [
    { hostDir: place.outputDir, path: containerPath(spec.outputPath), options: `rw,${p.outputOptions}` },
    ...spec.inputs.map(({ hostDir, path }) => ({ hostDir, path: containerPath(path), options: "ro,nosuid,nodev" })),
  ];
  return [
    `--name=${spec.name}`,
    "--pull=never",
    // Privileges
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    `--uidmap=0:${firstHostId}:${ids}`,
    `--gidmap=0:${firstHostId}:${ids}`,
    "--cgroupns=private",
    // Files
    "--read-only",
    "--read-only-tmpfs=false", // the implicit ones take half of the machine's memory each
    ...(mounts.some(({ path }) => path === "/tmp")
      ? []
      : [`--tmpfs=/tmp:rw,size=${tmpMiB(resources.memoryMiB)}m,mode=1777,${p.tmpOptions}`]),
    `--shm-size=${p.sharedMemoryMiB}m`,
    `--image-volume=${p.imageVolumes}`, // an image's VOLUME would be unbounded disk of the host
    ...mounts.map(({ hostDir, path, options }) => `--volume=${bindSource(hostDir)}:${path}:${options}`),
    // Limits
    `--memory=${resources.memoryMiB}m`,
    `--memory-swap=${resources.memoryMiB}m`,
    `--cpus=${resources.cpuMilli / 1000}`,
    `--pids-limit=${pidsLimit}`,
    `--ulimit=nofile=${p.openFiles}:${p.openFiles}`,
    `--ulimit=nproc=${p.processesPerUser}:${p.processesPerUser}`,
    "--ulimit=core=0:0",
    `--timeout=${spec.maxSeconds}`, // held by the monitor, so it outlives this process
    `--cgroup-parent=${place.cgroupParent}`,
    // The world outside
    `--network=${spec.network}`,
    "--no-hosts",
    "--hostname=job",
    "--http-proxy=false", // the host's proxy settings would leak in
    ...(spec.gpuDevices ?? []).map((device) => `--device=${device}`),
    // Life
    "--init",
    "--restart=no",
    "--systemd=false",
    "--sdnotify=ignore",
    "--no-healthcheck",
    "--log-driver=k8s-file",
    `--log-opt=path=${place.logPath}`,
    ...Object.entries(labels(spec, place)).map(([key, value]) => `--label=${key}=${value}`),
    // The job
    ...Object.entries(spec.env).map(([key, value]) => `--env=${key}=${value}`),
    ...(spec.workdir === undefined ? [] : [`--workdir=${spec.workdir}`]),
    ...(spec.entrypoint === undefined ? [] : [`--entrypoint=${JSON.stringify(spec.entrypoint)}`]),
    place.imageId,
    ...spec.command,
  ];
}

function labels(spec: AttemptSpec, place: SandboxPlace): Record<string, string> {
  return {
    "berth.run": place.runId,
    "berth.node": place.nodeId,
    "berth.job": spec.jobId,
    "berth.replica": String(spec.replica),
    "berth.attempt": String(spec.attempt),
    "berth.spec": attemptHash(spec),
    "berth.policy": policyHash(),
  };
}

export function tmpMiB(memoryMiB: number): number {
  return Math.max(1, Math.min(SANDBOX_POLICY.tmpMaxMiB, Math.floor(memoryMiB / 4)));
}

/** Values reach podman's own little languages (`src:dst:options`, `K=V`), so what would mean something there is refused. */
export function checkSpec(spec: AttemptSpec): void {
  if (!/^[a-z0-9][a-z0-9.-]{0,127}$/.test(spec.name))
    refuse(`The attempt name "${spec.name}" is not a container name.`);
  if (!/^[\w.:-]{1,128}$/.test(spec.jobId))
    refuse(`The job id "${spec.jobId}" has characters that an id does not have.`);
  for (const [key, value] of Object.entries(spec.env)) {
    if (!/^[A-Za-z_]\w*$/.test(key)) refuse(`"${key}" is not the name of an environment variable.`);
    if (value.includes("\0")) refuse(`The environment variable ${key} holds a NUL character.`);
  }
  for (const word of [...spec.command, ...(spec.entrypoint ?? [])]) {
    if (word.includes("\0")) refuse("The command holds a NUL character.");
  }
  const { cpuMilli, memoryMiB, gpus } = spec.resources;
  const whole = { cpuMilli, memoryMiB, maxSeconds: spec.maxSeconds };
  for (const [name, value] of Object.entries(whole)) {
    if (!Number.isSafeInteger(value) || value < 1)
      refuse(`${name} is ${value}, but must be a whole number above zero.`);
  }
  if (gpus !== (spec.gpuDevices ?? []).length)
    refuse(`The job asks for ${gpus} GPUs, ${(spec.gpuDevices ?? []).length} were given.`);
  for (const device of spec.gpuDevices ?? []) {
    if (!/^[\w.-]+\/[\w.-]+=[\w.:-]+$/.test(device)) refuse(`"${device}" is not a CDI device name.`);
  }
}

/** Places that belong to the sandbox; a mount there would undo it. */
const RESERVED = ["/proc", "/sys", "/dev", "/run"];

/** A mount's place inside, without a trailing slash. */
export function containerPath(path: string): string {
  const plain = normalize(path).replace(/\/$/, "");
  if (!isAbsolute(path) || plain === "" || path.split("/").includes("..") || /[:,\0\n]/.test(path)) {
    refuse(
      `"${path}" is not a place inside the container that the engine can mount.`,
      'Avoid "..", ":", "," and "/" itself.',
    );
  }
  if (RESERVED.some((place) => plain === place || plain.startsWith(`${place}/`))) {
    refuse(`"${path}" lies in a folder that belongs to the sandbox.`, `Choose a path outside ${RESERVED.join(" ")}.`);
  }
  return plain;
}

function bindSource(path: string): string {
  if (!isAbsolute(path) || /[:,\n]/.test(path)) {
    throw new MarketError(
      "ENGINE_PATH_REFUSED",
      `The host folder "${path}" cannot be mounted: ":" and "," separate options.`,
      {
        hint: "Use a data folder whose path has neither.",
      },
    );
  }
  return path;
}

function refuse(message: string, hint = "Correct the spec and submit the job again."): never {
  throw new MarketError("SPEC_INVALID", message, { hint });
}
