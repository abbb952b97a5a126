import { concatHex, keccak256, numberToHex } from "viem";
import type { Claim } from "./orders.ts";
import { claimHash } from "./terms.ts";
import type { Address, Hex, JobId } from "./units.ts";

/** Which attested keys may sign the results of a job. */
export interface TeePolicy {
  /** Of the key's platform: 3 up to date, 1 the lowest that counts. */
  minTier: number;
  /** One of these quote verifiers, at most 255, must vouch for the key. */
  quoteVerifiers: readonly Address[];
  /** One of these must be what runs beside the key. */
  measurements: readonly Hex[];
}

/** The verifier that attested results are bound to. */
export interface TeeDomain {
  chainId: number;
  verifier: Address;
}

/** A policy in the bytes that `contracts/verifiers/ITeeVerifier.sol` lays out. */
export function teePolicyBytes({ minTier, quoteVerifiers, measurements }: TeePolicy): Hex {
  const head = [numberToHex(minTier, { size: 1 }), numberToHex(quoteVerifiers.length, { size: 1 })];
  return concatHex([...head, ...quoteVerifiers, ...measurements]);
}

/** `verifierData` of both orders. */
export function teePolicyHash(policy: TeePolicy): Hex {
  return keccak256(teePolicyBytes(policy));
}

/** What an attested key signs for a result: pass it to `signTypedData`. Equal to `TeeVerifier.hashResult`. */
export function attestedResultTypedData(
  { chainId, verifier }: TeeDomain,
  { jobId, replica, claim }: { jobId: JobId; replica: number; claim: Claim },
) {
  return {
    domain: { name: "Berth TEE", version: "1", chainId, verifyingContract: verifier },
    types: {
      AttestedResult: [
        { name: "jobId", type: "bytes32" },
        { name: "replica", type: "uint16" },
        { name: "claimHash", type: "bytes32" },
      ],
    },
    primaryType: "AttestedResult",
    message: { jobId, replica, claimHash: claimHash(claim) },
  } as const;
}

/** The proof that a node submits with its claim. The signature has 65 bytes. */
export function teeProof(policy: TeePolicy, signature: Hex): Hex {
  return concatHex([signature, teePolicyBytes(policy)]);
}
