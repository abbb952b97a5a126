import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { execa } from "execa";
import { isAlive, type ProcessRef, processRef } from "../../scripts/lib/processes.ts";
import type { Made } from "../../scripts/lib/run-ledger.ts";
import { waitFor } from "../../scripts/lib/wait.ts";
import type { Market } from "./e2e.ts";

const root = join(import.meta.dirname, "..", "..");

/** Runs podman on a node's own store, the way an operator would look into it. */
async function podman(dataDir: string, ...args: string[]): Promise<string> {
  const home = realpathSync(dataDir);
  const run = runFolderOf(dataDir);
  const conf = join(home, "engine", "conf");
  const places = [
    `--root=${join(home, "engine", "store")}`,
    `--runroot=${join(run, "r")}`,
    `--tmpdir=${join(run, "t")}`,
    "--cgroup-manager=cgroupfs",
  ];
  const { stdout } = await execa("podman", [...places, ...args], {
    env: { CONTAINERS_CONF: join(conf, "containers.conf"), CONTAINERS_STORAGE_CONF: join(conf, "storage.conf") },
  });
  return stdout;
}

/** What `podman inspect` says, as far as the tests look at it. */
export interface Inspected {
  Id: string;
  ImageDigest: string;
  EffectiveCaps: string[] | null;
  State: { Status: string; Pid: number; ConmonPid: number; StartedAt: string };
  Config: { Labels: Record<string, string> };
  HostConfig: {
    CapAdd: string[];
    CapDrop: string[];
    SecurityOpt: string[];
    ReadonlyRootfs: boolean;
    NetworkMode: string;
    Memory: number;
    MemorySwap: number;
    PidsLimit: number;
    NanoCpus: number;
    Privileged: boolean;
    IDMappings: { UidMap: string[]; GidMap: string[] };
    Tmpfs: Record<string, string>;
    RestartPolicy: { Name: string };
  };
  Mounts: { Source: string; Destination: string; RW: boolean; Options: string[] }[];
}

/** The node's only container of `jobId`. */
export async function inspectJob(dataDir: string, jobId: string): Promise<Inspected> {
  const found = await containerOf(dataDir, jobId);
  if (found === undefined) throw new Error(`There is no container of ${jobId}.`);
  return found;
}

/** Undefined while there is none; a second one is an error. */
async function containerOf(dataDir: string, jobId: string): Promise<Inspected | undefined> {
  const listed = await podman(dataDir, "ps", "--all", "--quiet", `--filter=label=berth.job=${jobId}`);
  const ids = listed.split("\n").filter(Boolean);
  if (ids.length > 1) throw new Error(`${ids.length} containers of ${jobId}: ${ids.join(" ")}`);
  if (ids.length === 0) return undefined;
  return (JSON.parse(await podman(dataDir, "container", "inspect", ...ids)) as Inspected[])[0];
}

/** The node's container of `jobId` as soon as podman says that it runs. */
export async function inspectRunning(dataDir: string, jobId: string): Promise<Inspected> {
  return await waitFor("the running container", async () => {
    const found = await containerOf(dataDir, jobId);
    return found?.State.Status === "running" ? found : undefined;
  });
}

/** A field of /proc/PID/status. */
export function statusOf(pid: number, field: string): string | undefined {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return new RegExp(`^${field}:\\s*(.*)$`, "m").exec(text)?.[1];
}

export function isRunning(pid: number): boolean {
  return processRef(pid) !== undefined;
}

/** WireGuard as the kernel or wireguard-go runs it in a namespace. */
export interface WireGuard {
  interfaceName: string;
  publicKey: string;
  peers: { publicKey: string; endpoint: string; allowedIps: string; handshakeAt: number }[];
  addresses: string[];
  /** Destinations that are routed into it. */
  routes: string[];
}

/** What `wg show` and `ip` say inside a node's network namespace. */
export async function wireGuardOf(namespace: string): Promise<WireGuard> {
  const inside = (file: string, ...args: string[]) =>
    execa("nsenter", [`--net=/run/netns/${namespace}`, file, ...args]).then(({ stdout }) => stdout);
  // wireguard-go's sockets are seen from every namespace, so `wg show` alone would list the other nodes' as well.
  const links = JSON.parse(await inside("ip", "-json", "link")) as { ifname: string }[];
  const interfaceName = links.find(({ ifname }) => !["lo", "eth0"].includes(ifname))?.ifname;
  if (interfaceName === undefined) throw new Error(`no mesh interface in ${namespace}`);
  const dump = await inside("wg", "show", interfaceName, "dump");
  const [own = [], ...peers] = dump.split("\n").map((line) => line.split("\t"));
  const [, publicKey = ""] = own;
  const shown = JSON.parse(await inside("ip", "-6", "-json", "addr", "show", "dev", interfaceName)) as {
    addr_info: { local: string; prefixlen: number; scope: string }[];
  }[];
  const routes = JSON.parse(await inside("ip", "-6", "-json", "route", "show", "dev", interfaceName)) as {
    dst: string;
  }[];
  return {
    interfaceName,
    publicKey,
    routes: routes.map(({ dst }) => dst),
    peers: peers.map(([key = "", , endpoint = "", allowedIps = "", handshake = "0"]) => ({
      publicKey: key,
      endpoint,
      allowedIps,
      handshakeAt: Number(handshake),
    })),
    addresses: shown.flatMap(({ addr_info }) =>
      addr_info.filter(({ scope }) => scope === "global").map(({ local, prefixlen }) => `${local}/${prefixlen}`),
    ),
  };
}

/** Everything by which a run could be seen on this machine, noted while it lives. */
export interface Traces {
  id: string;
  folder: string;
  /** Paths that are to go, with the run's own folder. */
  paths: string[];
  engineIds: string[];
  /** Inodes of the run's network namespaces. */
  namespaces: string[];
  processes: ProcessRef[];
}

/** Notes what a run has made, from its ledger and from the machine itself. Call it while the run lives. */
export function tracesOf(folder: string): Traces {
  const id = folder.split("/").at(-1) ?? "";
  const made = readFileSync(join(folder, "ledger.jsonl"), "utf8")
    .split("\n")
    .flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Made]));
  const nodeFolders = made.flatMap((entry) => (entry.kind === "node-data" ? [entry.folder] : []));
  const engineIds = nodeFolders.map(engineIdOf);
  const netns = made.flatMap((entry) => (entry.kind === "namespace" ? [`/run/netns/${entry.name}`] : []));
  const namespaces = netns.flatMap(inodeOf);
  const folders = made.flatMap((entry) => (entry.kind === "folder" ? [entry.folder] : []));
  const traces: Traces = {
    id,
    folder,
    paths: [
      folder,
      ...folders,
      ...netns,
      ...nodeFolders.map(runFolderOf),
      join(root, "ignition", "deployments", `run-${id}`),
    ],
    engineIds,
    namespaces,
    processes: [],
  };
  const owner = made.find((entry) => entry.kind === "owner")?.process.pid;
  const processes = belonging(traces).filter((pid) => pid !== owner && pid !== process.pid);
  return { ...traces, processes: processes.flatMap((pid) => processRef(pid) ?? []) };
}

/** The same for a run of this process. */
export function tracesOfMarket({ devnet }: Market): Traces {
  return tracesOf(devnet.folder);
}

/** What is still there of a run, in words; empty when nothing is. */
export async function leftOf(traces: Traces): Promise<string[]> {
  const { id, folder, paths, engineIds, processes } = traces;
  const [links, tables, netns] = await Promise.all([
    execa("ip", ["-o", "link"]).then(({ stdout }) => stdout.split("\n")),
    execa("nft", ["list", "tables"]).then(({ stdout }) => stdout.split("\n")),
    execa("ip", ["netns", "list"]).then(({ stdout }) => stdout.split("\n")),
  ]);
  const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  const named = (kind: string, lines: string[], part: string) =>
    lines.filter((line) => line.includes(part)).map((line) => `${kind}: ${line}`);
  return [
    ...named("link", links, id),
    ...named("nft table", tables, `berth_${id}`),
    ...named("namespace", netns, `berth-${id}`),
    ...named("mount", mounts, folder),
    ...named("mount", mounts, `berth-${id}`),
    ...engineIds.flatMap((engine) => [
      ...named("mount", mounts, engine),
      ...cgroupsOf(engine).map((at) => `cgroup: ${at}`),
    ]),
    ...paths.filter((path) => existsSync(path)).map((path) => `path: ${path}`),
    // One without a command line has given its memory back already: it is at its very end.
    ...[...processes.filter(isAlive).map(({ pid }) => pid), ...belonging(traces)]
      .map((pid) => ({ pid, command: commandOf(pid) }))
      .filter(({ command }) => command !== "")
      .map(({ pid, command }) => `process: ${pid} ${command}`),
  ];
}

/** Processes that show the run in their command line, their cgroup or their network namespace. */
function belonging({ folder, paths, engineIds, namespaces }: Traces): number[] {
  const marks = [folder, ...paths];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      if (pid === process.pid) return false;
      try {
        const command = commandOf(pid);
        if (marks.some((mark) => command.includes(mark))) return true;
        const cgroups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
        if (engineIds.some((engine) => cgroups.includes(`berth-${engine}`))) return true;
        return namespaces.includes(readlinkSync(`/proc/${pid}/ns/net`));
      } catch {
        return false; // it ended meanwhile
      }
    });
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

function cgroupsOf(engineId: string): string[] {
  const base = "/sys/fs/cgroup";
  const controllers = readdirSync(base, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return [base, ...controllers.map(({ name }) => join(base, name))]
    .map((at) => join(at, `berth-${engineId}`))
    .filter((path) => existsSync(path));
}

/** How the engine names what it makes for the data folder of a node. The ledger names a folder before it is there. */
function engineIdOf(dataDir: string): string {
  const real = join(realpathSync(dirname(dataDir)), basename(dataDir));
  return createHash("sha256").update(real).digest("hex").slice(0, 12);
}

function runFolderOf(dataDir: string): string {
  return join("/run/berth", engineIdOf(dataDir));
}

function inodeOf(path: string): string[] {
  try {
    return [`net:[${statSync(path).ino}]`];
  } catch {
    return [];
  }
}
