import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, lstatSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { MarketError } from "@berth/protocol";
import { bootId } from "../boot-id.ts";
import { resolveInside } from "../image/unpack.ts";
import { attemptRecords } from "./attempt-record.ts";
import { JOB, jobProcess, MONITOR, makeJobCgroup, oomKillsOf, procsFiles } from "./bubblewrap-cgroup.ts";
import type { UnpackedImage } from "./bubblewrap-images.ts";
import { BUBBLEWRAP_POLICY, type BubblewrapPlan, bubblewrapPlan } from "./bubblewrap-policy.ts";
import type { BubblewrapStore } from "./bubblewrap-store.ts";
import { detectCgroups, killCgroup, readCgroup, removeCgroup } from "./cgroup.ts";
import { notImported, stillBusy } from "./errors.ts";
import type { Made } from "./ledger.ts";
import { openPlainLog } from "./live-log.ts";
import { policyHash } from "./sandbox-policy.ts";
import type { AttemptSpec, AttemptState, CapturedLog, Context, Engine } from "./types.ts";
import { usageOf } from "./usage.ts";
import { stateOf } from "./verdict.ts";
import { closeVolume, mountPoints, openVolume, type Volume } from "./volume.ts";

const MIB = 1024 * 1024;
const POLL_MS = 20;
const MONITOR_SCRIPT = join(import.meta.dirname, "bubblewrap-monitor.sh");
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Runs attempts in bubblewrap: no daemon, no container store, one small shell process for each attempt that watches over it
 * and lives on when this process is killed. What it knows it writes to the attempt's folder.
 */
export function createBubblewrapEngine({ store }: { store: BubblewrapStore }): Engine {
  const host = detectCgroups();
  const records = attemptRecords(join(store.folder, "attempts"));
  const { ledger } = store;
  const cgroupOf = (name: string) => `/berth-${store.id}/${name}`;
  const fileOf = (name: string, file: string) => join(records.folderOf(name), file);

  const outputOf = (spec: AttemptSpec, { config }: UnpackedImage): Volume => ({
    kind: store.volumeKind,
    imagePath: fileOf(spec.name, "out.img"),
    mountPoint: fileOf(spec.name, "out"),
    bytes: spec.resources.diskMiB * MIB,
    inodes: 2 * spec.outputs.maxFiles + 64,
    ownerId: BUBBLEWRAP_POLICY.userNamespace.firstHostId + config.uid,
  });

  const imageOf = (digest: string): UnpackedImage => {
    const image = store.images.find(digest);
    if (image) return image;
    throw notImported(digest);
  };
  const planOf = (spec: AttemptSpec, { rootDir, config }: UnpackedImage): BubblewrapPlan =>
    bubblewrapPlan(spec, { rootDir, image: config, outputDir: fileOf(spec.name, "out"), stage: store.stage });

  const prepare = async (spec: AttemptSpec, context: Context): Promise<void> => {
    const known = records.of(spec);
    if (known?.madeAs || known?.end) return;
    const image = imageOf(spec.imageDigest);
    const plan = planOf(spec, image);
    ledger.make(...madeBy(spec.name));
    records.write({ spec, imageId: spec.imageDigest });
    makeJobCgroup(host, cgroupOf(spec.name), spec.resources);
    await openVolume(outputOf(spec, image), context);
    const write = (file: string, text: string) => writeFileSync(fileOf(spec.name, file), text, { mode: 0o600 });
    write("args", plan.args.map((word) => `${word}\0`).join(""));
    write("sources", plan.sources.map((path) => `${path}\n`).join(""));
    records.write({ spec, imageId: spec.imageDigest, madeAs: spec.name });
    context.log.info({ attempt: spec.name, job: spec.jobId }, "attempt prepared");
  };

  /** What this engine makes for one attempt, in the order of making. */
  const madeBy = (name: string): Made[] => [
    { kind: "folder", what: records.folderOf(name), owner: name },
    { kind: "cgroup", what: cgroupOf(name), owner: name },
    { kind: "mount", what: fileOf(name, "out"), owner: name },
  ];

  const start = async (name: string, context: Context): Promise<void> => {
    const { phase } = await inspect(name, context);
    if (phase === "absent") throw new MarketError("ENGINE_NO_ATTEMPT", `The attempt "${name}" is not prepared.`);
    if (phase !== "created") return;
    const { spec } = records.must(name);
    const image = imageOf(spec.imageDigest);
    const plan = planOf(spec, image);
    mustHaveFolder(plan.workdir, spec, image);
    records.write({ ...records.must(name), startIntent: { bootId: bootId() } });
    const word = await firstLine(spawnMonitor(spec, plan, image), context.signal);
    if (word === undefined && !existsSync(fileOf(name, "claim"))) {
      throw new MarketError("ENGINE_FAILED", `Starting the attempt failed: ${lastWords(name)}.`, { retryable: true });
    }
    context.log.info({ attempt: name }, word === "taken" ? "attempt was started before" : "attempt started");
  };

  /** Started twice, the second gives up: only one can make the claim. */
  const spawnMonitor = (spec: AttemptSpec, plan: BubblewrapPlan, { config }: UnpackedImage): ChildProcess => {
    const { firstHostId } = BUBBLEWRAP_POLICY.userNamespace;
    const cgroup = cgroupOf(spec.name);
    const args = [
      ...[MONITOR_SCRIPT, "watch", records.folderOf(spec.name), spec.maxSeconds, BUBBLEWRAP_POLICY.maxLogBytes],
      ...[store.stage, plan.tmpBytes, firstHostId + config.uid, firstHostId + config.gid, BUBBLEWRAP_POLICY.openFiles],
      ...[store.filterFile, procsFiles(host, cgroup, MONITOR).join(" "), procsFiles(host, cgroup, JOB).join(" ")],
      ...plan.command,
    ];
    // In a session of its own: the end of this process or its group does not reach it.
    const options = { detached: true, cwd: "/", env: { PATH } };
    return spawn("/bin/bash", args.map(String), { ...options, stdio: ["ignore", "pipe", "ignore"] });
  };

  const lastWords = (name: string): string => {
    const log = fileOf(name, "monitor.log");
    const words = existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").at(-1) : undefined;
    return words || "its monitor died";
  };

  const inspect = async (name: string, context: Context): Promise<AttemptState> => {
    const before = records.read(name);
    if (!before) return { phase: "absent" };
    if (before.end) return before.end.state;
    if (!before.madeAs) return { phase: "absent" }; // prepare was cut short
    // In the order in which they come about, for each may happen between two looks.
    const claimed = existsSync(fileOf(name, "claim"));
    const alive = claimed && monitorAlive(name);
    const ending = endingOf(name);
    const record = records.read(name); // someone else may have stopped it meanwhile, or seen its end
    if (!record) return { phase: "absent" };
    if (record.end) return record.end.state;
    const oomKills = oomKillsOf(host, cgroupOf(name));
    const state = stateOf({
      status: ending ? "exited" : claimed ? "running" : "created",
      // bwrap itself may be what was killed.
      exitCode: ending?.exitCode ?? (oomKills > 0 ? 137 : ending && hasNoCommand(name) ? 127 : -1),
      startedAt: ending?.startedAt ?? startedAt(name),
      finishedAt: ending?.finishedAt,
      monitorAlive: alive,
      startIntent: record.startIntent,
      bootId: bootId(),
      hasRun: claimed,
      cancelAt: record.cancelAt,
      maxSeconds: record.spec.maxSeconds,
      memoryBytes: record.spec.resources.memoryMiB * MIB,
      peakBytes: usedBy(name, { phase: "running" }).peakBytes,
      oomKills,
    });
    if (state.phase === "lost") {
      await killAll(name); // nothing may go on unwatched
      context.log.warn({ attempt: name, reason: reasonOf(name) }, "attempt lost");
    }
    if (state.phase === "exited" || state.phase === "lost") {
      records.write({ ...record, end: { state, usage: usedBy(name, state) } });
      context.log.info({ attempt: name, phase: state.phase, exitCode: state.exitCode }, "attempt ended");
    }
    return state;
  };

  /** What bwrap said last, when it could not make the sandbox. */
  const reasonOf = (name: string): string => {
    const path = fileOf(name, "stderr.log");
    return existsSync(path) ? (readFileSync(path, "utf8").slice(-1000).trim().split("\n").at(-1) ?? "") : "";
  };

  /** bwrap gives no exit code of a command that it cannot execute; a shell says 127. */
  const hasNoCommand = (name: string): boolean => reasonOf(name).startsWith("bwrap: execvp ");

  /** What the monitor wrote when all was over. The exit code is bwrap's word for the job's; undefined when it has none. */
  const endingOf = (name: string) => {
    const path = fileOf(name, "end");
    if (!existsSync(path)) return undefined;
    const [started, finished] = readFileSync(path, "utf8").trim().split(" ").map(Number);
    const said = /"exit-code": (\d+)/.exec(readFileSync(fileOf(name, "status"), "utf8"))?.[1];
    return {
      exitCode: said === undefined ? undefined : Number(said),
      startedAt: new Date(started ?? 0),
      finishedAt: new Date(finished ?? 0),
    };
  };
  const startedAt = (name: string): Date | undefined => {
    const path = fileOf(name, "started");
    const text = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
    return text === "" ? undefined : new Date(Number(text));
  };

  /** A process id may be used again by another program, so the monitor is known by its command line. */
  const monitorAlive = (name: string): boolean => {
    try {
      const pid = readFileSync(fileOf(name, "claim"), "utf8").trim();
      const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      return words.includes("watch") && words.includes(records.folderOf(name));
    } catch {
      return false;
    }
  };

  const usedBy = (name: string, state: AttemptState) => usageOf(state, readCgroup(host, `${cgroupOf(name)}/${JOB}`));

  const wait = async (name: string, context: Context): Promise<AttemptState> => {
    for (;;) {
      const state = await inspect(name, context);
      if (state.phase !== "running") return state;
      while (monitorAlive(name)) await pause(POLL_MS, undefined, { signal: context.signal });
    }
  };

  /** TERM to the job's first process, until it ends or its grace is over; then KILL to all of them. */
  const end = async (name: string, graceMs: number, context: Context): Promise<void> => {
    const { phase } = await inspect(name, context);
    if (phase !== "running") return;
    records.write({ ...records.must(name), cancelAt: new Date() });
    const forceAt = Date.now() + graceMs;
    for (let asked = false; monitorAlive(name) && Date.now() < forceAt; ) {
      const first = asked ? undefined : jobProcess(host, cgroupOf(name), 2);
      if (first !== undefined) asked = signalTo(first, "SIGTERM");
      await pause(POLL_MS, undefined, { signal: context.signal });
    }
    // A job that is killed before its sandbox stands has not entered its cgroup yet.
    while (monitorAlive(name)) {
      await killAll(name, { monitor: false });
      await pause(POLL_MS, undefined, { signal: context.signal });
    }
    const after = await wait(name, context);
    context.log.info({ attempt: name, phase: after.phase }, "attempt stopped");
  };

  /** With its reaper the kernel takes a job's whole process namespace, however fast it forks. */
  const killAll = async (name: string, { monitor = true } = {}): Promise<void> => {
    const reaper = jobProcess(host, cgroupOf(name), 1);
    if (reaper !== undefined) signalTo(reaper, "SIGKILL");
    await killCgroup(host, cgroupOf(name), { monitor });
  };

  const cleanup = async (name: string, context: Context): Promise<void> => {
    await killAll(name);
    const folder = records.folderOf(name);
    for (const path of mountPoints()
      .filter((at) => at.startsWith(`${folder}/`))
      .reverse())
      await closeVolume(path, context);
    await removeCgroup(host, cgroupOf(name));
    rmSync(folder, { recursive: true, force: true });
    ledger.gone(...madeBy(name).reverse());
    context.log.info({ attempt: name }, "attempt cleaned up");
  };

  const list = () => records.summaries(ledger.owners());

  const logOf = (name: string, stream: "stdout" | "stderr"): CapturedLog => {
    const path = fileOf(name, `${stream}.log`);
    if (!existsSync(path)) writeFileSync(path, "", { mode: 0o600, flag: "a" });
    const dropped = fileOf(name, `${stream}.dropped`);
    const text = existsSync(dropped) ? readFileSync(dropped, "utf8").trim() : "";
    return { path, bytes: statSync(path).size, truncated: Number(text) > 0 };
  };

  return {
    probe: async () => ({
      engine: "bubblewrap",
      version: store.version,
      runtime: "bwrap",
      cgroupVersion: host.version,
      volume: store.volumeKind,
      policyHash: policyHash(BUBBLEWRAP_POLICY),
    }),
    prepare,
    start,
    inspect,
    wait,
    logs: async (name) => {
      records.must(name);
      return { stdout: logOf(name, "stdout"), stderr: logOf(name, "stderr") };
    },
    liveLog: (name, stream) => openPlainLog(fileOf(records.must(name).spec.name, `${stream}.log`)),
    stop: end,
    kill: (name, context) => end(name, 0, context),
    usage: async (name, context) => {
      const state = await inspect(name, context);
      return records.must(name).end?.usage ?? usedBy(name, state);
    },
    outputDir: async (name, context) => {
      const { spec } = records.must(name);
      const output = outputOf(spec, imageOf(spec.imageDigest));
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
    release: async () => {
      if (ledger.owners().length > 0) {
        throw stillBusy(list().length);
      }
      store.release();
    },
  };
}

/** podman refuses to start in a folder that is not there, and so do we; one below a mount is the job's own affair. */
function mustHaveFolder(workdir: string, spec: AttemptSpec, { rootDir }: UnpackedImage): void {
  const mounts = ["/proc", "/dev", "/sys", "/tmp", spec.outputPath, ...spec.inputs.map(({ path }) => path)];
  if (mounts.some((path) => workdir === path || workdir.startsWith(`${path}/`) || path.startsWith(`${workdir}/`)))
    return;
  const path = resolveInside(rootDir, workdir, { last: true });
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  throw new MarketError("ENGINE_FAILED", `Starting the attempt failed: the image has no folder "${workdir}".`);
}

/** The monitor's first line; undefined when it ends without one. */
async function firstLine(child: ChildProcess, signal: AbortSignal): Promise<string | undefined> {
  child.unref();
  child.on("error", () => undefined);
  const { stdout } = child;
  if (stdout === null) return undefined;
  const stop = () => stdout.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    let text = "";
    for await (const chunk of stdout) {
      text += String(chunk);
      if (text.includes("\n")) break;
    }
    signal.throwIfAborted();
    return text.includes("\n") ? text.slice(0, text.indexOf("\n")) : undefined;
  } finally {
    signal.removeEventListener("abort", stop);
    stdout.destroy();
  }
}

function signalTo(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}
