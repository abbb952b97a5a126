import { randomUUID } from "node:crypto";
import { constants } from "node:fs";
import { access, open, readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { command } from "../engine/command.ts";
import type { BackendKind } from "./backend.ts";
import { interfaceName } from "./interface-name.ts";

/** What matters on this machine for a mesh, each found by trying. */
export interface MeshFacts {
  netAdmin: boolean;
  ip: boolean;
  wg: boolean;
  kernelWireGuard: boolean;
  tun: boolean;
  wireguardGo: boolean;
}

/** The back-end to use, or none; always with the reason, and with what to do where there is none. */
export interface Detection {
  backend: BackendKind | undefined;
  reason: string;
  fix?: string;
}

/** Finds out which back-end works here. Makes a kernel interface with a name of its own and removes it at once. */
export async function detectBackend(signal: AbortSignal): Promise<Detection> {
  return chooseBackend(await gatherFacts(signal));
}

/** The kernel where it can, `wireguard-go` where not. Pure. */
export function chooseBackend(facts: MeshFacts): Detection {
  if (!facts.netAdmin) {
    return none("this process lacks CAP_NET_ADMIN and cannot make network interfaces", RUN_AS_ROOT);
  }
  if (!facts.ip) return none("the program `ip` is not installed", "Install it: apt-get install iproute2");
  if (!facts.wg) return none("the program `wg` is not installed", "Install it: apt-get install wireguard-tools");
  if (facts.kernelWireGuard) return { backend: "kernel", reason: "the kernel has WireGuard" };
  if (!facts.tun) return none("the kernel has no WireGuard and /dev/net/tun cannot be opened", GIVE_TUN);
  if (!facts.wireguardGo) {
    return none("the kernel has no WireGuard and wireguard-go is not installed", INSTALL_WIREGUARD_GO);
  }
  return { backend: "userspace", reason: "the kernel has no WireGuard; wireguard-go and /dev/net/tun are there" };
}

async function gatherFacts(signal: AbortSignal): Promise<MeshFacts> {
  const [netAdmin, ip, wg, wireguardGo, tun] = await Promise.all([
    hasNetAdmin(),
    isInstalled("ip"),
    isInstalled("wg"),
    isInstalled("wireguard-go"),
    opens("/dev/net/tun"),
  ]);
  return { netAdmin, ip, wg, wireguardGo, tun, kernelWireGuard: ip && netAdmin && (await kernelHasWireGuard(signal)) };
}

async function kernelHasWireGuard(signal: AbortSignal): Promise<boolean> {
  const name = interfaceName(randomUUID(), 0);
  const made = await command("ip", ["link", "add", "dev", name, "type", "wireguard"], { signal });
  if (made.exitCode !== 0) return false;
  await command("ip", ["link", "del", "dev", name], { signal: AbortSignal.timeout(5000) });
  return true;
}

async function hasNetAdmin(): Promise<boolean> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0";
  return ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

async function isInstalled(program: string): Promise<boolean> {
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const found = await access(join(folder, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}

async function opens(path: string): Promise<boolean> {
  try {
    await (await open(path, "r+")).close();
    return true;
  } catch {
    return false;
  }
}

function none(reason: string, fix: string): Detection {
  return { backend: undefined, reason, fix };
}

const CAP_NET_ADMIN = 12n;
const RUN_AS_ROOT = "Run the node as root or give it CAP_NET_ADMIN, or switch the mesh off in its configuration.";
const GIVE_TUN = "Load the module (modprobe wireguard, or modprobe tun), or pass /dev/net/tun to this container.";
const INSTALL_WIREGUARD_GO = "Install it: apt-get install wireguard-go; or load the kernel's: modprobe wireguard";
