import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, realpathSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { z } from "zod";
import { bootId } from "../boot-id.ts";
import { parseJson } from "../parse-json.ts";
import { type CommandResult, command, mustRun } from "./command.ts";
import { type Ledger, openLedger } from "./ledger.ts";
import { writeMonitor } from "./monitor.ts";
import { detectRuntime } from "./runtime.ts";
import type { Context } from "./types.ts";
import { unless } from "./unless.ts";
import { closeVolume, detectVolumeKind, mountPoints, type VolumeKind } from "./volume.ts";

/** A podman of our own: images, containers, locks and configuration apart from the machine's and from other nodes'. */
export interface PodmanStore {
  /** Twelve hexadecimal digits of the data folder's path: apart on a machine with several nodes. */
  id: string;
  /** `<data folder>/engine` */
  folder: string;
  runtime: string;
  volumeKind: VolumeKind;
  version: string;
  ledger: Ledger;
  /** Runs podman; a nonzero exit is a result. */
  run(args: readonly string[], options: { signal: AbortSignal; cwd?: string }): Promise<CommandResult>;
  /**
   * Runs podman under a file lock that is held until podman has ended, whatever becomes of the node or of `signal`, which
   * ends the waiting alone: no two of them overlap.
   */
  runLocked(lock: string, args: readonly string[], options: { signal: AbortSignal }): Promise<CommandResult>;
  /** Resolves when no earlier `runLocked` with this lock is still at work. */
  settle(lock: string, options: { signal: AbortSignal }): Promise<void>;
  /** Where monitors write exit codes, each in a file named like its container. */
  exitsFolder: string;
  /** Ids of images by their digests, as far as they were looked up. */
  imageIds: Map<string, string>;
  /** Unmounts the store and drops its runtime folder. Images stay on disk. */
  release(context: Context): Promise<void>;
}

const NEVER = new AbortController().signal;

/** podman lives for a tenth of a second: it collects less garbage than it would, for a few MiB more. */
const GOGC = "400";

/** podman refuses a run root longer than 50 characters, and a reboot must empty it. */
const RUN_FOLDER = "/run/berth";

/**
 * Opens the store of the node whose data is in `dataDir`, and finds out by running which runtime and volumes work.
 * @throws MarketError ENGINE_NEEDS_ROOT, TOOL_MISSING, ENGINE_NO_RUNTIME, ENGINE_STORE_FAILED
 */
export async function openPodmanStore(dataDir: string, context: Context): Promise<PodmanStore> {
  if (process.getuid?.() !== 0) {
    throw new MarketError(
      "ENGINE_NEEDS_ROOT",
      "The container engine needs root: limits and volumes are real only then.",
      {
        hint: "Start the node as root, or from its systemd unit.",
      },
    );
  }
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  const home = realpathSync(dataDir);
  const id = createHash("sha256").update(home).digest("hex").slice(0, 12);
  const folder = join(home, "engine");
  const runFolder = join(RUN_FOLDER, id);
  const ledger = openLedger(join(folder, "ledger.jsonl"));
  ledger.make({ kind: "folder", what: runFolder, owner: "" });
  ledger.make({ kind: "mount", what: join(folder, "store/overlay"), owner: "" });
  mkdirSync(runFolder, { recursive: true, mode: 0o711 });
  mkdirSync(join(folder, "tmp"), { recursive: true });

  const { runtime, volumeKind } = await whatWorks(folder, context);
  const open = async (driver: string) => {
    const env = { ...writeConfig(folder, runFolder, driver, { withMonitor: true }), GOGC };
    const base = [
      `--root=${join(folder, "store")}`,
      `--runroot=${join(runFolder, "r")}`,
      `--tmpdir=${join(runFolder, "t")}`,
      `--runtime=${runtime}`,
      `--storage-driver=${driver}`,
      "--cgroup-manager=cgroupfs",
    ];
    const version = await mustRun("podman", [...base, "info", "--format={{.Version.Version}}"], {
      signal: context.signal,
      env,
      code: "ENGINE_STORE_FAILED",
      doing: `Opening podman's store with the ${driver} driver`,
    });
    return { env, base, version: version.trim() };
  };
  const { env, base, version } = await open("overlay")
    .catch((error: unknown) => {
      if (!(error instanceof MarketError) || error.code !== "ENGINE_STORE_FAILED") throw error;
      context.log.warn({ err: error }, "no overlay file system here, images are copied for every job");
      return open("vfs");
    })
    .catch((error: unknown) => {
      rmSync(join(folder, FOUND), { force: true }); // the next try looks again: a runtime may have been removed
      throw error;
    });

  return {
    id,
    folder,
    runtime,
    volumeKind,
    version,
    ledger,
    // conmon leaves a file named "oom" in the folder it was started in, so that folder must be ours.
    run: (args, options) => command("podman", [...base, ...args], { cwd: folder, ...options, env }),
    runLocked: async (lock, args, { signal }) => {
      signal.throwIfAborted();
      const words = ["--exclusive", "--close", lock, "podman", ...base, ...args];
      const ending = command("flock", words, { cwd: folder, signal: NEVER, env });
      return await unless(signal, ending);
    },
    settle: async (lock, { signal }) => {
      await command("flock", ["--exclusive", "--close", lock, "true"], { signal, env });
    },
    exitsFolder: join(runFolder, "t", "exits"),
    imageIds: new Map(),
    release: async (closing) => {
      const ours = mountPoints().filter((path) => path.startsWith(`${folder}/`) || path.startsWith(`${runFolder}/`));
      for (const path of ours.reverse()) await closeVolume(path, closing);
      ledger.gone({ kind: "mount", what: join(folder, "store/overlay"), owner: "" });
      rmSync(runFolder, { recursive: true, force: true });
      dropIfEmpty(RUN_FOLDER);
      ledger.gone({ kind: "folder", what: runFolder, owner: "" });
    },
  };
}

const FOUND = "found.json";
const foundSchema = z.object({
  bootId: z.string(),
  runtime: z.string(),
  volumeKind: z.enum(["loop-ext4", "tmpfs"]),
});

/** Found by running, once in each boot of the machine: a node that was killed is back sooner. */
async function whatWorks(folder: string, context: Context): Promise<Pick<PodmanStore, "runtime" | "volumeKind">> {
  const path = join(folder, FOUND);
  const known = existsSync(path) ? foundSchema.safeParse(parseJson(readFileSync(path, "utf8"))).data : undefined;
  if (known?.bootId === bootId()) return known;
  const tmp = join(folder, "tmp");
  const [runtime, volumeKind] = await Promise.all([detectRuntime(tmp, context), detectVolumeKind(tmp, context)]);
  writeFileSync(path, JSON.stringify({ bootId: bootId(), runtime, volumeKind }));
  return { runtime, volumeKind };
}

function dropIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // other nodes are in it, or another has removed it
  }
}

/**
 * Our own configuration files, so that the machine's cannot add mounts, devices, variables or hooks to a job. With
 * `withMonitor`, containers are watched by the script that `writeMonitor` makes.
 */
export function writeConfig(
  folder: string,
  runFolder: string,
  driver: string,
  { withMonitor = false } = {},
): Record<string, string> {
  const conf = join(folder, "conf");
  mkdirSync(join(conf, "hooks"), { recursive: true });
  const path = process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin";
  const monitor = withMonitor ? writeMonitor(conf, path) : undefined;
  const files = {
    "containers.conf": [
      "[containers]",
      "default_sysctls = []",
      "[engine]",
      'cgroup_manager = "cgroupfs"',
      'events_logger = "none"',
      `hooks_dir = [${JSON.stringify(join(conf, "hooks"))}]`,
      ...(monitor === undefined ? [] : [`conmon_path = [${JSON.stringify(monitor)}]`]),
      'lock_type = "file"', // the default is one piece of shared memory for every store on the machine
    ],
    "storage.conf": [
      "[storage]",
      `driver = ${JSON.stringify(driver)}`,
      `graphroot = ${JSON.stringify(join(folder, "store"))}`,
      `runroot = ${JSON.stringify(join(runFolder, "r"))}`,
    ],
    "registries.conf": [],
    // Every blob is checked against the digest on chain before it gets here.
    "policy.json": ['{"default":[{"type":"insecureAcceptAnything"}]}'],
  };
  for (const [name, lines] of Object.entries(files)) writeFileSync(join(conf, name), `${lines.join("\n")}\n`);
  return {
    PATH: path,
    HOME: folder,
    TMPDIR: join(folder, "tmp"),
    CONTAINERS_CONF: join(conf, "containers.conf"),
    CONTAINERS_STORAGE_CONF: join(conf, "storage.conf"),
    CONTAINERS_REGISTRIES_CONF: join(conf, "registries.conf"),
  };
}
