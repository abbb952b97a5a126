import { type Hex, meshSubnet, type UnixSeconds } from "@berth/protocol";
import { endpointCheck } from "./endpoint.ts";
import { keyFromHex } from "./keys.ts";

/** A node as the registry lists it. */
export interface MeshNode {
  nodeId: string;
  /** WireGuard public key, 32 bytes. */
  wgKey: Hex;
  prefix56: bigint;
  /** `host:port` with a literal address; empty: the node dials us. */
  endpoint: string;
  /** The last second in which the registration counts. */
  validTo: UnixSeconds;
  revoked: boolean;
}

/** A peer as WireGuard is told about it. */
export interface MeshPeer {
  /** Base64. */
  publicKey: string;
  /** The peer's own /64 and nothing else. */
  allowedIps: string[];
  endpoint?: string;
}

/** A registered node that is not a peer of ours, and why. */
export interface RejectedNode {
  nodeId: string;
  reason: string;
}

export interface PeerPolicy {
  self: { wgKey: Hex; prefix56: bigint };
  now: UnixSeconds;
  allowPrivateEndpoints: boolean;
}

/** Peers that should exist, the node behind each key, and those left out although they are registered and valid. */
export interface DesiredPeers {
  peers: MeshPeer[];
  nodeIds: Map<string, string>;
  rejected: RejectedNode[];
}

/**
 * Which peers we should have. `nodes` come in the order of their registration: where two claim one key or one prefix, the
 * first keeps it, and we keep our own. AllowedIPs are computed here from the prefix, never taken from a peer, because in
 * WireGuard the last claim to an address wins.
 */
export function desiredPeers(
  nodes: readonly MeshNode[],
  { self, now, allowPrivateEndpoints }: PeerPolicy,
): DesiredPeers {
  const live = nodes.filter((node) => !node.revoked && node.validTo >= now && !isSelf(node, self));
  const meshPrefixes = [self.prefix56, ...live.map((node) => node.prefix56)];
  const refuse = endpointCheck({ allowPrivateEndpoints, meshPrefixes });
  const keys = new Set([self.wgKey.toLowerCase()]);
  const prefixes = new Set([self.prefix56]);
  const desired: DesiredPeers = { peers: [], nodeIds: new Map(), rejected: [] };

  for (const { nodeId, wgKey, prefix56, endpoint } of live) {
    const key = wgKey.toLowerCase() as Hex;
    const reason = claimProblem() ?? (endpoint === "" ? undefined : refuse(endpoint));
    if (reason !== undefined) {
      desired.rejected.push({ nodeId, reason });
      continue;
    }
    keys.add(key);
    prefixes.add(prefix56);
    const publicKey = keyFromHex(key);
    const peer = { publicKey, allowedIps: [meshSubnet(prefix56)] };
    desired.peers.push(endpoint === "" ? peer : { ...peer, endpoint });
    desired.nodeIds.set(publicKey, nodeId);

    function claimProblem(): string | undefined {
      if (!/^0x[0-9a-f]{64}$/.test(key) || /^0x0+$/.test(key)) return "it has no WireGuard key";
      if (keys.has(key)) return "its WireGuard key belongs to another node";
      if (prefixes.has(prefix56)) return "its mesh prefix belongs to another node";
      return undefined;
    }
  }
  return desired;
}

/** When the next valid registration ends, if any: peers must be worked out again just after. */
export function nextExpiry(nodes: readonly MeshNode[], now: UnixSeconds): UnixSeconds | undefined {
  const ends = nodes.filter((node) => !node.revoked && node.validTo >= now).map((node) => node.validTo);
  return ends.length === 0 ? undefined : ends.reduce((a, b) => Math.min(a, b));
}

/** Steps from one set of peers to another, to be applied in this order: remove, change, add. */
export interface PeerDiff {
  /** Public keys. */
  remove: string[];
  /** Peers that stay but differ. The endpoint is there only where it is new: the peer may have moved on from the old. */
  change: MeshPeer[];
  add: MeshPeer[];
}

/** What turns `current` into `desired`. A peer that loses its endpoint is made anew: WireGuard cannot forget one. */
export function diffPeers(current: readonly MeshPeer[], desired: readonly MeshPeer[]): PeerDiff {
  const before = new Map(current.map((peer) => [peer.publicKey, peer]));
  const after = new Set(desired.map((peer) => peer.publicKey));
  const diff: PeerDiff = { remove: [...before.keys()].filter((key) => !after.has(key)), change: [], add: [] };
  for (const peer of desired) {
    const old = before.get(peer.publicKey);
    const forgets = old?.endpoint !== undefined && peer.endpoint === undefined;
    if (forgets) diff.remove.push(peer.publicKey);
    if (!old || forgets) {
      diff.add.push(peer);
      continue;
    }
    const moved = !sameSet(old.allowedIps, peer.allowedIps);
    const redirected = peer.endpoint !== undefined && old.endpoint !== peer.endpoint;
    const { publicKey, allowedIps } = peer;
    if (redirected) diff.change.push(peer);
    else if (moved) diff.change.push({ publicKey, allowedIps });
  }
  return diff;
}

function isSelf(node: MeshNode, self: PeerPolicy["self"]): boolean {
  return node.wgKey.toLowerCase() === self.wgKey.toLowerCase() && node.prefix56 === self.prefix56;
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item) => b.includes(item));
}
