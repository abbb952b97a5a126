import { BlockList, isIP } from "node:net";

/** Ranges that no machine of the open internet has: this one, its networks, its links, groups, and what is reserved. */
const closed = new BlockList();
for (const subnet of [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"],
  ...["192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"],
  "240.0.0.0/4",
])
  add(subnet, "ipv4");
// The last four carry an IPv4 address that a translator would unpack: NAT64, its local range, 6to4, Teredo.
for (const subnet of [
  ...["::/96", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32", "100::/64"],
  ...["64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"],
])
  add(subnet, "ipv6");

/** Is this IP address one of the open internet? An IPv4 address written as IPv6 (`::ffff:a.b.c.d`) counts as what it is. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address);
  return version !== 0 && !closed.check(address, version === 4 ? "ipv4" : "ipv6");
}

function add(subnet: string, family: "ipv4" | "ipv6"): void {
  const [address = "", bits] = subnet.split("/");
  closed.addSubnet(address, Number(bits), family);
}
