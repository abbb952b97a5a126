import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { execa } from "execa";
import { type SlurmConfig, slurmSchema } from "../../provider-node/src/config/slurm.ts";
import { detectCgroups } from "../../provider-node/src/engine/cgroup.ts";
import { mountPoints } from "../../provider-node/src/engine/volume.ts";
import { freePort } from "../../scripts/lib/free-port.ts";

const PROGRAMS = ["slurmctld", "slurmd", "munged", "sbatch"];
const NODES = ["c1", "c2"] as const;
const CDI = "/var/run/cdi";
export type NodeName = (typeof NODES)[number];

/** A real cluster on this machine: a controller and two compute nodes, with an authentication daemon of their own. */
export interface SlurmCluster {
  /** Everything is below it. */
  folder: string;
  config: SlurmConfig;
  /** The device files of the GPUs of `c2`, which are like /dev/null: none of them is one. */
  gpus: readonly string[];
  /** Runs one of Slurm's commands. */
  slurm(program: string, ...args: string[]): Promise<string>;
  /** Resolves when the controller has written down every job that it has started: it does so some seconds later. */
  saveState(): Promise<void>;
  killController(): Promise<void>;
  startController(): Promise<void>;
  killNode(name: NodeName): Promise<void>;
  startNode(name: NodeName): Promise<void>;
  close(): Promise<void>;
}

/** What is missing to start one, for the word with which a test skips. */
export function missingSlurm(): string | undefined {
  if (process.getuid?.() !== 0) return "a Slurm cluster needs root";
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin"];
  const missing = PROGRAMS.filter((program) => !folders.some((folder) => isProgram(join(folder, program))));
  return missing.length === 0 ? undefined : `${missing.join(", ")} missing: apt-get install slurm-wlm munge`;
}

/** Four processors each; `c1` has 2000 MiB of memory, `c2` has 1000 and two GPUs, as far as Slurm and podman can tell. */
export async function startSlurm(): Promise<SlurmCluster> {
  const folder = mkdtempSync(join(tmpdir(), "berth-slurm-"));
  chmodSync(folder, 0o755);
  const fakes = fakeGpus(basename(folder).toLowerCase());
  const children = new Map<string, ChildProcess>();
  const launch = (name: string, program: string, args: string[]) => {
    const out = openSync(join(folder, `${name}.out`), "a");
    const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` };
    children.set(name, spawn(program, args, { stdio: ["ignore", out, out], env, detached: true }));
  };
  const end = async (name: string, signal: "SIGTERM" | "SIGKILL") => {
    const child = children.get(name);
    children.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    const isOver = await Promise.race([ended.then(() => true), pause(10_000, false)]);
    if (isOver) return;
    child.kill("SIGKILL");
    await ended;
  };
  const conf = join(folder, "slurm.conf");
  const slurm = async (program: string, ...args: string[]) =>
    (await execa(program, args, { env: { SLURM_CONF: conf } })).stdout.trim();
  const until = async (what: string, isSo: () => Promise<boolean>) => {
    const patience = Date.now() + 30_000;
    while (!(await isSo().catch(() => false))) {
      if (Date.now() > patience) throw new Error(`${what}; see ${folder}`);
      await pause(50);
    }
  };
  const isUp = async (name: string) =>
    /^(idle|mixed|allocated|completing)$/.test(await slurm("sinfo", "-hn", name, "-o%T"));

  const startController = async () => {
    launch("slurmctld", "slurmctld", ["-D", "-f", conf]);
    await until("slurmctld does not answer", async () => (await slurm("scontrol", "ping")).includes("UP"));
  };
  const startNode = async (name: NodeName) => {
    launch(name, "slurmd", ["-D", "-N", name, "-f", conf]);
    await until(`${name} is not up`, () => isUp(name));
  };

  const cluster: SlurmCluster = {
    folder,
    config: slurmSchema.parse({
      partition: "market",
      sharedDir: join(folder, "shared"),
      localDir: join(folder, "local"),
      conf,
      pollMs: 100,
      graceSeconds: 2,
      reserveMiB: 0,
      gpuKind: fakes.kind,
    }),
    gpus: fakes.nodes,
    slurm,
    saveState: async () => {
      const asked = Date.now();
      const jobs = (await slurm("squeue", "-h", "-o%i")).split("\n");
      await slurm("scontrol", "update", "job", jobs.join(","), "comment=saved"); // otherwise there may be nothing new
      await until(
        "the controller saves no state",
        async () => statSync(join(folder, "state/job_state")).mtimeMs > asked,
      );
    },
    killController: () => end("slurmctld", "SIGKILL"),
    startController,
    killNode: (name) => end(name, "SIGKILL"),
    startNode,
    close: async () => {
      if (children.has("slurmctld")) {
        await slurm("scancel", "--partition=market").catch(() => undefined);
        await until("jobs stay", async () => (await slurm("squeue", "-h")) === "").catch(() => undefined);
      }
      for (const name of [...NODES, "slurmctld", "munged"]) await end(name, "SIGTERM");
      // What watches a job outlives its daemon, on purpose.
      for (const pid of processesWith("slurmstepd", "").filter((one) => uses(one, folder)))
        process.kill(pid, "SIGKILL");
      for (const path of mountPoints().reverse()) {
        if (path.startsWith(`${folder}/`)) await execa("umount", ["--lazy", path], { reject: false });
      }
      for (const tree of detectCgroups().trees) {
        for (const name of readdirSync(tree)) if (/^slurm_c[12]$/.test(name)) removeTree(join(tree, name));
      }
      fakes.remove();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  try {
    fakes.make();
    await configure(folder, conf, fakes.nodes);
    const munge = join(folder, "munge");
    const files = ["key", "socket", "pid", "log", "seed"].map((name) => {
      const flag = { key: "key-file", socket: "socket", pid: "pid-file", log: "log-file", seed: "seed-file" }[name];
      return `--${flag}=${join(munge, name)}`;
    });
    launch("munged", "munged", ["--foreground", ...files]);
    await until("munged is not up", async () => existsSync(join(munge, "socket")));
    launch("slurmctld", "slurmctld", ["-D", "-f", conf]);
    for (const name of NODES) launch(name, "slurmd", ["-D", "-N", name, "-f", conf]);
    for (const name of NODES) await until(`${name} is not up`, () => isUp(name));
    return cluster;
  } catch (error) {
    await cluster.close();
    throw error;
  }
}

/** Two devices of a kind of their own, each with a variable `BERTH_GPU`, in a CDI file that podman reads. */
function fakeGpus(name: string) {
  const kind = `berth.test/${name}`;
  const nodes = [0, 1].map((at) => `/dev/${name}-${at}`);
  const file = join(CDI, `${name}.json`);
  const isNewFolder = !existsSync(CDI);
  return {
    kind,
    nodes,
    make: () => {
      mkdirSync(CDI, { recursive: true });
      for (const node of nodes) execFileSync("mknod", ["--mode=0666", node, "c", "1", "3"]);
      const devices = nodes.map((path, at) => ({
        name: String(at),
        containerEdits: { env: [`BERTH_GPU=card-${at}`], deviceNodes: [{ path }] },
      }));
      writeFileSync(file, JSON.stringify({ cdiVersion: "0.5.0", kind, devices }));
    },
    remove: () => {
      for (const path of [file, ...nodes]) rmSync(path, { force: true });
      if (isNewFolder && existsSync(CDI) && readdirSync(CDI).length === 0) rmdirSync(CDI);
    },
  };
}

async function configure(folder: string, conf: string, gpus: readonly string[]): Promise<void> {
  for (const name of ["munge", "spool", "state", "shared", "local"]) mkdirSync(join(folder, name), { mode: 0o755 });
  writeFileSync(join(folder, "munge/key"), randomBytes(1024), { mode: 0o400 });
  const [controller, first, second] = await Promise.all([freePort(), freePort(), freePort()]);
  const host = hostname().split(".")[0];
  // Slurm's cgroup plugin for version 2 needs systemd.
  const isV1 = detectCgroups().version === 1;
  const lines = [
    "ClusterName=berth",
    `SlurmctldHost=${host}(127.0.0.1)`,
    `SlurmctldPort=${controller}`,
    "SlurmUser=root",
    "SlurmdUser=root",
    "AuthType=auth/munge",
    `AuthInfo=socket=${folder}/munge/socket`,
    "CredType=cred/munge",
    `StateSaveLocation=${folder}/state`,
    `SlurmdSpoolDir=${folder}/spool/%n`,
    `SlurmctldPidFile=${folder}/slurmctld.pid`,
    `SlurmdPidFile=${folder}/slurmd-%n.pid`,
    `SlurmctldLogFile=${folder}/slurmctld.log`,
    `SlurmdLogFile=${folder}/slurmd-%n.log`,
    `ProctrackType=proctrack/${isV1 ? "cgroup" : "pgid"}`,
    `TaskPlugin=task/${isV1 ? "cgroup" : "none"}`,
    "SelectType=select/cons_tres",
    "SelectTypeParameters=CR_CPU_Memory",
    "SlurmdParameters=config_overrides",
    "SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0",
    "ReturnToService=2",
    "MessageTimeout=3",
    "MpiDefault=none",
    "GresTypes=gpu",
    `NodeName=c1 NodeHostname=${host} NodeAddr=127.0.0.1 Port=${first} CPUs=4 RealMemory=2000`,
    `NodeName=c2 NodeHostname=${host} NodeAddr=127.0.0.1 Port=${second} CPUs=4 RealMemory=1000 Gres=gpu:2`,
    "PartitionName=market Nodes=c1,c2 Default=YES MaxTime=60 State=UP",
  ];
  writeFileSync(conf, `${lines.join("\n")}\n`);
  writeFileSync(join(folder, "gres.conf"), `NodeName=c2 Name=gpu File=${gpus.join(",")}\n`);
  writeFileSync(join(folder, "cgroup.conf"), isV1 ? "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n" : "");
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function removeTree(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(folder, entry.name));
  }
  try {
    rmdirSync(folder);
  } catch {
    // another cluster's job is in it
  }
}

/** Has the process a file below `folder` open, or its environment a path there? */
function uses(pid: number, folder: string): boolean {
  try {
    const files = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    return [...files, readFileSync(`/proc/${pid}/environ`, "latin1")].some((text) => text.includes(`${folder}/`));
  } catch {
    return false; // it has ended
  }
}

/** The running processes of `program` whose command line has `word` in it. */
export function processesWith(word: string, program: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "latin1");
        return line.includes(word) && line.split("\0")[0]?.endsWith(program) ? [Number(pid)] : [];
      } catch {
        return [];
      }
    });
}
