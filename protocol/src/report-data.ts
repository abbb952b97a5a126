import { encodeAbiParameters, keccak256, toHex } from "viem";
import type { Address, Hex, UnixSeconds } from "./units.ts";

/** Separates report data from every other hash that a TEE might be asked to sign. */
export const REPORT_DATA_DOMAIN: Hex = keccak256(toHex("berth/report-data/v1"));

/** Everything that a quote vouches for. `ReportData.sol` mirrors it field by field. */
export interface ReportDataFields {
  chainId: bigint;
  market: Address;
  /** 32 bytes. */
  jobId: Hex;
  /** Which of the job's replicas, counted from 0; a uint16. */
  replica: number;
  operator: Address;
  /** The node's index at its operator; a uint32. */
  nodeIndex: number;
  /** Hash of the canonical spec, 32 bytes. */
  specHash: Hex;
  /** The sha256 of the OCI platform manifest, 32 bytes. */
  imageDigest: Hex;
  /** Hash of the verification policy that both sides signed, 32 bytes. */
  policyHash: Hex;
  /** The WireGuard public key that the workload answers on, 32 bytes; zero where the job has no mesh. */
  wgKey: Hex;
  /** The account that signs the job's result. */
  resultSigner: Address;
  /** From `jobNonce`, 32 bytes. */
  nonce: Hex;
}

/**
 * The 32 bytes that a TEE or TPM signs for one replica: they tie the quote to the job, the node, what runs, the key it
 * is reached by and the key that signs its result. A 64-byte report field holds them followed by zeros.
 * Throws viem's encoding errors when a field does not fit its type.
 */
export function reportData(fields: ReportDataFields): Hex {
  return keccak256(
    encodeAbiParameters(REPORT_DATA_TYPES, [
      REPORT_DATA_DOMAIN,
      fields.chainId,
      fields.market,
      fields.jobId,
      fields.replica,
      fields.operator,
      fields.nodeIndex,
      fields.specHash,
      fields.imageDigest,
      fields.policyHash,
      fields.wgKey,
      fields.resultSigner,
      fields.nonce,
    ]),
  );
}

/** What makes a quote fresh: known to nobody before the match, computable by everybody after it. */
export interface JobNonceFields {
  /** EIP-712 hash of the matched offer, 32 bytes. */
  offerHash: Hex;
  /** Time of the block that holds the match. */
  matchedAt: UnixSeconds;
  /** 32 bytes; commits to the request and so to its nonce. */
  jobId: Hex;
}

/** The nonce of a job's quote. `ReportData.jobNonce` in Solidity gives the same. */
export function jobNonce({ offerHash, matchedAt, jobId }: JobNonceFields): Hex {
  return keccak256(encodeAbiParameters(JOB_NONCE_TYPES, [offerHash, matchedAt, jobId]));
}

const REPORT_DATA_TYPES = [
  { name: "domain", type: "bytes32" },
  { name: "chainId", type: "uint256" },
  { name: "market", type: "address" },
  { name: "jobId", type: "bytes32" },
  { name: "replica", type: "uint16" },
  { name: "operator", type: "address" },
  { name: "nodeIndex", type: "uint32" },
  { name: "specHash", type: "bytes32" },
  { name: "imageDigest", type: "bytes32" },
  { name: "policyHash", type: "bytes32" },
  { name: "wgKey", type: "bytes32" },
  { name: "resultSigner", type: "address" },
  { name: "nonce", type: "bytes32" },
] as const;

const JOB_NONCE_TYPES = [
  { name: "offerHash", type: "bytes32" },
  { name: "matchedAt", type: "uint40" },
  { name: "jobId", type: "bytes32" },
] as const;
