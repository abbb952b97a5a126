import { Resolver } from "node:dns/promises";
import { isIP } from "node:net";
import { joinEndpoint, splitEndpoint } from "./endpoint.ts";
import type { MeshNode } from "./peers.ts";

/** Finds an address of a host name; throws where there is none. */
export type Lookup = (host: string) => Promise<string>;

/**
 * Makes a function that replaces the host names in endpoints by addresses, so that what is checked is what is used. An
 * answer is kept for five minutes, and after that for as long as no new one can be had.
 * @param nowMs a clock that only moves forward
 */
export function endpointResolver(lookup: Lookup = dnsLookup, nowMs: () => number = () => performance.now()) {
  const known = new Map<string, { address: string | undefined; atMs: number }>();
  return async (nodes: readonly MeshNode[]): Promise<MeshNode[]> => {
    const names = new Set(nodes.map((node) => nameIn(node.endpoint)).filter((name) => name !== undefined));
    for (const name of known.keys()) if (!names.has(name)) known.delete(name);
    await Promise.all([...names].map(refresh));
    return nodes.map((node) => ({ ...node, endpoint: withAddress(node.endpoint) }));
  };

  async function refresh(name: string): Promise<void> {
    const old = known.get(name);
    if (old && nowMs() - old.atMs < KEEP_MS) return;
    const address = await lookup(name).catch(() => old?.address);
    known.set(name, { address, atMs: nowMs() });
  }

  function withAddress(endpoint: string): string {
    const parts = splitEndpoint(endpoint);
    const address = parts && known.get(parts.host)?.address;
    return parts && address !== undefined ? joinEndpoint({ host: address, port: parts.port }) : endpoint;
  }
}

function nameIn(endpoint: string): string | undefined {
  const host = splitEndpoint(endpoint)?.host;
  return host === undefined || isIP(host) !== 0 ? undefined : host;
}

/** Asks DNS without the thread pool of `getaddrinfo`, which a few slow names would block for the whole node. */
async function dnsLookup(host: string): Promise<string> {
  const resolver = new Resolver({ timeout: 1000, tries: 2 });
  const addresses = await resolver.resolve4(host).catch(() => resolver.resolve6(host));
  const [address] = addresses;
  if (address === undefined) throw new Error(`${host} has no address`);
  return address;
}

const KEEP_MS = 5 * 60_000;
