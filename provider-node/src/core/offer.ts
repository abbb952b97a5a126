import {
  type Address,
  type NodeLimits,
  type Offer,
  type Trait,
  textToBytes32,
  traitsToMask,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import type { Config } from "../config.ts";

/** What this machine can give to jobs, all of them together. */
export interface Capacity {
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
}

export interface OfferFacts {
  operator: Address;
  index: number;
  token: Address;
  /** The node's epoch in the market. */
  epoch: number;
  /** Unix seconds by the chain's clock. */
  now: number;
  capacity: Capacity;
  /** What the checks proved. */
  traits: readonly Trait[];
}

/** The node's quote. It names the whole capacity: what is in use, the market subtracts itself. Pure. */
export function makeOffer(
  { operator, index, token, epoch, now, capacity, traits }: OfferFacts,
  terms: Config["offers"],
): Offer {
  const text = (value: string) => (value === "" ? ZERO_BYTES32 : textToBytes32(value));
  return {
    operator,
    index,
    epoch,
    requester: ZERO_ADDRESS,
    token,
    cpuRateX18: terms.cpuRateX18,
    memoryRateX18: terms.memoryRateX18,
    diskRateX18: terms.diskRateX18,
    gpuRateX18: terms.gpuRateX18,
    baseCharge: terms.baseCharge,
    ...capacity,
    gpus: 0,
    traits: traitsToMask(traits.filter((trait) => !terms.withhold.includes(trait))),
    gpuModel: text(terms.gpuModel),
    region: text(terms.region),
    maxSeconds: terms.maxSeconds,
    minSubmitMargin: terms.minSubmitMargin,
    minHeartbeatSeconds: 0, // no leases
    maxSettleSeconds: terms.maxSettleSeconds,
    maxBond: terms.maxBond,
    maxCompensationBps: terms.maxCompensationBps,
    verifier: ZERO_ADDRESS,
    verifierData: ZERO_BYTES32,
    arbiter: ZERO_ADDRESS,
    arbiterData: ZERO_BYTES32,
    arbiterFee: 0n,
    expiresAt: now + terms.ttlSeconds,
  };
}

/** The limits that an operator sets for a node with these terms. Pure. */
export function limitsFor(capacity: Capacity, { maxBond, maxActive }: Config["offers"]): NodeLimits {
  return { maxBond, maxActive, ...capacity, gpus: 0 };
}

/** What an operator has to accept before its node's offers can be matched: the tokens, verifiers and arbiters in them. Pure. */
export function acceptedBy({ token }: Config["offers"]): Address[] {
  return token === undefined ? [] : [token];
}
