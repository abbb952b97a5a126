import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import type { z } from "zod";
import type { EngineConfig } from "../config/engine.ts";
import type { gpusSchema } from "../config/gpus.ts";
import type { SlurmConfig } from "../config/slurm.ts";
import { type CdiDevice, chooseDevices, readCdiDevices } from "../engine/cdi.ts";
import { command } from "../engine/command.ts";
import { heldGpus } from "../engine/held-gpus.ts";
import { reapEngine } from "../engine/reap.ts";
import { SANDBOX_POLICY } from "../engine/sandbox-policy.ts";
import { measurePartition } from "../engine/slurm-cluster.ts";
import type { AttemptSpec, AttemptState, Context, Engine } from "../engine/types.ts";
import { verifyOciLayout } from "../image/verify.ts";
import { openMachine } from "../jobs/open-machine.ts";
import { collectOutputs } from "../output/collect.ts";
import { machineProbes } from "./machine-probes.ts";
import { buildProbeImage } from "./probe-image.ts";
import type { Capability, Probe } from "./types.ts";

type GpusConfig = z.infer<typeof gpusSchema>;

/** The GPUs to try, and those that are left alone. */
interface Gpus extends GpusConfig {
  held(): ReadonlySet<string>;
  onGpus(devices: readonly string[]): void;
}

const GIB = 2 ** 30;
const MIB = 2 ** 20;
/** No probe job may take longer. */
const JOB_SECONDS = 20;
/** How long a probe job may wait for its start: a cluster may be full. */
const START_PATIENCE_MS = 60_000;
const MAX_IMAGE_BYTES = 64 * MIB;

export interface ProbeOptions {
  dataDir: string;
  /** The engine that is to run the jobs; what it can do is tried on it. */
  engine: EngineConfig;
  /** GPUs to try. */
  gpus?: GpusConfig;
  /** Gets the CDI names of the GPUs that are being tried, before their jobs start, and none once they have ended. */
  onGpus?: ((devices: readonly string[]) => void) | undefined;
  /** The disk below which nothing new is taken. */
  minFreeBytes: number;
}

/**
 * Tries on this machine, with real jobs in the real sandbox, whether each promise of an offer can be kept. A probe that
 * cannot run has failed; nothing is assumed. A GPU that a job has is left alone. What it makes is gone when it returns.
 */
export async function runProbes(options: ProbeOptions, context: Context): Promise<Probe[]> {
  const { dataDir, engine, gpus = { devices: [], model: "" }, onGpus = () => {}, minFreeBytes } = options;
  const machine = await machineProbes({ dataDir, engine: engine.type, minFreeBytes }, context);
  await reapDeadProbes(dataDir, context);
  const home = join(dataDir, `doctor-${process.pid}`);
  mkdirSync(home, { recursive: true });
  try {
    const own = { ...gpus, held: () => heldGpus(dataDir), onGpus };
    return [...machine, ...(await sandboxProbes(home, engine, own, context))];
  } finally {
    onGpus([]);
    rmSync(home, { recursive: true, force: true });
  }
}

/** The capabilities of which every probe passed. */
export function provenCapabilities(probes: readonly Probe[]): Capability[] {
  const failed = new Set(probes.flatMap(({ ok, capability }) => (ok ? [] : capability)));
  return [...new Set(probes.map(({ capability }) => capability))].filter((name) => !failed.has(name));
}

interface Bench {
  engine: Engine;
  /** Jobs wait for their start behind others. */
  isQueued: boolean;
  digest: string;
  context: Context;
}
type Trial = {
  name: string;
  capability: Capability;
  devices?: readonly string[];
  fix: string;
  run(): Promise<Verdict>;
};
type Verdict = Pick<Probe, "ok" | "detail" | "isUntried">;

async function sandboxProbes(dataDir: string, config: EngineConfig, gpus: Gpus, context: Context): Promise<Probe[]> {
  let engine: Engine | undefined;
  try {
    const nodeId = `doctor-${process.pid}`;
    const machine = await openMachine({ dataDir, runId: "doctor", nodeId, engine: config }, context);
    engine = machine.engine;
    const { layoutDir, digest } = await buildProbeImage(join(dataDir, "image"), context);
    const refusal = await outcome(digestTrial(layoutDir, digest, context), context);
    await machine.importImage(layoutDir, digest, context, MAX_IMAGE_BYTES);
    const bench = { engine, isQueued: config.type === "slurm", digest, context };
    const trials = [...jobTrials(bench), ...extraTrials(config, bench, gpus)];
    return [refusal, ...(await Promise.all(trials.map((trial) => outcome(trial, context))))];
  } catch (error) {
    context.signal.throwIfAborted();
    return [failed({ name: "engine runs hello", capability: "container", fix: "See the message." }, error)];
  } finally {
    const calm = { ...context, signal: AbortSignal.timeout(30_000) }; // an aborted doctor cleans up too
    await engine?.reap([], calm);
    if (engine === undefined) await reapEngine(dataDir, calm);
    else await engine.release(calm);
  }
}

/** Names of the network interfaces, by the shell alone: not every sandbox shows /sys. */
const INTERFACES = 'while IFS=: read -r name rest; do if [ -n "$rest" ]; then echo $name; fi; done < /proc/net/dev';

/** Jobs that misbehave, each with the evidence that it was stopped. */
function jobTrials(bench: Bench): Trial[] {
  const limits = "Run as root on a machine whose kernel gives containers the memory, pids and cpu cgroup controllers.";
  return [
    {
      name: "engine runs hello",
      capability: "container",
      fix: "Check that the engine's own programs (`podman run`, `bwrap`) work on this machine as root.",
      run: () =>
        job(bench, "hello", "echo hello; exit 7", async (state, stdout) => ({
          ok: state.exitCode === 7 && stdout() === "hello\n",
          detail: `exit code ${state.exitCode} of 7, said ${JSON.stringify(stdout())}`,
        })),
    },
    {
      name: "memory limit",
      capability: "limits",
      fix: limits,
      run: () =>
        job(bench, "memory", "exec dd if=/dev/zero of=/dev/null bs=256M count=1", async (state) => ({
          ok: state.oomKilled === true,
          detail: state.oomKilled
            ? "a job of 256 MiB was killed at 32 MiB"
            : `a job of 256 MiB in 32 MiB: ${words(state)}`,
        })),
    },
    {
      name: "pids limit",
      capability: "limits",
      fix: limits,
      run: () => {
        const wanted = SANDBOX_POLICY.pidsLimit * 2;
        // The shell gives up at the first fork that is refused, so what it printed is how far it got.
        const script = `i=0; while [ $i -lt ${wanted} ]; do sleep 30 & i=$((i+1)); echo $i; done`;
        return job(
          bench,
          "pids",
          script,
          async (_state, stdout) => {
            const made = Number(stdout().trim().split("\n").at(-1));
            return {
              ok: made > 0 && made < SANDBOX_POLICY.pidsLimit,
              detail: `${made} of ${wanted} processes were let live`,
            };
          },
          { memoryMiB: 128 },
        );
      },
    },
    {
      name: "network none is none",
      capability: "network-none",
      fix: "Something adds interfaces to new network namespaces; find it before offering.",
      run: () =>
        job(
          bench,
          "network",
          `${INTERFACES}; cat /proc/net/route | wc -l; ls /etc/resolv.conf /etc/hosts`,
          async (_s, stdout) => ({
            ok: stdout() === "lo\n1\n",
            detail:
              stdout() === "lo\n1\n" ? "only lo, no route, no resolver, no hosts" : `found ${JSON.stringify(stdout())}`,
          }),
        ),
    },
    {
      name: "output quota holds",
      capability: "output-limit",
      fix: "Loop devices and mkfs.ext4, or tmpfs mounts, are needed.",
      run: () =>
        job(bench, "quota", "dd if=/dev/zero of=/out/big bs=1M count=64", async (state, _stdout, dir) => {
          const found = await collectOutputs(dir, { maxBytes: GIB, maxFiles: 10 }, bench.context);
          const bytes = found.ok ? found.bytes : Number.POSITIVE_INFINITY;
          return {
            ok: state.exitCode !== 0 && bytes > 0 && bytes <= 8 * MIB,
            detail: `a job that wrote 64 MiB into 8 MiB stopped at ${(bytes / MIB).toFixed(1)} MiB`,
          };
        }),
    },
  ];
}

/** What only some engines can do. */
function extraTrials(config: EngineConfig, bench: Bench, gpus: Gpus): Trial[] {
  if (config.type === "podman") return podmanTrials(bench, gpus);
  return config.type === "slurm" && gpus.devices.length > 0 ? [partitionGpusTrial(bench, config.slurm, gpus)] : [];
}

function podmanTrials(bench: Bench, { devices, held, onGpus }: Gpus): Trial[] {
  const found = readCdiDevices();
  const gpus = chooseDevices(devices, found);
  // Without a pause between: no job can take one of those that are tried.
  const inUse = held();
  onGpus(gpus.filter((name) => !inUse.has(name)));
  const trial = (name: string, at: number) => (inUse.has(name) ? inUseTrial(name) : gpuTrial(bench, name, at, found));
  return [gvisorTrial(bench), ...gpus.map(trial)];
}

/** Of a GPU that a job has: another job that opened it could do harm to that. */
function inUseTrial(device: string): Trial {
  const run = async () => ({ ok: false, isUntried: true, detail: "a job has it: what it proved before stays" });
  return { name: `GPU ${device}`, capability: "gpu", devices: [device], fix: "", run };
}

/** A job that opens the device files of its GPU and has the variables that come with it. */
function gpuTrial(bench: Bench, device: string, at: number, found: readonly CdiDevice[]): Trial {
  const word = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  return {
    name: `GPU ${device}`,
    capability: "gpu",
    devices: [device],
    fix: "See that its driver is loaded and its CDI file is up to date (for NVIDIA: `nvidia-ctk cdi generate`).",
    run: async () => {
      const { nodes, env } = found.find(({ name }) => name === device) ?? { nodes: [], env: [] };
      if (nodes.length + env.length === 0) return { ok: false, detail: "no CDI file of this machine says what it is" };
      const tests = [
        ...nodes.map((path) => `[ -c ${word(path)} ] && : < ${word(path)}`),
        ...env.map((entry) => `[ "$${entry.split("=", 1)[0]}" = ${word(entry.slice(entry.indexOf("=") + 1))} ]`),
      ];
      const script = `${tests.join(" && ")} && echo seen`;
      return await job(
        bench,
        `gpu-${at}`,
        script,
        async (state, stdout) => {
          const ok = stdout() === "seen\n";
          return {
            ok,
            detail: ok ? `a job has ${[...nodes, ...env].join(" ")}` : `a job does not see it: ${words(state)}`,
          };
        },
        { gpuDevices: [device] },
      );
    },
  };
}

/** The device files that a job has besides those that every job has, each of which it must be able to open. */
const OWN_DEVICES = `for file in /dev/* /dev/*/*; do
  case $file in /dev/null|/dev/zero|/dev/full|/dev/tty|/dev/random|/dev/urandom|/dev/console|/dev/pts/*|/dev/fd/*) continue ;; esac
  if [ -c "$file" ] && [ ! -L "$file" ]; then : < "$file" || exit 1; echo "$file"; fi
done`;

/** A job with one GPU, whichever Slurm gives it: what the cluster counts alike is held to be alike. */
function partitionGpusTrial(bench: Bench, slurm: SlurmConfig, { devices }: GpusConfig): Trial {
  const { partition, gres } = slurm;
  const { gpus } = measurePartition(slurm);
  return {
    name: `GPUs of ${partition}`,
    capability: "gpu",
    devices: Array.from({ length: gpus }, (_, at) => `${partition}/${gres}=${at}`),
    fix: "On the compute nodes, see that the driver is loaded and the CDI file is up to date (`nvidia-ctk cdi generate`).",
    run: async () => {
      if (devices !== "auto") return { ok: false, detail: "Slurm chooses the GPUs: set gpus.devices to `auto`" };
      if (gpus === 0) return { ok: false, detail: `no node that takes jobs has the generic resource "${gres}"` };
      const judge = async (state: AttemptState, stdout: () => string): Promise<Verdict> => {
        const files = stdout().trim().replaceAll("\n", " ");
        if (state.exitCode !== 0) return { ok: false, detail: `a job cannot open its device files: ${words(state)}` };
        if (files === "") return { ok: false, detail: "a job that has a GPU finds no device file of it" };
        return { ok: true, detail: `one of ${gpus}: a job has ${files}` };
      };
      return await job(bench, "gpu", OWN_DEVICES, judge, { gpus: 1 });
    },
  };
}

/** Two jobs: one that asks the kernel who it is, and one that takes more memory than it may. */
function gvisorTrial(bench: Bench): Trial {
  return {
    name: "gVisor isolates",
    capability: "gvisor",
    fix: "`apt-get install runsc`. Without it jobs that ask for gVisor go to other nodes.",
    run: async () => {
      const { exitCode } = await command("/bin/sh", ["-c", "command -v runsc"], bench.context);
      if (exitCode !== 0) return { ok: false, detail: "runsc is not installed" };
      const options = { memoryMiB: 128, isolation: "gvisor" } as const;
      const kernel = await job(
        bench,
        "gvisor-kernel",
        "dmesg",
        async (_state, stdout) => ({
          ok: stdout().includes("Starting gVisor"),
          detail: stdout().includes("Starting gVisor") ? "gVisor's own kernel answers" : "another kernel answers",
        }),
        options,
      );
      if (!kernel.ok) return kernel;
      const memory = await job(
        bench,
        "gvisor-memory",
        "exec dd if=/dev/zero of=/dev/null bs=512M count=1",
        async (state) => ({
          ok: state.oomKilled === true,
          detail: state.oomKilled ? "a job of 512 MiB was killed at 128 MiB" : `512 MiB in 128 MiB: ${words(state)}`,
        }),
        options,
      );
      return { ok: memory.ok, detail: `${kernel.detail}, ${memory.detail}` };
    },
  };
}

interface JobOptions {
  memoryMiB?: number;
  isolation?: "gvisor";
  gpuDevices?: readonly string[];
  /** As many as `gpuDevices`, where those are named. */
  gpus?: number;
}

async function job(
  { engine, isQueued, digest, context }: Bench,
  name: string,
  script: string,
  judge: (state: AttemptState, stdout: () => string, outputDir: string) => Promise<Verdict>,
  options: JobOptions = {},
): Promise<Verdict> {
  const { memoryMiB = 32, isolation, gpuDevices = [], gpus = gpuDevices.length } = options;
  const spec: AttemptSpec = {
    name: `doctor-${name}-${process.pid}`,
    jobId: "doctor",
    replica: 0,
    attempt: 1,
    imageDigest: digest,
    command: ["/bin/sh", "-c", script],
    env: {},
    resources: { cpuMilli: 500, memoryMiB, diskMiB: 8, gpus },
    maxSeconds: JOB_SECONDS,
    inputs: [],
    outputPath: "/out",
    outputs: { maxBytes: 8 * MIB, maxFiles: 16 },
    network: "none",
    ...(isolation !== undefined && { isolation }),
    ...(gpuDevices.length > 0 && { gpuDevices }),
  };
  await engine.prepare(spec, context);
  if (!(await hasStarted(engine, spec.name, START_PATIENCE_MS, context))) {
    await engine.cleanup(spec.name, context);
    const seconds = START_PATIENCE_MS / 1000;
    if (isQueued) return { ok: false, isUntried: true, detail: `nothing was free for it in ${seconds} s` };
    return { ok: false, detail: `it was not started in ${seconds} s` };
  }
  const state = await engine.wait(spec.name, context);
  const { stdout } = await engine.logs(spec.name, context);
  const verdict = await judge(
    state,
    () => readFileSync(stdout.path, "utf8"),
    await engine.outputDir(spec.name, context),
  );
  await engine.cleanup(spec.name, context);
  return verdict;
}

/** False: its time to wait was over first. */
export async function hasStarted(
  engine: Pick<Engine, "start">,
  name: string,
  patienceMs: number,
  context: Context,
): Promise<boolean> {
  const patience = AbortSignal.timeout(patienceMs);
  try {
    await engine.start(name, { ...context, signal: AbortSignal.any([context.signal, patience]) });
    return true;
  } catch (error) {
    context.signal.throwIfAborted();
    if (patience.aborted) return false;
    throw error;
  }
}

function digestTrial(layoutDir: string, digest: string, context: Context): Trial {
  return {
    name: "digest mismatch refused",
    capability: "image-verification",
    fix: "This is a fault in the program; report it.",
    run: async () => {
      const path = join(layoutDir, "blobs/sha256", digest.slice("sha256:".length));
      const honest = readFileSync(path);
      writeFileSync(path, Buffer.concat([honest, Buffer.from(" ")]));
      try {
        await verifyOciLayout(layoutDir, digest, context);
        return { ok: false, detail: "a changed manifest was accepted" };
      } catch (error) {
        const ok = error instanceof MarketError && error.code === "IMAGE_DIGEST_MISMATCH";
        return { ok, detail: ok ? "a changed manifest was refused" : String(error) };
      } finally {
        writeFileSync(path, honest);
      }
    },
  };
}

async function outcome(trial: Trial, { signal }: Context): Promise<Probe> {
  const { name, capability, devices, fix } = trial;
  try {
    const verdict = await trial.run();
    const probe = { name, capability, ...verdict, ...(devices !== undefined && { devices }) };
    return verdict.ok || verdict.isUntried ? probe : { ...probe, fix };
  } catch (error) {
    signal.throwIfAborted();
    return failed(trial, error);
  }
}

function failed({ name, capability, devices, fix }: Omit<Trial, "run">, error: unknown): Probe {
  const detail = error instanceof Error ? error.message : String(error);
  const what = { name, capability, ...(devices !== undefined && { devices }) };
  return { ...what, ok: false, detail, fix: error instanceof MarketError ? (error.hint ?? fix) : fix };
}

function words({ phase, exitCode }: AttemptState): string {
  return phase === "exited" ? `it ended with ${exitCode}` : phase;
}

/** A doctor killed half-way leaves its folder; the next one takes away what that recorded. */
async function reapDeadProbes(dataDir: string, context: Context): Promise<void> {
  for (const name of readdirSync(dataDir)) {
    const pid = Number(/^doctor-(\d+)$/.exec(name)?.[1]);
    if (!(pid > 0) || isAlive(pid)) continue;
    await reapEngine(join(dataDir, name), context);
    rmSync(join(dataDir, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return pid !== process.pid;
  } catch {
    return false;
  }
}
