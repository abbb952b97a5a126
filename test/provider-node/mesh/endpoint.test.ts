import { expect } from "chai";
import { endpointCheck, joinEndpoint, splitEndpoint } from "../../../provider-node/src/mesh/endpoint.ts";

const strict = endpointCheck({ allowPrivateEndpoints: false, meshPrefixes: [0x123456789abcden] });
const relaxed = endpointCheck({ allowPrivateEndpoints: true, meshPrefixes: [0x123456789abcden] });

describe("splitEndpoint", () => {
  it("takes names, IPv4 and bracketed IPv6 and gives them back", () => {
    for (const endpoint of ["node.example.org:51820", "1.2.3.4:1", "[2001:db8::1]:65535"]) {
      const parts = splitEndpoint(endpoint);
      expect(parts && joinEndpoint(parts)).to.equal(endpoint);
    }
  });

  it("refuses everything else", () => {
    const bad = [
      "",
      "1.2.3.4",
      "1.2.3.4:0",
      "1.2.3.4:65536",
      "2001:db8::1:5",
      "[1.2.3.4]:5",
      "[fe80::1%eth0]:5",
      "a b:5",
    ];
    for (const endpoint of [...bad, "host:5\nPrivateKey = x", "host:5 "]) {
      expect(splitEndpoint(endpoint), endpoint).to.equal(undefined);
    }
  });
});

describe("endpointCheck", () => {
  it("lets public addresses through", () => {
    for (const endpoint of ["1.2.3.4:51820", "[2a01:4f8::1]:51820", "172.32.0.1:5", "100.128.0.1:5"]) {
      expect(strict(endpoint), endpoint).to.equal(undefined);
    }
  });

  it("never aims packets at this machine, its link, groups or reserved ranges", () => {
    const v4 = ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "240.0.0.1"];
    const v6 = ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::7f00:1]", "[fe80::1]", "[ff02::1]"];
    for (const host of [...v4, ...v6]) {
      expect(relaxed(`${host}:51820`), host).to.match(/loopback, link-local, multicast or reserved/);
    }
  });

  it("takes private networks only where that is allowed", () => {
    const hosts = ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fc00::1]", "[::ffff:10.0.0.1]"];
    for (const host of [...hosts, "[64:ff9b::a00:1]", "[2002:a00:1::1]"]) {
      expect(strict(`${host}:51820`), host).to.match(/private network/);
      expect(relaxed(`${host}:51820`), host).to.equal(undefined);
    }
  });

  it("refuses a tunnel inside the mesh, and names without an address", () => {
    expect(relaxed("[fd12:3456:789a:bcde::1]:51820")).to.equal("the endpoint lies inside the mesh");
    expect(relaxed("[fd12:3456:789a:bcdf::1]:51820")).to.equal(undefined);
    expect(strict("node.example.org:51820")).to.equal("the endpoint's name has no known address");
    expect(strict("nonsense")).to.equal("the endpoint is not host:port");
  });
});
