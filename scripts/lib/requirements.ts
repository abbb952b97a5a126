import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { execa } from "execa";

/** Something that the stack needs from this machine and that is not there. */
export interface Missing {
  what: string;
  /** What does not work without it. */
  cost: string;
  /** How to get it. */
  fix: string;
  /** Can the stack start without it? */
  fatal: boolean;
}

/** What this machine lacks to run nodes. Asked by trying, where a try is cheap. */
export async function missingRequirements(): Promise<Missing[]> {
  const missing: Missing[] = [];
  if (process.getuid?.() !== 0) {
    missing.push({
      what: "root",
      cost: "no network namespaces, so no provider nodes; the chain, the indexer and the client work",
      fix: "run it as root (sudo), or start chain and indexer alone: npm run devnet -- --nodes 0",
      fatal: true,
    });
  }
  for (const [program, pkg, cost] of programs) {
    if (!onPath(program))
      missing.push({ what: program, cost, fix: `apt-get install --no-install-recommends ${pkg}`, fatal: true });
  }
  const mesh = await whyNoMesh();
  if (mesh) missing.push(mesh);
  if (!onPath("swtpm") || !onPath("tpm2_quote")) {
    missing.push({
      what: "swtpm and tpm2-tools",
      cost: "no attestation: nodes run jobs, but attach no evidence",
      fix: "apt-get install --no-install-recommends swtpm swtpm-tools tpm2-tools",
      fatal: false,
    });
  }
  return missing;
}

const programs = [
  ["ip", "iproute2", "no network namespaces, so no provider nodes"],
  ["nsenter", "util-linux", "no network namespaces, so no provider nodes"],
  ["nft", "nftables", "the run's network would be open to others, so no provider nodes"],
  ["podman", "podman runc conmon", "nodes cannot run containers"],
  ["runc", "runc", "nodes cannot run containers"],
] as const;

async function whyNoMesh(): Promise<Missing | undefined> {
  const cost = "the mesh is off: nodes run jobs, but have no private network";
  if (!onPath("wg")) {
    const fix = "apt-get install --no-install-recommends wireguard-tools wireguard-go";
    return { what: "wireguard-tools", cost, fix, fatal: false };
  }
  if (await kernelHasWireGuard()) return undefined;
  if (!onPath("wireguard-go")) {
    const fix = "apt-get install --no-install-recommends wireguard-go, or a kernel with WireGuard";
    return { what: "WireGuard in the kernel, or wireguard-go", cost, fix, fatal: false };
  }
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
  } catch {
    return {
      what: "/dev/net/tun",
      cost,
      fix: "modprobe tun, or give the container --device /dev/net/tun",
      fatal: false,
    };
  }
  return undefined;
}

async function kernelHasWireGuard(): Promise<boolean> {
  const name = `bwg${process.pid.toString(36)}`;
  const added = await execa("ip", ["link", "add", name, "type", "wireguard"], { reject: false });
  if (added.exitCode !== 0) return false;
  await execa("ip", ["link", "del", name], { reject: false });
  return true;
}

function onPath(program: string): boolean {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
