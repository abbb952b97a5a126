import { encodeAbiParameters, keccak256, toHex } from "viem";
import type { Address, Hex } from "./units.ts";

/** Separates key reports from every other hash that a TEE might be asked to sign. */
export const KEY_REPORT_DOMAIN: Hex = keccak256(toHex("berth/key-report/v1"));

/** What ties a node's key to the hardware that holds it. `contracts/attestation/KeyReport.sol` mirrors it field by field. */
export interface KeyReportFields {
  /** Of the chain that the registry is on; a uint256. */
  chainId: bigint;
  /** The `AttestationRegistry` that the key is registered in. */
  registry: Address;
  operator: Address;
  /** The node's index at its operator; a uint32. */
  nodeIndex: number;
  /** The account that signs the node's results. */
  key: Address;
  /** The node's WireGuard public key, 32 bytes; zero where it has none. */
  wgKey: Hex;
  /** Hash of one of the last 256 blocks of that chain, 32 bytes; the claim at the registry names it as `challengeBlock`. */
  nonce: Hex;
}

/**
 * The 32 bytes that a TEE or TPM signs to have a node's key attested: the node scope of evidence, as `reportData` is the
 * job scope. A 64-byte report field holds them followed by zeros. `KeyReport.hash` in Solidity gives the same.
 * Throws viem's encoding errors when a field does not fit its type.
 */
export function keyReport(fields: KeyReportFields): Hex {
  return keccak256(
    encodeAbiParameters(KEY_REPORT_TYPES, [
      KEY_REPORT_DOMAIN,
      fields.chainId,
      fields.registry,
      fields.operator,
      fields.nodeIndex,
      fields.key,
      fields.wgKey,
      fields.nonce,
    ]),
  );
}

const KEY_REPORT_TYPES = [
  { name: "domain", type: "bytes32" },
  { name: "chainId", type: "uint256" },
  { name: "registry", type: "address" },
  { name: "operator", type: "address" },
  { name: "nodeIndex", type: "uint32" },
  { name: "key", type: "address" },
  { name: "wgKey", type: "bytes32" },
  { name: "nonce", type: "bytes32" },
] as const;
