import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { mustRun } from "../engine/command.ts";
import type { DeviceState, MeshDevice, PeerState } from "./backend.ts";
import { diffPeers, type MeshPeer } from "./peers.ts";

/** Bytes of a packet inside the tunnel: 1500 less the 80 that WireGuard adds over IPv6. */
export const MESH_MTU = 1420;

/** The part of a device that `wg` and `ip` do alike for both back-ends. */
export type CommonDevice = Omit<MeshDevice, "pid" | "lost" | "remove">;

/** Controls the existing interface `interfaceName`. `stateDir` holds the file that new peers are handed over in. */
export function controlDevice(interfaceName: string, stateDir: string, signal: AbortSignal): CommonDevice {
  /** The endpoint last handed over for each key: what WireGuard shows instead may be where the peer has moved to. */
  const handedOver = new Map<string, string>();
  const wg = (...args: string[]) => runTool("wg", args, `Setting up WireGuard on ${interfaceName}`, signal);
  const ip = (...args: string[]) => runTool("ip", args, `Setting up the interface ${interfaceName}`, signal);
  const dump = async () => parseDump(await wg("show", interfaceName, "dump"));

  return {
    interfaceName,
    dump,
    setKey: async (keyFile, listenPort) => {
      await wg("set", interfaceName, "private-key", keyFile, "listen-port", String(listenPort));
    },
    setAddress: async (cidr) => {
      await ip("-6", "address", "replace", cidr, "dev", interfaceName, "nodad");
      await ip("link", "set", "dev", interfaceName, "mtu", String(MESH_MTU), "up");
    },
    syncPeers: async (desired) => {
      const current = (await dump()).peers.map(({ publicKey, allowedIps, endpoint }): MeshPeer => {
        const known = handedOver.get(publicKey) ?? endpoint;
        return known === undefined ? { publicKey, allowedIps } : { publicKey, allowedIps, endpoint: known };
      });
      const { remove, change, add } = diffPeers(current, desired);
      for (const keys of chunks(remove, 500)) {
        await wg("set", interfaceName, ...keys.flatMap((key) => ["peer", key, "remove"]));
      }
      if (change.length + add.length > 0) await addPeers([...change, ...add]);
      for (const key of remove) handedOver.delete(key);
      for (const { publicKey, endpoint } of [...change, ...add]) {
        if (endpoint !== undefined) handedOver.set(publicKey, endpoint);
      }
      await syncRoutes(new Set(desired.flatMap((peer) => peer.allowedIps)));
    },
    refreshEndpoints: async () => {
      const { peers } = await dump();
      const known = peers.filter((peer) => peer.endpoint !== undefined);
      if (known.length > 0) await addPeers(known);
    },
  };

  /** Adds or changes peers in one go. Without an endpoint a peer keeps the one it has; its AllowedIPs are replaced. */
  async function addPeers(peers: readonly MeshPeer[]) {
    await throughFile("peers", peers.map(peerSection), (file) => wg("addconf", interfaceName, file));
  }

  /** WireGuard decides which peer a packet goes to; that it comes to WireGuard at all needs a route per /64. */
  async function syncRoutes(wanted: ReadonlySet<string>): Promise<void> {
    const listed = JSON.parse((await ip("-6", "-json", "route", "show", "dev", interfaceName)) || "[]");
    const present = new Set<string>();
    for (const { dst, protocol } of listed as { dst: string; protocol: string }[]) {
      if (protocol === ROUTE_PROTOCOL) present.add(dst);
    }
    const gone = [...present].filter((dst) => !wanted.has(dst)).map((dst) => `route del ${dst} dev ${interfaceName}`);
    const made = [...wanted]
      .filter((dst) => !present.has(dst))
      .map((dst) => `route replace ${dst} dev ${interfaceName} protocol ${ROUTE_PROTOCOL}`);
    if (gone.length + made.length > 0)
      await throughFile("routes", [...gone, ...made], (file) => ip("-6", "-batch", file));
  }

  /** Hands lines over in a file: those of a thousand peers do not fit an argument list. */
  async function throughFile(name: string, lines: readonly string[], use: (file: string) => Promise<unknown>) {
    const file = join(stateDir, `${interfaceName}.${name}`);
    await writeFile(file, `${lines.join("\n")}\n`, { mode: 0o600 });
    try {
      await use(file);
    } finally {
      await rm(file, { force: true });
    }
  }
}

/** Reads `wg show NAME dump`. The private key in its first line is left behind. */
export function parseDump(text: string): DeviceState {
  const [first = "", ...lines] = text.trim().split("\n");
  const [, publicKey = "", listenPort = "0"] = first.split("\t");
  const peers = lines.map((line): PeerState => {
    const [key = "", , endpoint = NONE, allowed = NONE, handshake, rx, tx] = line.split("\t");
    return {
      publicKey: key,
      ...(endpoint === NONE ? {} : { endpoint }),
      allowedIps: allowed === NONE ? [] : allowed.split(","),
      latestHandshake: Number(handshake ?? 0),
      rxBytes: BigInt(rx ?? 0),
      txBytes: BigInt(tx ?? 0),
    };
  });
  return { publicKey, listenPort: Number(listenPort), peers };
}

/** Runs a tool that must succeed. Throws MarketError MESH_TOOL_FAILED with its last words. */
export function runTool(file: string, args: readonly string[], doing: string, signal: AbortSignal): Promise<string> {
  return mustRun(file, args, { code: "MESH_TOOL_FAILED", doing, signal });
}

const NONE = "(none)";
/** Marks our routes as set by an administrator, apart from those the kernel makes for the interface's own address. */
const ROUTE_PROTOCOL = "static";

/** `wg addconf` empties the AllowedIPs of a peer whose section does not name them, so they are always named. */
function peerSection({ publicKey, allowedIps, endpoint }: MeshPeer): string {
  const lines = ["[Peer]", `PublicKey = ${publicKey}`, `AllowedIPs = ${allowedIps.join(", ")}`];
  if (endpoint !== undefined) lines.push(`Endpoint = ${endpoint}`);
  return lines.join("\n");
}

function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let start = 0; start < items.length; start += size) yield items.slice(start, start + size);
}
