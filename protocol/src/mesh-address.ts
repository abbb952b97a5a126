import { encodeAbiParameters, keccak256, stringToBytes } from "viem";
import { MarketError } from "./errors.ts";
import type { Address } from "./units.ts";

/** What a node's mesh prefix is derived from, exactly as the identity registry derives it. */
export interface MeshIdentity {
  chainId: number | bigint;
  /** The identity registry. */
  registry: Address;
  operator: Address;
  /** The node's number within its operator, uint32. */
  index: number;
  /** uint64; another salt moves the node when its prefix is taken. */
  salt: bigint;
}

/** The 56 bits that follow `fd` in every address of the node: the first 7 bytes of the hash of its identity. */
export function meshPrefix({ chainId, registry, operator, index, salt }: MeshIdentity): bigint {
  const values = [DOMAIN, BigInt(chainId), registry, operator, index, salt] as const;
  return BigInt(keccak256(encodeAbiParameters(PREFIX_PARAMETERS, values)).slice(0, 2 + 14));
}

/**
 * The node's own /64, written as `wg show` and `ip` write it, say `fd12:3456:789a:bcde::/64`.
 * @throws MarketError BAD_MESH_PREFIX when `prefix56` has more than 56 bits
 */
export function meshSubnet(prefix56: bigint): string {
  return `${compressedHead(prefix56)}::/64`;
}

/**
 * The node's address, host 1 of its /64, say `fd12:3456:789a:bcde::1`.
 * @throws MarketError BAD_MESH_PREFIX when `prefix56` has more than 56 bits
 */
export function meshAddress(prefix56: bigint): string {
  return `${compressedHead(prefix56)}::1`;
}

const DOMAIN = keccak256(stringToBytes("berth/mesh/v1"));
const PREFIX_PARAMETERS = [
  { type: "bytes32" },
  { type: "uint256" },
  { type: "address" },
  { type: "address" },
  { type: "uint32" },
  { type: "uint64" },
] as const;

/** The four leading groups. Zero groups at their end fall into the `::` that always follows: no longer run can exist. */
function compressedHead(prefix56: bigint): string {
  if (prefix56 < 0n || prefix56 >> 56n !== 0n) {
    throw new MarketError("BAD_MESH_PREFIX", `A mesh prefix has 56 bits; 0x${prefix56.toString(16)} does not fit.`);
  }
  const bits = (0xfdn << 56n) | prefix56;
  const groups = [48n, 32n, 16n, 0n].map((shift) => ((bits >> shift) & 0xffffn).toString(16));
  while (groups.at(-1) === "0") groups.pop();
  return groups.join(":");
}
