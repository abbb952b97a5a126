import { expect } from "chai";
import { parseDump } from "../../../provider-node/src/mesh/device.ts";

describe("parseDump", () => {
  it("reads interface and peers, and leaves the private key behind", () => {
    const text = [
      "PRIVATE\tPUBLIC\t51820\toff",
      "peerA\t(none)\t10.0.0.1:51820\tfd00::/64\t1800000000\t148\t180\toff",
      "peerB\t(none)\t(none)\t(none)\t0\t0\t0\toff",
      "",
    ].join("\n");
    expect(parseDump(text)).to.deep.equal({
      publicKey: "PUBLIC",
      listenPort: 51820,
      peers: [
        {
          publicKey: "peerA",
          endpoint: "10.0.0.1:51820",
          allowedIps: ["fd00::/64"],
          latestHandshake: 1_800_000_000,
          rxBytes: 148n,
          txBytes: 180n,
        },
        { publicKey: "peerB", allowedIps: [], latestHandshake: 0, rxBytes: 0n, txBytes: 0n },
      ],
    });
  });
});
