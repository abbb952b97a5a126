import { concatHex, encodeAbiParameters, keccak256 } from "viem";
import { type Claim, jobIdOf, type MarketDomain, type Offer, offerHashOf, type Request } from "./orders.ts";
import { rateX18 } from "./pricing.ts";
import type { Address, Hex, JobId, RateX18 } from "./units.ts";

/** What of a request goes on to matter once it is a job, the same for all its replicas. As in `contracts/market/Orders.sol`. */
export interface Job {
  jobId: JobId;
  requester: Address;
  payer: Address;
  token: Address;
  specHash: Hex;
  mode: number;
  replicas: number;
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
  maxSeconds: number;
  acceptWindow: number;
  submitWindow: number;
  challengeWindow: number;
  heartbeatSeconds: number;
  noticeSeconds: number;
  verifier: Address;
  verifierData: Hex;
  arbiter: Address;
  arbiterData: Hex;
  arbiterFee: bigint;
  arbiterWindow: number;
  bond: bigint;
  bounty: bigint;
  compensationBps: number;
}

/** Who does one replica of a job, at what price. */
export interface Assignment {
  replica: number;
  operator: Address;
  index: number;
  offerHash: Hex;
  rateX18: RateX18;
  baseCharge: bigint;
}

/** What two orders came to: the full terms of one replica, as every call of its life carries them. */
export interface Terms {
  job: Job;
  assignment: Assignment;
}

const jobWords = [
  { name: "jobId", type: "bytes32" },
  { name: "requester", type: "address" },
  { name: "payer", type: "address" },
  { name: "token", type: "address" },
  { name: "specHash", type: "bytes32" },
  { name: "mode", type: "uint8" },
  { name: "replicas", type: "uint16" },
  { name: "cpuMilli", type: "uint32" },
  { name: "memoryMiB", type: "uint32" },
  { name: "diskMiB", type: "uint32" },
  { name: "gpus", type: "uint16" },
  { name: "maxSeconds", type: "uint32" },
  { name: "acceptWindow", type: "uint32" },
  { name: "submitWindow", type: "uint32" },
  { name: "challengeWindow", type: "uint32" },
  { name: "heartbeatSeconds", type: "uint32" },
  { name: "noticeSeconds", type: "uint32" },
  { name: "verifier", type: "address" },
  { name: "verifierData", type: "bytes32" },
  { name: "arbiter", type: "address" },
  { name: "arbiterData", type: "bytes32" },
  { name: "arbiterFee", type: "uint128" },
  { name: "arbiterWindow", type: "uint32" },
  { name: "bond", type: "uint128" },
  { name: "bounty", type: "uint128" },
  { name: "compensationBps", type: "uint16" },
] as const;

const assignmentWords = [
  { name: "replica", type: "uint16" },
  { name: "operator", type: "address" },
  { name: "index", type: "uint32" },
  { name: "offerHash", type: "bytes32" },
  { name: "rateX18", type: "uint256" },
  { name: "baseCharge", type: "uint128" },
] as const;

const claimWords = [
  { name: "resultHash", type: "bytes32" },
  { name: "resultBytes", type: "uint64" },
  { name: "charge", type: "uint128" },
] as const;

/** The terms that a match of `request` with `offer` gives replica number `replica`. */
export function termsOf(domain: MarketDomain, request: Request, offer: Offer, replica: number): Terms {
  const { requester, payer, token, specHash, mode, replicas, cpuMilli, memoryMiB, diskMiB, gpus, maxSeconds } = request;
  const { acceptWindow, submitWindow, challengeWindow, heartbeatSeconds, noticeSeconds } = request;
  const { verifier, verifierData, arbiter, arbiterData, arbiterFee, arbiterWindow } = request;
  const { bond, bounty, compensationBps } = request;
  return {
    job: {
      jobId: jobIdOf(domain, request),
      requester,
      payer,
      token,
      specHash,
      mode,
      replicas,
      cpuMilli,
      memoryMiB,
      diskMiB,
      gpus,
      maxSeconds,
      acceptWindow,
      submitWindow,
      challengeWindow,
      heartbeatSeconds,
      noticeSeconds,
      verifier,
      verifierData,
      arbiter,
      arbiterData,
      arbiterFee,
      arbiterWindow,
      bond,
      bounty,
      compensationBps,
    },
    assignment: {
      replica,
      operator: offer.operator,
      index: offer.index,
      offerHash: offerHashOf(domain, offer),
      rateX18: rateX18(request, offer),
      baseCharge: offer.baseCharge,
    },
  };
}

/** `keccak256(keccak256(abi.encode(job)) ‖ keccak256(abi.encode(assignment)))`, as `OrderHash.ofTerms`. */
export function termsHash({ job, assignment }: Terms): Hex {
  return pair(wordsHash(jobWords, job), wordsHash(assignmentWords, assignment));
}

/** `keccak256(abi.encode(claim))`. */
export function claimHash(claim: Claim): Hex {
  return wordsHash(claimWords, claim);
}

/**
 * What a replica's slot commits to, its first 168 bits: the terms, from the submission on together with the claim. So the
 * storage of the chain alone proves what was agreed and what was claimed.
 */
export function replicaCommitment(terms: Terms, claim?: Claim): Hex {
  const hash = termsHash(terms);
  return (claim === undefined ? hash : pair(hash, claimHash(claim))).slice(0, 2 + 42) as Hex;
}

function pair(left: Hex, right: Hex): Hex {
  return keccak256(concatHex([left, right]));
}

function wordsHash(words: readonly { name: string; type: string }[], values: object): Hex {
  const of = values as Record<string, unknown>;
  return keccak256(encodeAbiParameters(words, words.map(({ name }) => of[name]) as never));
}
