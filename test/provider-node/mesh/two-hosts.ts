import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Hex } from "@berth/protocol";
import { interfaceName } from "../../../provider-node/src/mesh/interface-name.ts";
import { socketPath } from "../../../provider-node/src/mesh/ledger.ts";
import type { MeshOptions, MeshStatus } from "../../../provider-node/src/mesh/mesh.ts";
import type { MeshNode } from "../../../provider-node/src/mesh/peers.ts";
import { findByCommand } from "../../../provider-node/src/process-id.ts";

/** A network namespace with an underlay address, in which nodes can be started and killed. */
export interface Host {
  namespace: string;
  underlay: string;
  name: string;
  options: Omit<MeshOptions, "signal" | "log">;
  /** Starts a node process; `start` begins its mesh. */
  spawn(): NodeProcess;
  /** Runs a command in the namespace and returns its stdout; throws when it fails. */
  run(...command: string[]): string;
  /** Does the namespace have the mesh interface? */
  hasInterface(): boolean;
  /** Process ids of the wireguard-go daemons that serve this interface's name. */
  daemons(): Promise<number[]>;
  hasSocket(): boolean;
}

export interface StartedMesh {
  address: string;
  publicKey: string;
  wgKey: Hex;
  backend: string;
}

/** The mesh of a node in another process. */
export interface NodeProcess {
  start(but?: Partial<Host["options"]>): Promise<StartedMesh>;
  applyNodes(nodes: MeshNode[]): Promise<void>;
  ping(address: string): Promise<number | undefined>;
  status(): Promise<MeshStatus>;
  abort(): Promise<void>;
  stop(): Promise<void>;
  /** Ends the process as a power cut would. */
  kill9(): Promise<void>;
}

/** Two network namespaces joined by a cable, and a folder that all state lives in. `end` takes everything away. */
export async function twoHosts(): Promise<{ hosts: [Host, Host]; end: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "berth-mesh-test-"));
  const run = folder.slice(-6);
  const children: ChildProcess[] = [];
  const hosts = [0, 1].map((index) => host(run, index, folder, children)) as [Host, Host];
  const end = async () => {
    for (const child of children) await endChild(child);
    for (const { name, namespace, daemons } of hosts) {
      for (const pid of await daemons()) process.kill(pid, "SIGKILL");
      await rm(socketPath(name), { force: true });
      execFileSync("ip", ["netns", "del", namespace], { stdio: "ignore" });
    }
    await rm(folder, { recursive: true, force: true });
  };
  for (const { namespace } of hosts) ip("netns", "add", namespace);
  try {
    const [a, b] = hosts;
    ip("link", "add", "eth0", "netns", a.namespace, "type", "veth", "peer", "name", "eth0", "netns", b.namespace);
    for (const { namespace, underlay } of hosts) {
      ip("-n", namespace, "address", "add", `${underlay}/24`, "dev", "eth0");
      for (const device of ["lo", "eth0"]) ip("-n", namespace, "link", "set", device, "up");
    }
  } catch (error) {
    await end();
    throw error;
  }
  return { hosts, end };
}

function host(run: string, index: number, folder: string, children: ChildProcess[]): Host {
  const namespace = `berth-mesh-${run}-${index}`;
  const name = interfaceName(run, index);
  const stateDir = join(folder, String(index));
  const inside = [`--net=/run/netns/${namespace}`];
  const options = {
    interfaceName: name,
    keyFile: join(stateDir, "wg.key"),
    listenPort: 51_820,
    prefix56: index === 0 ? 0x0a000000000100n : 0xb0000000000000n,
    stateDir,
    allowPrivateEndpoints: true,
  };
  return {
    namespace,
    underlay: `10.231.7.${index + 1}`,
    name,
    options,
    spawn: () => {
      const child = spawn("nsenter", [...inside, process.execPath, join(import.meta.dirname, "mesh-child.ts")], {
        stdio: ["ignore", "ignore", "inherit", "ipc"],
        serialization: "advanced",
      });
      children.push(child);
      return nodeProcess(child, options);
    },
    run: (...command) => execFileSync("nsenter", [...inside, ...command], { encoding: "utf8" }),
    hasInterface: () => ip("-n", namespace, "-brief", "link", "show").includes(name),
    daemons: async () => (await findByCommand("wireguard-go", ["-f", name])).map(({ pid }) => pid),
    hasSocket: () => existsSync(socketPath(name)),
  };
}

function nodeProcess(child: ChildProcess, options: Host["options"]): NodeProcess {
  const call = async (method: string, ...args: unknown[]): Promise<unknown> => {
    const answered = new AbortController();
    const answer = once(child, "message", answered);
    const death = once(child, "exit", answered).then(() => Promise.reject(new Error(`the node died in ${method}`)));
    try {
      child.send({ method, args });
      const [{ value, error }] = (await Promise.race([answer, death])) as [{ value?: unknown; error?: string }];
      if (error !== undefined) throw new Error(error);
      return value;
    } finally {
      answered.abort();
      await Promise.allSettled([answer, death]);
    }
  };
  return {
    start: (but) => call("start", { ...options, ...but }) as Promise<StartedMesh>,
    applyNodes: async (nodes) => void (await call("applyNodes", nodes)),
    ping: (address) => call("ping", address) as Promise<number | undefined>,
    status: () => call("status") as Promise<MeshStatus>,
    abort: async () => void (await call("abort")),
    stop: async () => void (await call("stop")),
    kill9: () => endChild(child),
  };
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGKILL");
  await exit;
}

function ip(...args: string[]): string {
  return execFileSync("ip", args, { encoding: "utf8" });
}
