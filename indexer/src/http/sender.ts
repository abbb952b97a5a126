const IPV4_IN_IPV6 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const GROUPS = 8;
/** Groups of the part of an IPv6 address that one customer of a network has to himself. */
const NETWORK_GROUPS = 4;

/**
 * Whom the limits per address count a call for. An IPv6 address counts as its /64: who has one address of it has all of
 * them. An IPv4 address that a socket for both shows as `::ffff:a.b.c.d` counts as itself.
 */
export function senderOf(address: string | undefined): string {
  if (address === undefined) return "unknown";
  const mapped = IPV4_IN_IPV6.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(":")) return address;
  return `${networkOf(address)}::/64`;
}

function networkOf(address: string): string {
  const [front = "", back] = address.replace(/%.*$/, "").split("::");
  const left = groupsOf(front);
  const right = groupsOf(back ?? "");
  const between = Array.from({ length: Math.max(0, GROUPS - left.length - right.length) }, () => "0");
  const groups = [...left, ...between, ...right].slice(0, NETWORK_GROUPS);
  return groups.map((group) => Number.parseInt(group, 16).toString(16)).join(":");
}

/** The last two groups may be written as IPv4. They are no part of the network. */
function groupsOf(part: string): string[] {
  return part === "" ? [] : part.replace(/\d+\.\d+\.\d+\.\d+$/, "0:0").split(":");
}
