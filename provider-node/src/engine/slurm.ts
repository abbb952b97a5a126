import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { MarketError } from "@berth/protocol";
import type { SlurmConfig } from "../config/slurm.ts";
import { attemptRecords, imagesOf } from "./attempt-record.ts";
import { noGvisor, notImported, stillBusy } from "./errors.ts";
import { splitLog } from "./k8s-log.ts";
import { openLiveLog } from "./live-log.ts";
import { SANDBOX_POLICY } from "./sandbox-policy.ts";
import { openSlurmCluster, type SlurmCluster } from "./slurm-cluster.ts";
import { neverRan, readFields } from "./slurm-end.ts";
import { attemptFiles } from "./slurm-files.ts";
import { type SharedImages, sharedImages } from "./slurm-images.ts";
import { createInspector } from "./slurm-inspect.ts";
import { misfit } from "./slurm-partition.ts";
import { probeCluster } from "./slurm-probe.ts";
import { shareScript, writeJob } from "./slurm-script.ts";
import type { AttemptSpec, AttemptState, Context, Engine } from "./types.ts";
import { usageOf } from "./usage.ts";
import { closeVolume, detectVolumeKind, openVolume, type VolumeKind } from "./volume.ts";

const MIB = 1024 * 1024;
const IMAGES = "images";
/** By which what a killed node left is found. */
const OPTIONS = "engine/slurm/options.json";
/** How often the shared folder is looked at for an end; no question to Slurm. */
const LOOK_MS = 100;
/** For the signal's way through Slurm, and for bringing the outputs home. */
const STOP_SLACK_MS = 60_000;
/** A job that hangs on a node which does not answer is Slurm's to end. */
const LEAVE_PATIENCE_MS = 60_000;
const LOG_FULL_BYTES = 64 * 1024;

export interface SlurmEngineOptions {
  dataDir: string;
  slurm: SlurmConfig;
  runId: string;
  nodeId: string;
}

/** The engine, and the images that its compute nodes load. */
export interface SlurmEngine {
  engine: Engine;
  images: SharedImages;
  /** Digests of the images that attempts may still need. */
  needed(): string[];
  /** Why no compute node could ever run this; undefined when one can. */
  unfit(
    wanted: { cpuMilli: number; memoryMiB: number; gpus: number; maxSeconds: number },
    own: { signal: AbortSignal },
  ): Promise<string | undefined>;
}

/**
 * Runs attempts as batch jobs of a Slurm cluster, each in podman on one compute node. What happened is what the compute node
 * wrote on the shared folder; Slurm is asked only whether a job is still there.
 */
export async function openSlurmEngine(options: SlurmEngineOptions, context: Context): Promise<SlurmEngine> {
  const { dataDir, slurm } = options;
  if (process.getuid?.() !== 0) {
    throw new MarketError("ENGINE_NEEDS_ROOT", "The Slurm engine needs root, here and for its jobs.", {
      hint: "Start the node as root; the partition must not have DisableRootJobs.",
    });
  }
  mkdirSync(dataDir, { recursive: true, mode: 0o711 });
  const id = createHash("sha256").update(realpathSync(dataDir)).digest("hex").slice(0, 12);
  const home = join(slurm.sharedDir, `node-${id}`);
  const mounts = dirname(join(realpathSync(dataDir), OPTIONS));
  mkdirSync(join(home, "attempts"), { recursive: true, mode: 0o711 });
  mkdirSync(mounts, { recursive: true, mode: 0o711 });
  writeFileSync(join(dataDir, OPTIONS), JSON.stringify(options));
  const script = shareScript(home);
  const cluster = openSlurmCluster(slurm);
  const images = sharedImages(join(slurm.sharedDir, IMAGES));
  const volume = await detectVolumeKind(mounts, context);
  const engine = createSlurmEngine({ ...options, id, home, mounts, script, cluster, images, volume });
  const unfit: SlurmEngine["unfit"] = async (wanted, own) =>
    misfit(await cluster.partition(own), { ...wanted, seconds: wanted.maxSeconds + slurm.marginSeconds });
  return { engine, images, needed: () => neededImages(slurm.sharedDir), unfit };
}

/** Digests of the images of attempts that are not cleaned up: the images are those of every node on the shared folder. */
function neededImages(sharedDir: string): string[] {
  const homes = readdirSync(sharedDir).filter((name) => name.startsWith("node-"));
  return homes.flatMap((home) => imagesOf(join(sharedDir, home, "attempts")));
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** Ends every attempt of the node whose data is in `dataDir`. Nothing happens where this engine was never opened. */
export async function reapSlurm(dataDir: string, context: Context): Promise<void> {
  const file = join(dataDir, OPTIONS);
  if (!existsSync(file)) return;
  const options = JSON.parse(readFileSync(file, "utf8")) as SlurmEngineOptions;
  const { engine } = await openSlurmEngine(options, context);
  await engine.reap([], context);
  await engine.release(context);
}

interface Parts extends SlurmEngineOptions {
  id: string;
  home: string;
  mounts: string;
  script: string;
  cluster: SlurmCluster;
  images: SharedImages;
  /** What can be mounted here, for outputs come back in it. */
  volume: VolumeKind;
}

function createSlurmEngine(parts: Parts): Engine {
  const { slurm, id, home, mounts, script, cluster, images } = parts;
  const records = attemptRecords(join(home, "attempts"));
  const files = attemptFiles(records);
  const { has, read, endOf } = files;
  const isQueued = async (name: string, context: Context) =>
    (await cluster.find(name, context)).some(({ isLive }) => isLive);
  const { inspect, forget } = createInspector({ slurm, records, files, cluster, isQueued });

  const prepare = async (spec: AttemptSpec, context: Context): Promise<void> => {
    const known = records.of(spec);
    if (known?.madeAs || known?.end) return;
    if (spec.isolation === "gvisor") throw noGvisor("Slurm");
    const imageId = images.idOf(spec.imageDigest);
    if (imageId === undefined) throw notImported(spec.imageDigest);
    await mustFit(spec, context);
    const folder = records.folderOf(spec.name);
    const isShared = (dir: string) => realpathSync(dir).startsWith(`${realpathSync(slurm.sharedDir)}/`);
    const inputs = spec.inputs.map(({ hostDir }, at) =>
      isShared(hostDir) ? hostDir : join(folder, "inputs", String(at)),
    );
    const place = { ...parts, images: join(slurm.sharedDir, IMAGES), folder, imageId, inputs };
    mkdirSync(folder, { recursive: true, mode: 0o711 });
    const batch = writeJob(spec, script, place, slurm); // refuses what the sandbox cannot hold, before anything is recorded
    records.write({ spec, imageId });
    for (const [at, { hostDir }] of spec.inputs.entries()) {
      if (inputs[at] === hostDir) continue;
      mkdirSync(join(folder, "inputs"), { recursive: true, mode: 0o711 });
      cpSync(hostDir, inputs[at] as string, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    }
    images.noteUse(spec.imageDigest);
    records.write({ spec, imageId, madeAs: batch });
    context.log.info({ attempt: spec.name, job: spec.jobId }, "attempt prepared");
  };

  const secondsOf = ({ maxSeconds }: AttemptSpec) => maxSeconds + slurm.marginSeconds;

  const mustFit = async (spec: AttemptSpec, context: Context): Promise<void> => {
    const why = misfit(await cluster.partition(context), { ...spec.resources, seconds: secondsOf(spec) });
    if (why === undefined) return;
    throw new MarketError("ENGINE_JOB_TOO_LARGE", `The attempt does not fit the partition ${slurm.partition}: ${why}`);
  };

  /** Resolves when the container has started: a job may wait in Slurm's queue, and leaves it when `signal` comes first. */
  const start = async (name: string, context: Context): Promise<void> => {
    const { phase } = await inspect(name, context);
    if (phase === "absent") throw new MarketError("ENGINE_NO_ATTEMPT", `The attempt "${name}" is not prepared.`);
    if (phase !== "created") return;
    refuseFailed(name);
    if (!(await isQueued(name, context))) await submit(name, context);
    try {
      let askAt = Date.now() + slurm.pollMs;
      while (!has(name, "running") && !has(name, "exit")) {
        await pause(LOOK_MS, undefined, { signal: context.signal });
        if (Date.now() < askAt) continue;
        askAt = Date.now() + slurm.pollMs;
        const state = await inspect(name, context);
        if (state.phase === "exited" || state.phase === "lost") return;
        if (!has(name, "claim") && !(await isQueued(name, context))) await submit(name, context);
      }
    } catch (error) {
      if (context.signal.aborted && !has(name, "claim"))
        await cluster.cancel(name, { signal: AbortSignal.timeout(10_000) }, { onlyPending: true });
      context.signal.throwIfAborted();
      throw error;
    }
    refuseFailed(name);
    const { job: slurmJob, node } = readFields(read(name, "started") ?? "");
    context.log.info({ attempt: name, slurmJob, node }, "attempt started");
  };

  const submit = async (name: string, context: Context): Promise<void> => {
    const { spec, madeAs: batch = "" } = records.must(name);
    records.write({ ...records.must(name), startIntent: { bootId: "" } });
    const { cpuMilli, memoryMiB, gpus } = spec.resources;
    const order = { name, comment: `berth:${id}`, script: batch, cpus: Math.ceil(cpuMilli / 1000), memoryMiB, gpus };
    const job = await cluster.submit({ ...order, seconds: secondsOf(spec) }, context);
    context.log.info({ attempt: name, slurmJob: job }, "attempt submitted to Slurm");
  };

  /** The compute node could not even start the container: nothing has run, so the attempt may be submitted again. */
  const refuseFailed = (name: string): void => {
    const failed = endOf(name)?.failed;
    if (failed === undefined || records.must(name).end) return;
    files.forgetStart(name);
    throw new MarketError("ENGINE_FAILED", `Starting the container failed: ${failed.trim()}.`, { retryable: true });
  };

  const wait = async (name: string, context: Context): Promise<AttemptState> => {
    let silence: unknown;
    for (;;) {
      try {
        const state = await inspect(name, context);
        if (state.phase !== "running") return state;
        silence = undefined;
      } catch (error) {
        context.signal.throwIfAborted();
        if (!(error instanceof MarketError) || error.code !== "ENGINE_CLUSTER_SILENT") throw error;
        if (silence === undefined) context.log.warn({ err: error }, "Slurm does not answer; its jobs go on");
        silence = error;
      }
      const nextAt = Date.now() + slurm.pollMs;
      while (Date.now() < nextAt && !has(name, "exit")) {
        await pause(LOOK_MS, undefined, { signal: context.signal });
      }
    }
  };

  const end = async (name: string, context: Context, graceMs?: number): Promise<void> => {
    const { phase } = await inspect(name, context);
    const record = records.read(name);
    if (!record?.startIntent || (phase !== "running" && phase !== "created")) return;
    records.write({ ...record, cancelAt: new Date() });
    if (files.withdraw(name)) {
      const state = neverRan();
      records.write({ ...records.must(name), end: { state, usage: usageOf(state, undefined) } });
      await cluster.cancel(name, context);
      return;
    }
    if (graceMs === undefined) await cluster.cancel(name, context);
    else {
      writeFileSync(files.pathOf(name, "grace"), String(Math.ceil(graceMs / 1000)));
      await cluster.tell(name, "USR1", context);
      const patience = AbortSignal.any([context.signal, AbortSignal.timeout(graceMs + STOP_SLACK_MS)]);
      await wait(name, { ...context, signal: patience }).catch((error: unknown) => {
        context.signal.throwIfAborted();
        if (!patience.aborted) throw error;
        return cluster.cancel(name, context);
      });
    }
    const after = await wait(name, context);
    context.log.info({ attempt: name, phase: after.phase }, "attempt stopped");
  };

  const cleanup = async (name: string, context: Context): Promise<void> => {
    const record = records.read(name);
    const mine = join(mounts, name);
    if (record?.startIntent && !record.end) await end(name, context);
    if (record?.startIntent) await leaveQueue(name, context);
    await closeVolume(mine, context);
    rmSync(mine, { recursive: true, force: true });
    rmSync(records.folderOf(name), { recursive: true, force: true });
    forget(name);
    context.log.info({ attempt: name }, "attempt cleaned up");
  };

  /** Until nothing of that name is in Slurm: one submitted twice may wait there still. */
  const leaveQueue = async (name: string, context: Context): Promise<void> => {
    const until = Date.now() + LEAVE_PATIENCE_MS;
    while (await isQueued(name, context)) {
      if (Date.now() > until) return context.log.warn({ attempt: name }, "Slurm does not let go of a job");
      await cluster.cancel(name, context);
    }
  };

  const names = () => namesIn(join(home, "attempts"));

  const list = () => records.summaries(names());

  return {
    probe: async (context) => probeCluster(parts, context),
    prepare,
    start,
    inspect,
    wait,
    logs: async (name) => {
      const free = endOf(name)?.logFree ?? Number.POSITIVE_INFINITY;
      const options = { maxBytes: SANDBOX_POLICY.maxLogBytes, full: free < LOG_FULL_BYTES };
      records.must(name);
      return splitLog(files.pathOf(name, "raw"), records.folderOf(name), options);
    },
    // The compute node copies the log here about once a second.
    liveLog: (name, stream) =>
      openLiveLog(files.pathOf(records.must(name).spec.name, "raw"), stream, SANDBOX_POLICY.maxLogBytes),
    stop: (name, graceMs, context) => end(name, context, graceMs),
    kill: (name, context) => end(name, context),
    usage: async (name, context) => {
      const state = await inspect(name, context);
      return records.must(name).end?.usage ?? usageOf(state, undefined);
    },
    outputDir: async (name, context) => {
      const { spec } = records.must(name);
      const imagePath = files.pathOf(name, "out.img");
      const mountPoint = join(mounts, name);
      const bytes = spec.resources.diskMiB * MIB;
      const ownerId = SANDBOX_POLICY.userNamespace.firstHostId;
      if (existsSync(imagePath)) {
        await openVolume({ kind: "loop-ext4", imagePath, mountPoint, bytes, inodes: 0, ownerId }, context);
        return mountPoint;
      }
      mkdirSync(files.pathOf(name, "out"), { recursive: true });
      return files.pathOf(name, "out");
    },
    cleanup,
    list,
    reap: async (keep, context) => {
      const dead = names().filter((name) => !keep.includes(name));
      for (const name of dead) await cleanup(name, context);
      return dead;
    },
    release: async () => {
      if (names().length > 0) {
        throw stillBusy(list().length);
      }
      for (const folder of [mounts, home]) rmSync(folder, { recursive: true, force: true });
    },
  };
}
