import { type Hex, meshSubnet } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { keyFromHex } from "../../../provider-node/src/mesh/keys.ts";
import { desiredPeers, diffPeers, type MeshNode, type MeshPeer } from "../../../provider-node/src/mesh/peers.ts";

/** Few keys and prefixes, so that claims collide. */
const nodes: fc.Arbitrary<MeshNode[]> = fc.array(
  fc.record({
    nodeId: fc.string({ minLength: 1, maxLength: 3 }),
    wgKey: fc.integer({ min: 0, max: 6 }).map((n): Hex => `0x${n.toString(16).padStart(64, "0")}`),
    prefix56: fc.bigInt({ min: 0n, max: 6n }),
    endpoint: fc.constantFrom("", "1.2.3.4:5", "1.2.3.5:5", "10.0.0.1:5", "[fd00:0:0:2::9]:5", "127.0.0.1:5", "x"),
    validTo: fc.integer({ min: 98, max: 102 }),
    revoked: fc.boolean(),
  }),
  { maxLength: 12 },
);
const policy = { self: { wgKey: `0x${"9".repeat(64)}` as Hex, prefix56: 3n }, now: 100, allowPrivateEndpoints: false };
const peersOf = (list: MeshNode[]) => desiredPeers(list, policy).peers;

describe("mesh peers, whatever the registry holds", () => {
  it("never gives a peer addresses outside its own /64, nor two peers the same", () => {
    fc.assert(
      fc.property(nodes, (list) => {
        const { peers, nodeIds } = desiredPeers(list, policy);
        for (const { publicKey, allowedIps } of peers) {
          const owners = list.filter((node) => keyFromHex(node.wgKey) === publicKey);
          expect(owners.map((node) => meshSubnet(node.prefix56))).to.include(allowedIps[0]);
          expect(owners.map((node) => node.nodeId)).to.include(nodeIds.get(publicKey));
          expect(allowedIps.length).to.equal(1);
          expect(allowedIps[0]).to.not.equal(meshSubnet(policy.self.prefix56));
        }
        expect(new Set(peers.flatMap((peer) => peer.allowedIps)).size).to.equal(peers.length);
        expect(new Set(peers.map((peer) => peer.publicKey)).size).to.equal(peers.length);
      }),
    );
  });

  it("is not disturbed by anyone who registers later", () => {
    fc.assert(
      fc.property(nodes, nodes, (before, later) => {
        expect(peersOf([...before, ...later])).to.deep.include.members(peersOf(before));
      }),
    );
  });

  it("reaches the wanted peers from any others, in WireGuard's own rules", () => {
    fc.assert(
      fc.property(nodes, nodes, (from, to) => {
        const wanted = peersOf(to);
        expect(apply(peersOf(from), wanted)).to.deep.equal(byKey(wanted));
      }),
    );
  });
});

/** Applies the diff as WireGuard does: one step after the other, and a claimed address leaves its former owner. */
function apply(current: MeshPeer[], wanted: MeshPeer[]): Record<string, MeshPeer> {
  const table = new Map(current.map((peer) => [peer.publicKey, { ...peer, allowedIps: [...peer.allowedIps] }]));
  const { remove, change, add } = diffPeers(current, wanted);
  for (const key of remove) table.delete(key);
  for (const { publicKey, allowedIps, endpoint } of [...change, ...add]) {
    const peer = table.get(publicKey) ?? { publicKey, allowedIps: [] };
    for (const other of table.values()) other.allowedIps = other.allowedIps.filter((ip) => !allowedIps.includes(ip));
    peer.allowedIps = [...allowedIps];
    if (endpoint !== undefined) peer.endpoint = endpoint;
    table.set(publicKey, peer);
  }
  return byKey([...table.values()]);
}

function byKey(peers: MeshPeer[]): Record<string, MeshPeer> {
  return Object.fromEntries(peers.map((peer) => [peer.publicKey, peer]));
}
