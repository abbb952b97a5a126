import { encodeAbiParameters, keccak256, numberToHex, toHex } from "viem";
import { ZERO_ADDRESS } from "./constants.ts";
import type { Job } from "./terms.ts";
import type { Address, Hex, JobId, UnixSeconds } from "./units.ts";

/** Separates seals from every other hash. */
export const SEAL_DOMAIN: Hex = keccak256(toHex("berth/quorum-seal/v1"));

/** As many replicas as the tally of `QuorumVerifier` has room for. */
export const MAX_QUORUM_REPLICAS = 15;

/** What both orders agree on when nodes vote on a result. */
export interface Quorum {
  /** Replicas that must have the same output; more than half of all. A uint16. */
  agreeing: number;
  /** How long every node has at least to reveal. A uint32. */
  revealSeconds: number;
  /** How old the last commit must be before anybody reveals: so deep no reorganisation goes. A uint32. */
  confirmSeconds: number;
}

/** What a node's commit hides, and what nobody can guess of it. */
export interface Opening {
  /** What is compared: the digest of the outputs, never of logs, times or signatures. */
  outputDigest: Hex;
  /** sha2-256 of the result record's canonical JSON. */
  resultHash: Hex;
  /** 32 random bytes, kept until the reveal. */
  salt: Hex;
}

/** The members of a job that its quorum depends on. */
export type QuorumJob = Pick<
  Job,
  "replicas" | "submitWindow" | "challengeWindow" | "arbiter" | "arbiterWindow" | "compensationBps" | "verifierData"
>;

/** In the order of `Flaw` in `contracts/verifiers/IQuorumVerifier.sol`, from 1 on. */
export const quorumFlaws = [
  "encoding",
  "replicas",
  "agreeing",
  "revealSeconds",
  "compensation",
  "settleWindow",
  "challengeWindow",
] as const;
export type QuorumFlaw = (typeof quorumFlaws)[number];

/** A quorum as `verifierData` of both orders. */
export function quorumToData({ agreeing, revealSeconds, confirmSeconds }: Quorum): Hex {
  const word = (BigInt(agreeing) << 64n) | (BigInt(revealSeconds) << 32n) | BigInt(confirmSeconds);
  return numberToHex(word, { size: 32 });
}

/** The quorum in `verifierData`, or undefined when it holds something else. */
export function dataToQuorum(verifierData: Hex): Quorum | undefined {
  const word = BigInt(verifierData);
  if (word >> 80n !== 0n) return undefined;
  return {
    agreeing: Number(word >> 64n),
    revealSeconds: Number((word >> 32n) & 0xffffffffn),
    confirmSeconds: Number(word & 0xffffffffn),
  };
}

/**
 * What is wrong with a job's quorum, as `QuorumVerifier.flawOf`. Nothing submitted for a job with a flaw is ever judged: it is
 * refunded as undecided and no bond is lost. So a node gives such a job back, or submits anything in time, and does not work.
 */
export function quorumFlaw(job: QuorumJob): QuorumFlaw | undefined {
  const quorum = dataToQuorum(job.verifierData);
  if (quorum === undefined) return "encoding";
  if (job.replicas > MAX_QUORUM_REPLICAS) return "replicas";
  if (quorum.agreeing > job.replicas || 2 * quorum.agreeing <= job.replicas) return "agreeing";
  if (quorum.revealSeconds === 0) return "revealSeconds";
  if (job.compensationBps !== 0) return "compensation";
  const needed = job.submitWindow + quorum.confirmSeconds + quorum.revealSeconds;
  if (job.challengeWindow + job.arbiterWindow < needed) return "settleWindow";
  if (job.arbiter !== ZERO_ADDRESS && job.challengeWindow < needed) return "challengeWindow";
  return undefined;
}

/** The last second in which a seal can be opened, whatever anybody does. */
export function revealClosesAt(job: QuorumJob, matchedAt: UnixSeconds): UnixSeconds {
  const quorum = dataToQuorum(job.verifierData);
  const seconds = quorum === undefined ? 0 : quorum.confirmSeconds + quorum.revealSeconds;
  return (matchedAt + job.submitWindow + seconds) as UnixSeconds;
}

/** What a node submits in place of its result hash. Worth nothing to another replica; equal to `QuorumVerifier.sealOf`. */
export function sealOf(
  by: { jobId: JobId; replica: number; operator: Address },
  { outputDigest, resultHash, salt }: Opening,
): Hex {
  const { jobId, replica, operator } = by;
  return keccak256(
    encodeAbiParameters(SEAL_WORDS, [SEAL_DOMAIN, jobId, replica, operator, outputDigest, resultHash, salt]),
  );
}

const SEAL_WORDS = [
  { name: "domain", type: "bytes32" },
  { name: "jobId", type: "bytes32" },
  { name: "replica", type: "uint16" },
  { name: "operator", type: "address" },
  { name: "outputDigest", type: "bytes32" },
  { name: "resultHash", type: "bytes32" },
  { name: "salt", type: "bytes32" },
] as const;
