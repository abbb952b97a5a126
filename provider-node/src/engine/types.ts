import type { Hex } from "@berth/protocol";
import type { Logger } from "pino";

/** What every long call takes: a signal that stops it and the log it writes to. */
export interface Context {
  signal: AbortSignal;
  log: Logger;
}

/** Base units, as in the spec. One CPU is 1000 `cpuMilli`. */
export interface AttemptResources {
  cpuMilli: number;
  memoryMiB: number;
  /** Size of the output volume. */
  diskMiB: number;
  gpus: number;
}

/** The most that may be collected as output. Apparent sizes: a sparse file counts with its holes. */
export interface OutputLimits {
  maxBytes: number;
  maxFiles: number;
}

/** One run of one replica. Everything the engine needs; nothing about money or chain. */
export interface AttemptSpec {
  /** Deterministic in (job, replica, attempt): the claim that makes a second run impossible. */
  name: string;
  jobId: string;
  replica: number;
  attempt: number;
  /** `sha256:<hex>` of the OCI platform manifest; already imported into the engine's store. */
  imageDigest: string;
  /** Arguments after the entrypoint; empty means the image's own. */
  command: readonly string[];
  /** Replaces the image's entrypoint. */
  entrypoint?: readonly string[];
  env: Readonly<Record<string, string>>;
  workdir?: string;
  resources: AttemptResources;
  /** CDI names of the GPUs given to this attempt, as many as `resources.gpus`. Absent: the engine chooses. */
  gpuDevices?: readonly string[];
  /** Wall seconds after which the container is killed, enforced outside this process. */
  maxSeconds: number;
  /** Host folders shown read-only inside; readable by everyone, for the job is nobody here. */
  inputs: readonly { hostDir: string; path: string }[];
  /** Where the output volume appears inside. */
  outputPath: string;
  outputs: OutputLimits;
  network: "none";
  /** What stands between the job and the kernel; absent: namespaces and seccomp alone. */
  isolation?: "gvisor";
}

/** `lost`: it started, and its exit code can no longer be known (monitor killed, reboot). */
export type Phase = "absent" | "created" | "running" | "exited" | "lost";

export interface AttemptState {
  phase: Phase;
  exitCode?: number;
  /** Exit 137 at the memory limit (cgroup v1), or the kernel's own kill counter (v2). */
  oomKilled?: boolean;
  timedOut?: boolean;
  /** `stop` or `kill` was asked for before it ended. */
  cancelled?: boolean;
  startedAt?: Date;
  finishedAt?: Date;
}

export interface Usage {
  wallMs: number;
  /** CPU time of the job's own processes; the monitor's is subtracted. */
  cpuNs: bigint;
  /** Highest memory charged to the attempt, page cache included. */
  peakBytes: number;
}

export interface CapturedLog {
  /** A host file that holds exactly what the job wrote, up to the cap. */
  path: string;
  bytes: number;
  /** The job wrote more than was kept. */
  truncated: boolean;
}

export interface AttemptLogs {
  stdout: CapturedLog;
  stderr: CapturedLog;
}

export type LogStream = "stdout" | "stderr";

/** One stream of an attempt from its beginning on, read while it is written. */
export interface LiveLog {
  /** The next bytes, in pieces of some hundred KiB; none when the job has written no more yet, or up to the cap. */
  read(): Promise<Buffer>;
}

/** What this machine can do, found out by running. */
export interface EngineFacts {
  engine: "podman" | "bubblewrap" | "slurm";
  version: string;
  /** What really ran a process here: an OCI runtime, or bwrap. */
  runtime: string;
  cgroupVersion: 1 | 2;
  /** How the output limit is held: a loop-mounted file system, or memory. */
  volume: "loop-ext4" | "tmpfs";
  policyHash: Hex;
}

export interface AttemptSummary {
  name: string;
  jobId: string;
  replica: number;
  attempt: number;
}

/**
 * Runs attempts. Every method may be repeated: after a crash a new process calls the same method with the same name.
 * @throws MarketError `ENGINE_*` when the engine itself fails; a failing job is a state, never an error
 */
export interface Engine {
  probe(context: Context): Promise<EngineFacts>;
  /** Makes volume, cgroup and container. Does nothing when they exist for the same spec. */
  prepare(spec: AttemptSpec, context: Context): Promise<void>;
  /** Starts a prepared attempt once; a started one is left alone, whatever became of it. */
  start(name: string, context: Context): Promise<void>;
  inspect(name: string, context: Context): Promise<AttemptState>;
  /** Resolves when the attempt is no longer running. Watches the monitor process, never a stored status alone. */
  wait(name: string, context: Context): Promise<AttemptState>;
  logs(name: string, context: Context): Promise<AttemptLogs>;
  /** A stream of an attempt that runs. Absent: what a job writes can be read here only after its end. */
  liveLog?(name: string, stream: LogStream): LiveLog;
  /** TERM, then KILL after `graceMs`. */
  stop(name: string, graceMs: number, context: Context): Promise<void>;
  kill(name: string, context: Context): Promise<void>;
  usage(name: string, context: Context): Promise<Usage>;
  /** The folder that holds the outputs, mounted again if a reboot unmounted it. Read it only after the end. */
  outputDir(name: string, context: Context): Promise<string>;
  /** Removes container, volume, cgroup and files. */
  cleanup(name: string, context: Context): Promise<void>;
  /** Attempts this engine has made and not cleaned up, those that died half-way included. */
  list(): AttemptSummary[];
  /** Cleans up everything recorded as made, except the attempts named in `keep`. */
  reap(keep: readonly string[], context: Context): Promise<string[]>;
  /** Unmounts the engine's own store and drops its runtime folder. Refuses while attempts exist. */
  release(context: Context): Promise<void>;
}
