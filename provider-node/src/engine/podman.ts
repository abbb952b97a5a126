import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { MarketError } from "@berth/protocol";
import { bootId } from "../boot-id.ts";
import { freeBytesOf } from "../disk.ts";
import { findImage } from "../image/find.ts";
import { identify, isAlive, type ProcessId, parentOf } from "../process-id.ts";
import { type AttemptRecord, attemptRecords } from "./attempt-record.ts";
import { detectCgroups, killCgroup, makeCgroup, readCgroup, removeCgroup } from "./cgroup.ts";
import type { CommandResult } from "./command.ts";
import { notImported, stillBusy } from "./errors.ts";
import { splitLog } from "./k8s-log.ts";
import type { Made } from "./ledger.ts";
import { openLiveLog } from "./live-log.ts";
import { type ContainerInspect, inspectSchema } from "./podman-inspect.ts";
import type { PodmanStore } from "./podman-store.ts";
import { attemptHash, policyHash, runtimeArgs, SANDBOX_POLICY, sandboxArgs } from "./sandbox-policy.ts";
import type { AttemptSpec, AttemptState, Context, Engine } from "./types.ts";
import { usageOf } from "./usage.ts";
import { stateOf } from "./verdict.ts";
import { closeVolume, mountPoints, openVolume, openVolumes, type Volume } from "./volume.ts";

const MIB = 1024 * 1024;
/** The raw log has some 45 bytes a line besides the text; what does not fit is dropped without the job noticing. */
const LOG_VOLUME_BYTES = 4 * SANDBOX_POLICY.maxLogBytes;
const [POLL_MS, MOST_POLL_MS] = [20, 250];
const [EXIT_FILE_POLL_MS, EXIT_FILE_PATIENCE_MS] = [5, 100];
const REMOVE_PATIENCE_MS = 10_000;
/** Where podman's versions put it in a container. */
const INITS = ["/dev/init", "/run/podman-init"];

/**
 * The container's first process, unless it was gone at the first look, and its monitor; of one that this process started,
 * which it is and since when too.
 */
interface Watched {
  job: ProcessId | undefined;
  monitor: ProcessId;
  started?: { id: string; at: Date };
}

export interface PodmanEngineOptions {
  store: PodmanStore;
  /** Labels on every container: which run of the programs, which node. */
  runId: string;
  nodeId: string;
  /** How long a start in gVisor may take. */
  gvisorStartSeconds?: number;
  /** CDI names of the GPUs that attempts may have, as proven now. */
  gpuDevices?: () => readonly string[];
}

/** Runs attempts in podman. The container, its monitor and its limits live on when this process is killed. */
export function createPodmanEngine(options: PodmanEngineOptions): Engine {
  const { gpuDevices = () => [] } = options;
  const { store, runId, nodeId, gvisorStartSeconds = SANDBOX_POLICY.gvisor.startSeconds } = options;
  const host = detectCgroups();
  const records = attemptRecords(join(store.folder, "attempts"));
  const { ledger } = store;
  const running = new Map<string, Watched>();

  const placesOf = (spec: AttemptSpec) => {
    const folder = records.folderOf(spec.name);
    const { firstHostId } = SANDBOX_POLICY.userNamespace;
    const output: Volume = {
      kind: store.volumeKind,
      imagePath: join(folder, "out.img"),
      mountPoint: join(folder, "out"),
      bytes: spec.resources.diskMiB * MIB,
      inodes: 2 * spec.outputs.maxFiles + 64,
      ownerId: firstHostId,
    };
    const log: Volume = {
      kind: store.volumeKind,
      imagePath: join(folder, "log.img"),
      mountPoint: join(folder, "log"),
      bytes: LOG_VOLUME_BYTES,
      inodes: 32,
      ownerId: 0,
    };
    return { folder, output, log, logPath: join(folder, "log", "raw"), cgroup: cgroupOf(spec.name) };
  };
  const cgroupOf = (name: string) => `/berth-${store.id}/${name}`;
  const fileOf = (name: string, file: string) => join(records.folderOf(name), file);

  const prepare = async (spec: AttemptSpec, context: Context): Promise<void> => {
    const known = records.of(spec);
    if (known?.madeAs || known?.end) return;
    const imageId = await findImage(spec.imageDigest, store, context);
    if (imageId === undefined) throw notImported(spec.imageDigest);
    // Chosen and recorded without a pause between: nobody else can choose the same.
    const record = { spec, imageId, gpuDevices: known?.gpuDevices ?? gpusFor(spec) };
    argsOf(record); // what can never be started is refused here
    ledger.make(...madeBy(spec.name));
    records.write(record);
    await openPlaces(spec, context);
    records.write({ ...record, madeAs: spec.name, madeIn: bootId() });
    context.log.info({ attempt: spec.name }, "attempt prepared");
  };

  const openPlaces = async (spec: AttemptSpec, context: Context): Promise<void> => {
    const { cgroup, output, log } = placesOf(spec);
    makeCgroup(host, cgroup, spec.resources.cpuMilli);
    await openVolumes([output, log], context);
  };

  const argsOf = ({ spec, imageId, gpuDevices = [] }: AttemptRecord): string[] => {
    const { cgroup, logPath, output } = placesOf(spec);
    const place = { imageId, cgroupParent: cgroup, logPath, outputDir: output.mountPoint, runId, nodeId };
    return sandboxArgs(withGpus(spec, gpuDevices), place);
  };

  /** GPUs that no attempt has that may still run: the records on disk say who has which. */
  const gpusFor = ({ resources: { gpus }, gpuDevices: named }: AttemptSpec): readonly string[] => {
    if (gpus === 0 || named !== undefined) return named ?? [];
    const held = new Set(
      ledger.owners().flatMap((name) => {
        const record = records.read(name);
        return record === undefined || record.end !== undefined ? [] : (record.gpuDevices ?? []);
      }),
    );
    const free = gpuDevices().filter((device) => !held.has(device));
    if (free.length >= gpus) return free.slice(0, gpus);
    throw new MarketError("ENGINE_NO_GPU", `${gpus} GPUs are wanted, ${free.length} are free.`, {
      hint: "See which GPUs `berth-node doctor` finds.",
      retryable: true,
    });
  };

  /** What this engine makes for one attempt, in the order of making. */
  const madeBy = (name: string): Made[] => {
    const folder = records.folderOf(name);
    return [
      { kind: "folder", what: folder, owner: name },
      { kind: "cgroup", what: cgroupOf(name), owner: name },
      { kind: "mount", what: join(folder, "out"), owner: name },
      { kind: "mount", what: join(folder, "log"), owner: name },
      { kind: "container", what: name, owner: name },
    ];
  };

  /**
   * Makes and starts the container in one command of podman, where nothing forbids it: its every call costs as much as a
   * short job.
   */
  const start = async (name: string, context: Context): Promise<void> => {
    const { phase } = await inspect(name, context);
    if (phase === "absent") throw new MarketError("ENGINE_NO_ATTEMPT", `The attempt "${name}" is not prepared.`);
    if (phase !== "created") return;
    const record = records.must(name);
    const { spec } = record;
    if (record.madeIn !== bootId()) await openPlaces(spec, context);
    const isMade = record.startIntent !== undefined && (await wasMade(name, context));
    records.write({ ...record, startIntent: { bootId: bootId() } });
    const podman = async (args: string[], own: { signal: AbortSignal }) => {
      const result = await store.runLocked(fileOf(name, "start.lock"), [...runtimeArgs(spec), ...args], own);
      if (result.exitCode !== 0) throw await whyNotStarted(record, result, context);
    };
    if (spec.isolation === "gvisor") {
      if (!isMade) await podman(["create", ...idFiles(name), ...argsOf(record)], context);
      await inTime(name, (own) => podman(["start", name], own), context); // making it may take its time
    } else if (isMade) await podman(["start", name], context);
    else await podman(["run", "--detach", ...idFiles(name), ...argsOf(record)], context);
    const { id, pids } = idsOf(name);
    // podman says later when it began, for a price; until now at the latest, so nothing is charged that it did not run.
    await watch(name, pids, id === undefined ? undefined : { id, at: new Date() });
    context.log.info({ attempt: name }, "attempt started");
  };

  const idFiles = (name: string): string[] => [
    `--cidfile=${fileOf(name, "id")}`,
    `--pidfile=${fileOf(name, "job.pid")}`,
    `--conmon-pidfile=${fileOf(name, "monitor.pid")}`,
  ];

  /** What podman wrote of the container while it started it. */
  const idsOf = (name: string) => ({
    id: textIn(fileOf(name, "id")),
    pids: { job: numberIn(fileOf(name, "job.pid")), monitor: numberIn(fileOf(name, "monitor.pid")) },
  });

  /** Did an earlier start, cut short or refused, make the container? What it made half is taken out of the way. */
  const wasMade = async (name: string, context: Context): Promise<boolean> => {
    if (await podmanInspect(name, context)) return true;
    await store.run(["rm", "--force", name], context); // a creation cut short may hold the name
    rmSync(fileOf(name, "id"), { force: true });
    return false;
  };

  const whyNotStarted = async (record: AttemptRecord, { exitCode, stderr }: CommandResult, context: Context) => {
    const { spec, gpuDevices = [] } = record;
    const found = await podmanInspect(spec.name, context);
    if (found === undefined) {
      store.imageIds.delete(spec.imageDigest); // it may be gone
      return engineError("ENGINE_CREATE_FAILED", "Creating the container", exitCode, stderr);
    }
    if (found.Config.Labels["berth.spec"] === attemptHash(withGpus(spec, gpuDevices)))
      return engineError("ENGINE_FAILED", "Starting the container", exitCode, stderr);
    return new MarketError("ENGINE_NAME_TAKEN", `A container "${spec.name}" that is not ours exists in our store.`);
  };

  /** Runs a start that may hang for ever: what it began is killed after `gvisorStartSeconds`, for podman waits on that. */
  const inTime = async (
    name: string,
    run: (own: { signal: AbortSignal }) => Promise<void>,
    { signal }: Context,
  ): Promise<void> => {
    const overdue = AbortSignal.timeout(gvisorStartSeconds * 1000);
    const kill = () => void killCgroup(host, cgroupOf(name), { monitor: true });
    overdue.addEventListener("abort", kill);
    const patience = AbortSignal.timeout(gvisorStartSeconds * 1000 + REMOVE_PATIENCE_MS);
    try {
      return await run({ signal: AbortSignal.any([signal, patience]) });
    } catch (error) {
      if (signal.aborted || !overdue.aborted) throw error;
    } finally {
      overdue.removeEventListener("abort", kill);
    }
    throw new MarketError("ENGINE_START_OVERDUE", `gVisor did not start the job within ${gvisorStartSeconds} s.`, {
      hint: "See whether `runsc` works on this machine: `berth-node doctor`.",
    });
  };

  /** Remembers the processes of an attempt that runs, so that podman need not be asked whether it still does. */
  const watch = async (
    name: string,
    { job, monitor }: { job: number; monitor: number },
    started?: Watched["started"],
  ): Promise<void> => {
    const [jobId, monitorId] = await Promise.all([identify(job), identify(monitor)]);
    if (monitorId) running.set(name, { job: jobId, monitor: monitorId, ...(started && { started }) });
  };

  /** Finds the processes of an attempt that an earlier process started in this boot, where they surely run. */
  const takeUp = async (name: string, { startIntent }: AttemptRecord): Promise<void> => {
    if (running.has(name) || startIntent?.bootId !== bootId()) return;
    const { id = "", pids } = idsOf(name);
    if (isMonitor(pids.monitor, id) && (await isInit(pids.job, pids.monitor))) await watch(name, pids);
  };

  const runs = async ({ job, monitor }: Watched): Promise<boolean> =>
    job !== undefined && (await isAlive(job)) && (await isAlive(monitor));

  /** What can be told without podman: that it runs, or that it ended with 0, as its monitor wrote. */
  const watched = async (name: string, context: Context): Promise<AttemptState | undefined> => {
    const seen = running.get(name);
    if (seen === undefined) return undefined;
    if (await runs(seen)) return { phase: "running" };
    const { started } = seen;
    const finishedAt = started && (await endedWithZero(started.id, seen.monitor, context));
    running.delete(name);
    if (started === undefined || finishedAt === undefined) return undefined;
    const times = { startedAt: started.at, finishedAt: finishedAt > started.at ? finishedAt : started.at };
    return { phase: "exited", exitCode: 0, oomKilled: false, timedOut: false, cancelled: false, ...times };
  };

  /** When the monitor wrote that the job ended with 0; undefined for any other end. podman soon takes the file away. */
  const endedWithZero = async (id: string, monitor: ProcessId, { signal }: Context): Promise<Date | undefined> => {
    const path = join(store.exitsFolder, id);
    for (const deadline = Date.now() + EXIT_FILE_PATIENCE_MS; Date.now() < deadline; ) {
      const wasAlive = await isAlive(monitor);
      const mtime = statSync(path, { throwIfNoEntry: false })?.mtime;
      const text = textIn(path);
      if (text !== undefined) return text === "0" ? mtime : undefined;
      if (!wasAlive || mtime !== undefined) break;
      await pause(EXIT_FILE_POLL_MS, undefined, { signal });
    }
    return undefined;
  };

  const inspect = async (name: string, context: Context): Promise<AttemptState> => {
    const before = records.read(name);
    if (!before) return { phase: "absent" };
    if (before.end) return before.end.state;
    if (!before.startIntent) return { phase: before.madeAs ? "created" : "absent" };
    await takeUp(name, before);
    const known = await watched(name, context);
    if (known?.phase === "running") return known;
    if (known !== undefined && records.read(name)?.cancelAt === undefined) return ended(name, known, context);
    let found = await podmanInspect(name, context);
    if (found === undefined || isUnstarted(found)) {
      await settled(name, context);
      found = await podmanInspect(name, context);
    }
    if (found && claimsToRun(found) && !monitorAlive(found)) {
      found = await podmanInspect(name, context); // it may have ended between the two looks
    }
    const record = records.read(name); // someone else may have stopped it meanwhile, or seen its end
    if (!record) return { phase: "absent" };
    if (record.end) return record.end.state;
    const reading = readCgroup(host, cgroupOf(name));
    // The intent is older than the container: in the boot that wrote it, what is not there and never ran can be made yet.
    const isUnmade = record.startIntent?.bootId === bootId() && reading?.cpuNs === 0n;
    const state = stateOf({
      status: found?.State.Status ?? (isUnmade ? "created" : undefined),
      exitCode: found?.State.ExitCode ?? 0,
      startedAt: found?.State.StartedAt,
      finishedAt: found?.State.FinishedAt,
      monitorAlive: found !== undefined && monitorAlive(found),
      startIntent: record.startIntent,
      bootId: bootId(),
      hasRun: reading !== undefined && reading.cpuNs > 0n,
      cancelAt: record.cancelAt,
      maxSeconds: record.spec.maxSeconds,
      memoryBytes: record.spec.resources.memoryMiB * MIB,
      peakBytes: reading?.peakBytes,
      oomKills: reading?.oomKills,
    });
    if (state.phase === "running" && found)
      await watch(name, { job: found.State.Pid ?? 0, monitor: found.State.ConmonPid ?? 0 });
    if (state.phase === "lost") await killCgroup(host, cgroupOf(name)); // nothing may go on unwatched
    return state.phase === "exited" || state.phase === "lost" ? ended(name, state, context) : state;
  };

  /** Writes how it ended, once and for all; nothing where it was cleaned up meanwhile. */
  const ended = (name: string, state: AttemptState, context: Context): AttemptState => {
    const record = records.read(name);
    if (record === undefined) return { phase: "absent" };
    if (record.end) return record.end.state;
    records.write({ ...record, end: { state, usage: usedBy(name, state) } });
    context.log.info({ attempt: name, phase: state.phase, exitCode: state.exitCode }, "attempt ended");
    return state;
  };

  const usedBy = (name: string, state: AttemptState) => usageOf(state, readCgroup(host, cgroupOf(name)));

  /** Resolves when no start of the attempt is under way, by an orphan of a killed process perhaps. */
  const settled = (name: string, context: Context) => store.settle(fileOf(name, "start.lock"), context);

  /** The end of a short job is seen soon; a long one is looked at less often. */
  const wait = async (name: string, context: Context): Promise<AttemptState> => {
    const since = Date.now();
    for (;;) {
      const state = await inspect(name, context);
      if (state.phase !== "running") return state;
      let seen: Watched | undefined;
      do {
        const ms = Math.min(MOST_POLL_MS, Math.max(POLL_MS, (Date.now() - since) / 50));
        await pause(ms, undefined, { signal: context.signal });
        seen = running.get(name);
      } while (seen && (await runs(seen)));
    }
  };

  const end = async (name: string, args: string[], context: Context): Promise<void> => {
    const { phase } = await inspect(name, context);
    if (phase !== "running") return;
    records.write({ ...records.must(name), cancelAt: new Date() });
    const { exitCode, stderr } = await store.run([...args, name], context);
    const after = await wait(name, context);
    context.log.info({ attempt: name, phase: after.phase, exitCode, reason: stderr.trim() }, "attempt stopped");
  };

  const podmanInspect = async (name: string, context: Context): Promise<ContainerInspect | undefined> => {
    const { exitCode, stdout, stderr } = await store.run(["container", "inspect", name], context);
    if (exitCode === 0) return inspectSchema.parse(JSON.parse(stdout))[0];
    if (/no such (container|object)/i.test(stderr)) return undefined;
    // It ended under podman's eyes; the next look finds it ended.
    if (/\/proc\/\d+\/.*no such (process|file)/i.test(stderr)) return await podmanInspect(name, context);
    throw engineError("ENGINE_FAILED", "Inspecting the container", exitCode, stderr); // unknown is not absent
  };

  const cleanup = async (name: string, context: Context): Promise<void> => {
    const record = records.read(name);
    const wasStarted = record?.startIntent !== undefined;
    const id = wasStarted && textIn(fileOf(name, "id"));
    // A start that may be under way, by an orphan perhaps, ends with its monitor.
    const mayBeStarting = wasStarted && record?.end === undefined && !running.has(name);
    running.delete(name);
    await killCgroup(host, cgroupOf(name), { monitor: mayBeStarting });
    if (wasStarted) await removeContainer(name, context);
    await killCgroup(host, cgroupOf(name), { monitor: true });
    const ours = mountPoints().filter(
      (path) => path.startsWith(`${records.folderOf(name)}/`) || (id && path.includes(`/${id}/`)),
    );
    for (const path of ours.reverse()) await closeVolume(path, context);
    await removeCgroup(host, cgroupOf(name));
    rmSync(records.folderOf(name), { recursive: true, force: true });
    ledger.gone(...madeBy(name).reverse());
    context.log.info({ attempt: name }, "attempt cleaned up");
  };

  /** podman may report a busy mount although the container is gone, so only its absence counts. */
  const removeContainer = async (name: string, context: Context): Promise<void> => {
    const patience = AbortSignal.timeout(REMOVE_PATIENCE_MS);
    const either = AbortSignal.any([context.signal, patience]);
    await settled(name, { ...context, signal: either }).catch(() => {
      context.signal.throwIfAborted();
      throw engineError("ENGINE_FAILED", "Removing the container", 0, "its start has not ended");
    });
    for (;;) {
      const { exitCode, stderr } = await store.run(["rm", "--force", "--time=0", "--volumes", name], context);
      if (exitCode === 0 || !(await podmanInspect(name, context))) return;
      if (patience.aborted) throw engineError("ENGINE_FAILED", "Removing the container", exitCode, stderr);
      await pause(100, undefined, { signal: context.signal });
    }
  };

  const list = () => records.summaries(ledger.owners());

  return {
    probe: async () => ({
      engine: "podman",
      version: store.version,
      runtime: store.runtime,
      cgroupVersion: host.version,
      volume: store.volumeKind,
      policyHash: policyHash(),
    }),
    prepare,
    start,
    inspect,
    wait,
    logs: async (name, context) => {
      const { folder, log, logPath } = placesOf(records.must(name).spec);
      await openVolume(log, context);
      const full = freeBytesOf(log.mountPoint) < 64 * 1024;
      return splitLog(logPath, folder, { maxBytes: SANDBOX_POLICY.maxLogBytes, full });
    },
    liveLog: (name, stream) =>
      openLiveLog(placesOf(records.must(name).spec).logPath, stream, SANDBOX_POLICY.maxLogBytes),
    stop: (name, graceMs, context) => end(name, ["stop", `--time=${Math.ceil(graceMs / 1000)}`], context),
    kill: (name, context) => end(name, ["kill", "--signal=KILL"], context),
    usage: async (name, context) => {
      const state = await inspect(name, context);
      return records.must(name).end?.usage ?? usedBy(name, state);
    },
    outputDir: async (name, context) => {
      const { output } = placesOf(records.must(name).spec);
      await openVolume(output, context);
      return output.mountPoint;
    },
    cleanup,
    list,
    reap: async (keep, context) => {
      const dead = ledger.owners().filter((name) => !keep.includes(name));
      for (const name of dead) await cleanup(name, context);
      return dead;
    },
    release: async (context) => {
      const left = ledger.open().filter(({ owner }) => owner !== "");
      if (left.length > 0) {
        throw stillBusy(list().length);
      }
      await store.release(context);
    },
  };
}

/** Undefined when the file is not there, or no more. */
function textIn(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** 0 when the file is not there. */
function numberIn(path: string): number {
  return Number(textIn(path) ?? 0);
}

function withGpus(spec: AttemptSpec, gpuDevices: readonly string[]): AttemptSpec {
  return gpuDevices.length === 0 ? spec : { ...spec, gpuDevices };
}

function isUnstarted({ State }: ContainerInspect): boolean {
  return ["created", "configured", "initialized"].includes(State.Status);
}

function claimsToRun(found: ContainerInspect): boolean {
  return !isUnstarted(found) && !["exited", "stopped"].includes(found.State.Status);
}

function monitorAlive({ Id, State }: ContainerInspect): boolean {
  return isMonitor(State.ConmonPid ?? 0, Id);
}

/** A process id may be used again by another program, so the monitor is known by its command line. */
function isMonitor(pid: number, containerId: string): boolean {
  return containerId !== "" && wordsOf(pid).includes(containerId);
}

/** Whether the process is podman's init of a container that has begun, under this monitor: before that it is the runtime's. */
async function isInit(pid: number, monitor: number): Promise<boolean> {
  return INITS.includes(wordsOf(pid)[0] ?? "") && (await parentOf(pid)) === monitor;
}

/** The command line of a process; empty when there is none. */
function wordsOf(pid: number): string[] {
  try {
    return pid <= 0 ? [] : readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0");
  } catch {
    return [];
  }
}

function engineError(code: string, doing: string, exitCode: number, stderr: string): MarketError {
  const words = stderr.trim().split("\n").at(-1) ?? "";
  return new MarketError(code, `${doing} failed: ${words || `podman ended with ${exitCode}`}.`, {
    retryable: true,
  });
}
