import type { Context } from "../log.ts";
import type { MeshPeer } from "./peers.ts";

/** Who carries the packets: the kernel's own WireGuard, or a `wireguard-go` process. */
export type BackendKind = "kernel" | "userspace";

/** A WireGuard interface in the network namespace of this process, from `create` until `remove`. */
export interface MeshBackend {
  readonly kind: BackendKind;
  /** Makes the interface, down and without a key. */
  create(interfaceName: string, context: Context): Promise<MeshDevice>;
}

/** What can be done with the interface. Every method may be repeated. */
export interface MeshDevice {
  readonly interfaceName: string;
  /** Process id of the daemon behind the interface, where there is one. */
  readonly pid: number | undefined;
  /** Fulfilled with what happened when the interface is lost without `remove`; never for the kernel's own. */
  readonly lost: Promise<string>;
  /** Loads the private key from its file (it never appears in an argument) and listens on the UDP port; 0: any. */
  setKey(keyFile: string, listenPort: number): Promise<void>;
  /** Gives the interface its address (with prefix length) and brings it up. */
  setAddress(cidr: string): Promise<void>;
  /** Makes the peers and the routes to them exactly these. An unchanged peer keeps its session and learnt endpoint. */
  syncPeers(desired: readonly MeshPeer[]): Promise<void>;
  /** Sends every peer's endpoint to WireGuard again, so that it forgets the local address it used. */
  refreshEndpoints(): Promise<void>;
  dump(): Promise<DeviceState>;
  /** Takes the interface, its daemon and its socket away. */
  remove(): Promise<void>;
}

export interface DeviceState {
  publicKey: string;
  listenPort: number;
  peers: PeerState[];
}

/** A peer as WireGuard reports it. */
export interface PeerState {
  publicKey: string;
  /** Where its packets last came from, or where we were told to send. */
  endpoint?: string;
  allowedIps: string[];
  /** Unix seconds; 0 before the first handshake. */
  latestHandshake: number;
  rxBytes: bigint;
  txBytes: bigint;
}
