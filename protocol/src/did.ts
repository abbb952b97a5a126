import type { Address } from "./units.ts";

/** `did:ethr` identifier of an account on a chain, as resolvers write it. */
export function didOf(chainId: number, identity: Address): string {
  return `did:ethr:0x${chainId.toString(16)}:${identity.toLowerCase()}`;
}

/** Names of the DID attributes that the registry writes for a node. */
export const didAttributes = {
  wgKey: "did/pub/X25519/enc/base64",
  wgEndpoint: "did/svc/BerthWireGuard",
  contentUrl: "did/svc/BerthContent",
  profileCid: "did/svc/BerthProfile",
} as const;
