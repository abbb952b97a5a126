import { type MeshIdentity, meshAddress, meshPrefix, meshSubnet } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { concatHex, keccak256, padHex, toHex } from "viem";

const identity: MeshIdentity = {
  chainId: 31337,
  registry: "0x5FbDB2315678afecb367f032d93F642f64180aa3",
  operator: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
  index: 2,
  salt: 7n,
};
const prefixes = fc.bigInt({ min: 0n, max: (1n << 56n) - 1n });

describe("meshPrefix", () => {
  it("is the first seven bytes of the hash of six 32-byte words", () => {
    const words = concatHex([
      keccak256(toHex("berth/mesh/v1")),
      toHex(31337, { size: 32 }),
      padHex(identity.registry, { size: 32 }),
      padHex(identity.operator, { size: 32 }),
      toHex(2, { size: 32 }),
      toHex(7, { size: 32 }),
    ]);
    expect(meshPrefix(identity)).to.equal(BigInt(keccak256(words)) >> 200n);
  });

  it("changes with each part of the identity", () => {
    const others: Partial<MeshIdentity>[] = [
      { chainId: 1 },
      { registry: identity.operator },
      { operator: identity.registry },
      { index: 3 },
      { salt: 8n },
    ];
    const all = [identity, ...others.map((part) => ({ ...identity, ...part }))].map(meshPrefix);
    expect(new Set(all).size).to.equal(6);
  });
});

describe("meshSubnet and meshAddress", () => {
  it("write the /64 and host 1 of it", () => {
    expect(meshSubnet(0x123456789abcden)).to.equal("fd12:3456:789a:bcde::/64");
    expect(meshAddress(0x123456789abcden)).to.equal("fd12:3456:789a:bcde::1");
  });

  it("shorten zero groups as inet_ntop does", () => {
    expect(meshSubnet(0n)).to.equal("fd00::/64");
    expect(meshAddress(0n)).to.equal("fd00::1");
    expect(meshSubnet(0x12000000000001n)).to.equal("fd12:0:0:1::/64");
    expect(meshAddress(0x12345600000000n)).to.equal("fd12:3456::1");
    expect(meshSubnet(0x01000a00000000n)).to.equal("fd01:a::/64");
  });

  it("agree with the canonical form of the address, for any prefix", () => {
    const sparse = fc.tuple(prefixes, prefixes).map(([a, b]) => a & b & (a >> 3n));
    fc.assert(
      fc.property(fc.oneof(prefixes, sparse), (prefix) => {
        const address = meshAddress(prefix);
        expect(new URL(`http://[${address}]/`).hostname).to.equal(`[${address}]`);
        expect(meshSubnet(prefix)).to.equal(`${address.slice(0, -1)}/64`);
      }),
    );
  });

  it("refuse more than 56 bits", () => {
    expect(() => meshAddress(1n << 56n)).to.throw("A mesh prefix has 56 bits");
    expect(() => meshSubnet(-1n)).to.throw("A mesh prefix has 56 bits");
  });
});
