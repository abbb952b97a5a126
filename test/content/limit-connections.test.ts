import { EventEmitter } from "node:events";
import { PassThrough } from "node:stream";
import { expect } from "chai";
import { limitConnections } from "../../content/src/limit-connections.ts";

describe("limitConnections", () => {
  const server = () => {
    const listening = new EventEmitter();
    limitConnections(listening, 2);
    return (remoteAddress: string | undefined) => {
      const socket = Object.assign(new PassThrough(), { remoteAddress });
      listening.emit("connection", socket);
      return socket;
    };
  };

  it("cuts what one address opens beyond its share, and nobody else's", () => {
    const connect = server();
    const shares = ["203.0.113.7", "203.0.113.7", "203.0.113.7", "203.0.113.8"].map(connect);
    expect(shares.map(({ destroyed }) => destroyed)).to.deep.equal([false, false, true, false]);
  });

  it("takes an address again once it has closed one", async () => {
    const connect = server();
    const [first] = [connect("203.0.113.7"), connect("203.0.113.7")];
    const closed = new Promise((resolve) => first?.once("close", resolve));
    first?.destroy();
    await closed;
    expect([connect("203.0.113.7"), connect("203.0.113.7")].map(({ destroyed }) => destroyed)).to.deep.equal([
      false,
      true,
    ]);
  });

  for (const [what, others, next] of [
    ["a network of IPv6 addresses", ["2001:db8::1", "2001:db8:0:0:9::"], "2001:db8:0:0:ffff::2"],
    ["an IPv4 address that is written as IPv6", ["203.0.113.7", "::ffff:203.0.113.7"], "203.0.113.7"],
  ] as const)
    it(`takes ${what} for one`, () => {
      const connect = server();
      others.map(connect);
      expect(connect(next).destroyed).to.equal(true);
    });

  it("tells IPv6 networks apart, and does not count this machine", () => {
    const connect = server();
    const own = ["::1", "127.0.0.1", "::ffff:127.0.0.1", "127.0.0.9", "::1"].map(connect);
    const networks = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:1::1"].map(connect);
    expect([...own, ...networks].some(({ destroyed }) => destroyed)).to.equal(false);
  });
});
