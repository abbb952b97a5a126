import { type Hex, meshSubnet } from "@berth/protocol";
import { expect } from "chai";
import { keyFromHex } from "../../../provider-node/src/mesh/keys.ts";
import { desiredPeers, diffPeers, type MeshNode, nextExpiry } from "../../../provider-node/src/mesh/peers.ts";

const NOW = 1_800_000_000;
const self = { wgKey: key(1), prefix56: 1n };
const policy = { self, now: NOW, allowPrivateEndpoints: false };

describe("desiredPeers", () => {
  it("gives each valid node its own /64 and endpoint, and leaves ourselves out", () => {
    const nodes = [node(1, { wgKey: self.wgKey }), node(2), node(3, { endpoint: "" })];
    expect(desiredPeers(nodes, policy)).to.deep.equal({
      peers: [
        { publicKey: keyFromHex(key(2)), allowedIps: [meshSubnet(2n)], endpoint: "1.2.3.4:51820" },
        { publicKey: keyFromHex(key(3)), allowedIps: [meshSubnet(3n)] },
      ],
      nodeIds: new Map([
        [keyFromHex(key(2)), "node-2"],
        [keyFromHex(key(3)), "node-3"],
      ]),
      rejected: [],
    });
  });

  it("drops revoked and expired nodes without a word; the last valid second counts", () => {
    const nodes = [node(2, { revoked: true }), node(3, { validTo: NOW - 1 }), node(4, { validTo: NOW })];
    const { peers, rejected } = desiredPeers(nodes, policy);
    expect(peers.map((peer) => peer.publicKey)).to.deep.equal([keyFromHex(key(4))]);
    expect(rejected).to.deep.equal([]);
  });

  it("lets the first owner keep a key or a prefix, and us our own", () => {
    const nodes = [
      node(2),
      node(3, { wgKey: key(2) }),
      node(4, { prefix56: 2n }),
      node(5, { wgKey: self.wgKey }),
      node(6, { prefix56: self.prefix56 }),
      node(7, { wgKey: key(2).toUpperCase().replace("0X", "0x") as Hex }),
    ];
    const { peers, rejected } = desiredPeers(nodes, policy);
    expect(peers.length).to.equal(1);
    expect(rejected).to.deep.equal([
      { nodeId: "node-3", reason: "its WireGuard key belongs to another node" },
      { nodeId: "node-4", reason: "its mesh prefix belongs to another node" },
      { nodeId: "node-5", reason: "its WireGuard key belongs to another node" },
      { nodeId: "node-6", reason: "its mesh prefix belongs to another node" },
      { nodeId: "node-7", reason: "its WireGuard key belongs to another node" },
    ]);
  });

  it("frees the claim of a node that has expired", () => {
    const nodes = [node(2, { validTo: NOW - 1 }), node(3, { wgKey: key(2), prefix56: 2n })];
    expect(desiredPeers(nodes, policy).nodeIds.get(keyFromHex(key(2)))).to.equal("node-3");
  });

  it("says why it left a node out", () => {
    const nodes = [
      node(2, { endpoint: "10.0.0.1:1" }),
      node(3, { endpoint: "[fd00:0:0:4::1]:5" }),
      node(4),
      node(5, { wgKey: `0x${"0".repeat(64)}` }),
    ];
    expect(desiredPeers(nodes, { ...policy, allowPrivateEndpoints: true }).rejected).to.deep.equal([
      { nodeId: "node-3", reason: "the endpoint lies inside the mesh" },
      { nodeId: "node-5", reason: "it has no WireGuard key" },
    ]);
    expect(desiredPeers(nodes, policy).rejected[0]?.reason).to.match(/private network/);
  });
});

describe("nextExpiry", () => {
  it("is the end of the registration that runs out first", () => {
    const nodes = [node(2, { validTo: NOW + 9 }), node(3, { validTo: NOW + 4 }), node(4, { validTo: NOW - 1 })];
    expect(nextExpiry([...nodes, node(5, { validTo: NOW + 1, revoked: true })], NOW)).to.equal(NOW + 4);
    expect(nextExpiry([], NOW)).to.equal(undefined);
  });
});

describe("diffPeers", () => {
  const peer = { publicKey: "a", allowedIps: ["fd00::/64"], endpoint: "1.2.3.4:1" };

  it("is empty between equals", () => {
    expect(diffPeers([peer], [{ ...peer }])).to.deep.equal({ remove: [], change: [], add: [] });
  });

  it("touches the endpoint only where the registry changed it", () => {
    const moved = diffPeers([peer], [{ ...peer, endpoint: "1.2.3.4:2" }]);
    expect(moved).to.deep.equal({ remove: [], change: [{ ...peer, endpoint: "1.2.3.4:2" }], add: [] });
    const renumbered = diffPeers([peer], [{ ...peer, allowedIps: ["fd01::/64"] }]);
    expect(renumbered.change).to.deep.equal([{ publicKey: "a", allowedIps: ["fd01::/64"] }]);
  });

  it("makes a peer anew that has to forget its endpoint", () => {
    const { publicKey, allowedIps } = peer;
    expect(diffPeers([peer], [{ publicKey, allowedIps }])).to.deep.equal({
      remove: ["a"],
      change: [],
      add: [{ publicKey, allowedIps }],
    });
  });
});

function key(number: number): Hex {
  return `0x${"ab".repeat(31)}${number.toString(16).padStart(2, "0")}`;
}

function node(number: number, but: Partial<MeshNode> = {}): MeshNode {
  return {
    nodeId: `node-${number}`,
    wgKey: key(number),
    prefix56: BigInt(number),
    endpoint: "1.2.3.4:51820",
    validTo: NOW + 3600,
    revoked: false,
    ...but,
  };
}
