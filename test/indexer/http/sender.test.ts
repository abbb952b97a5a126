import { expect } from "chai";
import { senderOf } from "../../../indexer/src/http/sender.ts";

describe("senderOf", () => {
  const same = (...addresses: string[]) => expect(new Set(addresses.map(senderOf)).size).to.equal(1);

  it("counts every address of an IPv6 /64 as one sender, however it is written", () => {
    expect(senderOf("2001:db8:1:2:3:4:5:6")).to.equal("2001:db8:1:2::/64");
    same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:0DB8:0001:0002::", "2001:db8:1:2::9.8.7.6");
    same("2001:db8::1", "2001:db8:0:0:1::", "2001:db8::1:2:3:4");
    same("fe80::1%eth0", "fe80::2%eth0");
  });

  it("tells networks apart", () => {
    const addresses = ["2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8::1", "::1", "1::", "0:0:0:1::"];
    expect(new Set(addresses.map(senderOf)).size).to.equal(addresses.length);
  });

  it("counts an IPv4 address as itself, also where a socket for both shows it as IPv6", () => {
    expect(senderOf("192.0.2.7")).to.equal("192.0.2.7");
    expect(senderOf("::ffff:192.0.2.7")).to.equal("192.0.2.7");
    expect(senderOf("::FFFF:192.0.2.8")).to.equal("192.0.2.8");
    expect(senderOf(undefined)).to.equal("unknown");
  });
});
