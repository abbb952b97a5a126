import { hashTypedData, stringToHex, type TypedDataDomain } from "viem";
import type { Address, Hex, JobId } from "./units.ts";

/** EIP-712 types, member for member those of `contracts/market/Orders.sol`. */
export const orderTypes = {
  Request: [
    { name: "requester", type: "address" },
    { name: "payer", type: "address" },
    { name: "matcher", type: "address" },
    { name: "token", type: "address" },
    { name: "maxPrice", type: "uint128" },
    { name: "matcherTip", type: "uint128" },
    { name: "specHash", type: "bytes32" },
    { name: "mode", type: "uint8" },
    { name: "replicas", type: "uint16" },
    { name: "cpuMilli", type: "uint32" },
    { name: "memoryMiB", type: "uint32" },
    { name: "diskMiB", type: "uint32" },
    { name: "gpus", type: "uint16" },
    { name: "traits", type: "uint256" },
    { name: "gpuModel", type: "bytes32" },
    { name: "region", type: "bytes32" },
    { name: "maxSeconds", type: "uint32" },
    { name: "openUntil", type: "uint40" },
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
    { name: "minStake", type: "uint128" },
    { name: "operators", type: "bytes32" },
    { name: "nonce", type: "bytes32" },
  ],
  Offer: [
    { name: "operator", type: "address" },
    { name: "index", type: "uint32" },
    { name: "epoch", type: "uint32" },
    { name: "requester", type: "address" },
    { name: "token", type: "address" },
    { name: "cpuRateX18", type: "uint128" },
    { name: "memoryRateX18", type: "uint128" },
    { name: "diskRateX18", type: "uint128" },
    { name: "gpuRateX18", type: "uint128" },
    { name: "baseCharge", type: "uint128" },
    { name: "cpuMilli", type: "uint32" },
    { name: "memoryMiB", type: "uint32" },
    { name: "diskMiB", type: "uint32" },
    { name: "gpus", type: "uint16" },
    { name: "traits", type: "uint256" },
    { name: "gpuModel", type: "bytes32" },
    { name: "region", type: "bytes32" },
    { name: "maxSeconds", type: "uint32" },
    { name: "minSubmitMargin", type: "uint32" },
    { name: "minHeartbeatSeconds", type: "uint32" },
    { name: "maxSettleSeconds", type: "uint32" },
    { name: "maxBond", type: "uint128" },
    { name: "maxCompensationBps", type: "uint16" },
    { name: "verifier", type: "address" },
    { name: "verifierData", type: "bytes32" },
    { name: "arbiter", type: "address" },
    { name: "arbiterData", type: "bytes32" },
    { name: "arbiterFee", type: "uint128" },
    { name: "expiresAt", type: "uint40" },
  ],
} as const;

/** Kinds of job, as `request.mode`. */
export const MODE = { batch: 0, lease: 1 } as const;

/** A requester's order for one job. Units as in `contracts/market/Orders.sol`. */
export interface Request {
  requester: Address;
  payer: Address;
  matcher: Address;
  token: Address;
  maxPrice: bigint;
  matcherTip: bigint;
  specHash: Hex;
  /** 0 batch, 1 lease: `MODE`. */
  mode: number;
  replicas: number;
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
  traits: bigint;
  gpuModel: Hex;
  region: Hex;
  maxSeconds: number;
  openUntil: number;
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
  minStake: bigint;
  operators: Hex;
  nonce: Hex;
}

/** A node's firm quote. Units as in `contracts/market/Orders.sol`. */
export interface Offer {
  operator: Address;
  index: number;
  epoch: number;
  requester: Address;
  token: Address;
  cpuRateX18: bigint;
  memoryRateX18: bigint;
  diskRateX18: bigint;
  gpuRateX18: bigint;
  baseCharge: bigint;
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
  traits: bigint;
  gpuModel: Hex;
  region: Hex;
  maxSeconds: number;
  minSubmitMargin: number;
  minHeartbeatSeconds: number;
  maxSettleSeconds: number;
  maxBond: bigint;
  maxCompensationBps: number;
  verifier: Address;
  verifierData: Hex;
  arbiter: Address;
  arbiterData: Hex;
  arbiterFee: bigint;
  expiresAt: number;
}

/** What the operator's cold key lets a node commit to. */
export interface NodeLimits {
  maxBond: bigint;
  maxActive: number;
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
}

/** What a node claims for a replica. */
export interface Claim {
  resultHash: Hex;
  resultBytes: bigint;
  charge: bigint;
}

/** The market that orders are bound to. */
export interface MarketDomain {
  chainId: number;
  market: Address;
}

/** The EIP-712 domain of orders. */
export function orderDomain({ chainId, market }: MarketDomain): TypedDataDomain & { chainId: number } {
  return { name: "Berth", version: "1", chainId, verifyingContract: market };
}

/** What a wallet is asked to sign for a request: pass it to `signTypedData`. */
export function requestTypedData(domain: MarketDomain, request: Request) {
  const types = { Request: orderTypes.Request };
  return { domain: orderDomain(domain), types, primaryType: "Request", message: request } as const;
}

/** What a node's hot key signs for an offer: pass it to `signTypedData`. */
export function offerTypedData(domain: MarketDomain, offer: Offer) {
  return {
    domain: orderDomain(domain),
    types: { Offer: orderTypes.Offer },
    primaryType: "Offer",
    message: offer,
  } as const;
}

/** The id of the job that `request` opens: its EIP-712 hash, equal to `JobMarket.hashRequest`. */
export function jobIdOf(domain: MarketDomain, request: Request): JobId {
  return hashTypedData(requestTypedData(domain, request)) as JobId;
}

/** EIP-712 hash of an offer, equal to `JobMarket.hashOffer`. */
export function offerHashOf(domain: MarketDomain, offer: Offer): Hex {
  return hashTypedData(offerTypedData(domain, offer));
}

/** What a node's hot key signs to prove that it agrees to serve as that node. */
export function nodeKeyTypedData(
  { chainId, registry }: { chainId: number; registry: Address },
  message: { operator: Address; index: number; wgKey: Hex },
) {
  return {
    domain: { name: "Berth Identity", version: "1", chainId, verifyingContract: registry },
    types: {
      NodeKey: [
        { name: "operator", type: "address" },
        { name: "index", type: "uint32" },
        { name: "wgKey", type: "bytes32" },
      ],
    },
    primaryType: "NodeKey",
    message,
  } as const;
}

/** Text of at most 32 ASCII characters as left-aligned bytes32, the way orders carry a region or a GPU model. */
export function textToBytes32(text: string): Hex {
  return stringToHex(text, { size: 32 });
}
