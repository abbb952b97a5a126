import { mkdir } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { type Hex, MarketError, meshAddress, meshSubnet, type UnixSeconds } from "@berth/protocol";
import { createMutex } from "../attest/mutex.ts";
import { command } from "../engine/command.ts";
import type { Context } from "../log.ts";
import type { BackendKind, MeshBackend, MeshDevice, PeerState } from "./backend.ts";
import { detectBackend } from "./detect.ts";
import { MESH_MTU } from "./device.ts";
import { kernelBackend } from "./kernel.ts";
import { loadOrCreateKey } from "./keys.ts";
import { savedNodes, saveNodes } from "./last-nodes.ts";
import { meshLedger, reapMesh } from "./ledger.ts";
import { type DesiredPeers, desiredPeers, type MeshNode, nextExpiry, type RejectedNode } from "./peers.ts";
import { endpointResolver } from "./resolve.ts";
import { userspaceBackend } from "./userspace.ts";

export interface MeshOptions extends Context {
  /** At most 15 characters, unique on the machine; see `interfaceName`. */
  interfaceName: string;
  keyFile: string;
  /** UDP port of the WireGuard socket; 0: any free one. */
  listenPort: number;
  prefix56: bigint;
  /** Absent: the kernel where it can, `wireguard-go` where not. */
  backend?: BackendKind;
  /** The node's data folder. */
  stateDir: string;
  allowPrivateEndpoints?: boolean;
  now?: () => UnixSeconds;
}

export interface MeshStatus {
  interfaceName: string;
  backend: BackendKind;
  address: string;
  subnet: string;
  publicKey: string;
  listenPort: number;
  mtu: number;
  /** Process id of wireguard-go, where it carries the mesh. */
  daemonPid: number | undefined;
  peers: (PeerState & { nodeId: string | undefined })[];
  /** Registered nodes that are not peers, and why. */
  rejected: RejectedNode[];
}

/** A running mesh. Each method may be called again at any time. */
export interface Mesh {
  readonly address: string;
  readonly publicKey: string;
  /** The public key as the registry stores it. */
  readonly wgKey: Hex;
  readonly backend: BackendKind;
  /**
   * Makes the peers follow the registry, given whole and in the order of registration. What cannot be applied now is
   * applied when the interface is back; meanwhile the last good peers stay.
   */
  applyNodes(nodes: readonly MeshNode[]): Promise<void>;
  status(): Promise<MeshStatus>;
  /** Milliseconds to a mesh address and back; undefined when nothing answers within two seconds. */
  ping(address: string): Promise<number | undefined>;
  /** Takes interface, daemon and socket away, also after `signal` has fired. */
  stop(): Promise<void>;
}

/**
 * Brings the node's mesh interface up in the network namespace of this process, with the peers known last. First takes
 * away what an earlier process of the same `stateDir` left behind. Aborting `signal` ends waits and further changes; the
 * interface stays until `stop`, because jobs may still need it while the node drains.
 * @throws MarketError MESH_UNAVAILABLE when this machine cannot have one; MESH_IN_USE, MESH_INTERFACE_TAKEN,
 * MESH_KEY_EXPOSED, MESH_KEY_INVALID, MESH_DAEMON_FAILED, MESH_TOOL_FAILED
 */
export async function startMesh(options: MeshOptions): Promise<Mesh> {
  const { interfaceName, keyFile, listenPort, prefix56, stateDir, signal, log } = options;
  const { allowPrivateEndpoints = false, now = () => Math.floor(Date.now() / 1000) } = options;
  await mkdir(stateDir, { recursive: true });
  await reapMesh(stateDir, options);
  const { publicKey, wgKey } = await loadOrCreateKey(keyFile);
  const backend = await chooseBackend(options);
  const address = meshAddress(prefix56);

  const exclusive = createMutex();
  const resolve = endpointResolver();
  const ended = new AbortController();
  let nodes: readonly MeshNode[] = await savedNodes(stateDir);
  let applied: DesiredPeers = { peers: [], nodeIds: new Map(), rejected: [] };
  let expiry: NodeJS.Timeout | undefined;
  let device = await bringUp();
  supervise();
  const stopWatching = backend.kind === "userspace" ? watchLocalAddresses(interfaceName, refreshEndpoints) : () => {};
  log.info({ interfaceName, backend: backend.kind, address, peers: applied.peers.length }, "mesh interface up");

  return {
    address,
    publicKey,
    wgKey,
    backend: backend.kind,
    applyNodes: (next) =>
      exclusive(async () => {
        refuseEnded();
        nodes = next.map((node) => ({ ...node }));
        await saveNodes(stateDir, nodes);
        await applyPeers(device);
      }),
    status: async () => {
      refuseEnded();
      const state = await device.dump();
      const peers = state.peers.map((peer) => ({ ...peer, nodeId: applied.nodeIds.get(peer.publicKey) }));
      const { rejected } = applied;
      const about = { interfaceName, backend: backend.kind, address, subnet: meshSubnet(prefix56), publicKey };
      return { ...about, listenPort: state.listenPort, mtu: MESH_MTU, daemonPid: device.pid, peers, rejected };
    },
    ping: (target) => ping(target, signal),
    stop: () => {
      ended.abort();
      clearTimeout(expiry);
      stopWatching();
      return exclusive(async () => {
        await device.remove();
        log.info({ interfaceName }, "mesh interface removed");
      });
    },
  };

  async function bringUp(): Promise<MeshDevice> {
    const made = await backend.create(interfaceName, { signal, log });
    try {
      await made.setKey(keyFile, listenPort);
      await made.setAddress(`${address}/64`);
      await applyPeers(made);
      return made;
    } catch (error) {
      await made.remove();
      throw error;
    }
  }

  /** Turns the registry's word into peers: now, and again when the next registration runs out. */
  async function applyPeers(to: MeshDevice): Promise<void> {
    const policy = { self: { wgKey, prefix56 }, now: now(), allowPrivateEndpoints };
    const desired = desiredPeers(await resolve(nodes), policy);
    await to.syncPeers(desired.peers);
    if (!sameRejections(desired.rejected, applied.rejected)) {
      for (const rejection of desired.rejected) log.warn(rejection, "registered node left out of the mesh");
    }
    applied = desired;
    log.debug({ peers: desired.peers.length, rejected: desired.rejected.length }, "mesh peers applied");
    clearTimeout(expiry);
    const next = nextExpiry(nodes, policy.now);
    if (next === undefined || ended.signal.aborted) return;
    expiry = setTimeout(reapply, Math.min((next + 1 - policy.now) * 1000, MAX_TIMER_MS)).unref();
  }

  function reapply(): void {
    exclusive(async () => {
      if (!ended.signal.aborted) await applyPeers(device);
    }).catch((error: unknown) => log.warn({ err: error }, "mesh peers not applied"));
  }

  function refreshEndpoints(): void {
    exclusive(async () => {
      if (ended.signal.aborted) return;
      await device.refreshEndpoints();
      log.info({ interfaceName }, "mesh endpoints set again after a change of local addresses");
    }).catch((error: unknown) => log.warn({ err: error }, "mesh endpoints not refreshed"));
  }

  /** Brings the interface back whenever it is lost, waiting longer after each failure. */
  function supervise(): void {
    device.lost.then((reason) =>
      exclusive(async () => {
        log.error({ interfaceName, reason }, "mesh interface lost");
        for (
          let waitMs = FIRST_RETRY_MS;
          !ended.signal.aborted && !signal.aborted;
          waitMs = Math.min(2 * waitMs, 30_000)
        ) {
          try {
            await device.remove();
            device = await bringUp();
            log.info({ interfaceName }, "mesh interface restored");
            return supervise();
          } catch (error) {
            log.warn({ err: error, waitMs }, "mesh interface not restored yet");
            await wait(waitMs, undefined, { signal: AbortSignal.any([ended.signal, signal]) }).catch(() => {});
          }
        }
      }),
    );
  }

  function refuseEnded(): void {
    if (ended.signal.aborted) throw new MarketError("MESH_STOPPED", `The mesh interface ${interfaceName} was stopped.`);
  }
}

async function chooseBackend({ backend, stateDir, signal, log }: MeshOptions): Promise<MeshBackend> {
  let kind = backend;
  if (kind === undefined) {
    const found = await detectBackend(signal);
    log.debug(found, "mesh back-end chosen");
    if (found.backend === undefined) {
      throw new MarketError("MESH_UNAVAILABLE", `This machine cannot join the mesh: ${found.reason}.`, {
        hint: found.fix ?? "",
      });
    }
    kind = found.backend;
  }
  const ledger = meshLedger(stateDir);
  return kind === "kernel" ? kernelBackend(stateDir, ledger) : userspaceBackend(stateDir, ledger);
}

async function ping(address: string, signal: AbortSignal): Promise<number | undefined> {
  const { exitCode, stdout } = await command("ping", ["-6", "-n", "-c", "1", "-W", "2", address], { signal });
  const time = /time=([0-9.]+) ms/.exec(stdout)?.[1];
  return exitCode === 0 && time !== undefined ? Number(time) : undefined;
}

/**
 * wireguard-go keeps sending from the local address it first used, also after that has gone, and gives up on it only when
 * a new handshake has failed, some fifteen seconds later. Calls `changed` when the
 * addresses of the other interfaces differ from the last look.
 */
function watchLocalAddresses(interfaceName: string, changed: () => void): () => void {
  const look = () => {
    const addresses = Object.entries(networkInterfaces()).filter(([name]) => name !== interfaceName);
    return addresses.flatMap(([name, list]) => (list ?? []).map(({ cidr }) => `${name} ${cidr}`)).join("\n");
  };
  let before = look();
  const timer = setInterval(() => {
    const after = look();
    if (after === before) return;
    before = after;
    changed();
  }, LOOK_MS).unref();
  return () => clearInterval(timer);
}

function sameRejections(a: readonly RejectedNode[], b: readonly RejectedNode[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

const FIRST_RETRY_MS = 100;
const LOOK_MS = 2000;
/** The longest delay that a timer can hold. */
const MAX_TIMER_MS = 2 ** 31 - 1;
