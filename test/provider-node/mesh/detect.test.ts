import { expect } from "chai";
import { chooseBackend, type MeshFacts } from "../../../provider-node/src/mesh/detect.ts";

const all: MeshFacts = { netAdmin: true, ip: true, wg: true, kernelWireGuard: true, tun: true, wireguardGo: true };

describe("chooseBackend", () => {
  it("prefers the kernel, and takes wireguard-go where the kernel cannot", () => {
    expect(chooseBackend(all).backend).to.equal("kernel");
    expect(chooseBackend({ ...all, tun: false, wireguardGo: false }).backend).to.equal("kernel");
    expect(chooseBackend({ ...all, kernelWireGuard: false }).backend).to.equal("userspace");
  });

  const missing: [Partial<MeshFacts>, reason: RegExp, fix: RegExp][] = [
    [{ netAdmin: false }, /CAP_NET_ADMIN/, /as root/],
    [{ ip: false }, /`ip` is not installed/, /iproute2/],
    [{ wg: false }, /`wg` is not installed/, /wireguard-tools/],
    [{ kernelWireGuard: false, tun: false }, /\/dev\/net\/tun cannot be opened/, /modprobe/],
    [{ kernelWireGuard: false, wireguardGo: false }, /wireguard-go is not installed/, /apt-get install wireguard-go/],
  ];
  for (const [facts, reason, fix] of missing) {
    it(`says what is missing and how to get it: ${JSON.stringify(facts)}`, () => {
      const found = chooseBackend({ ...all, ...facts });
      expect(found.backend).to.equal(undefined);
      expect(found.reason).to.match(reason);
      expect(found.fix).to.match(fix);
    });
  }
});
