import { BlockList, isIPv4, isIPv6 } from "node:net";
import { meshSubnet } from "@berth/protocol";

/** An endpoint taken apart. */
export interface HostPort {
  host: string;
  port: number;
}

/** Splits `host:port` or `[ipv6]:port`; undefined when it is neither. */
export function splitEndpoint(endpoint: string): HostPort | undefined {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})$/.exec(endpoint);
  if (!found) return undefined;
  const [, bracketed, plain, digits] = found;
  const host = bracketed ?? plain ?? "";
  const port = Number(digits);
  if (host.length > 253 || port < 1 || port > 65_535) return undefined;
  if (bracketed !== undefined && !isIPv6(bracketed)) return undefined;
  return { host, port };
}

/** `host:port` as `wg` takes it. */
export function joinEndpoint({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Which addresses peers may send us to. */
export interface EndpointPolicy {
  /** Take addresses of private networks too. Loopback, link-local and multicast stay refused. */
  allowPrivateEndpoints: boolean;
  /** Prefixes of the mesh itself: a tunnel inside the tunnel would loop. */
  meshPrefixes: readonly bigint[];
}

/**
 * Makes a check that says why an endpoint is refused, or undefined where it may be used. Whoever writes to the registry
 * chooses where our packets go: without this, an entry could aim them at the machines around us.
 */
export function endpointCheck(policy: EndpointPolicy): (endpoint: string) => string | undefined {
  const mesh = new BlockList();
  for (const prefix of policy.meshPrefixes) mesh.addSubnet(meshSubnet(prefix).slice(0, -3), 64, "ipv6");
  return (endpoint) => {
    const parts = splitEndpoint(endpoint);
    if (!parts) return "the endpoint is not host:port";
    const family = isIPv4(parts.host) ? "ipv4" : isIPv6(parts.host) ? "ipv6" : undefined;
    if (!family) return "the endpoint's name has no known address";
    if (NEVER.check(parts.host, family)) return "the endpoint is a loopback, link-local, multicast or reserved address";
    if (mesh.check(parts.host, family)) return "the endpoint lies inside the mesh";
    if (!policy.allowPrivateEndpoints && PRIVATE.check(parts.host, family)) {
      return "the endpoint is in a private network and allowPrivateEndpoints is off";
    }
    return undefined;
  };
}

/** Node's lists match IPv4 addresses written inside IPv6 (`::ffff:a.b.c.d`) against the IPv4 ranges too. */
const NEVER = blockList(
  ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4"],
  ["::/96", "fe80::/10", "ff00::/8"],
);
const PRIVATE = blockList(
  ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"],
  // the last three carry an IPv4 address that a translator would unpack: NAT64, its local range, 6to4
  ["fc00::/7", "fec0::/10", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"],
);

function blockList(ipv4: readonly string[], ipv6: readonly string[]): BlockList {
  const list = new BlockList();
  const add = (subnet: string, family: "ipv4" | "ipv6") => {
    const [address = "", bits] = subnet.split("/");
    list.addSubnet(address, Number(bits), family);
  };
  for (const subnet of ipv4) add(subnet, "ipv4");
  for (const subnet of ipv6) add(subnet, "ipv6");
  return list;
}
