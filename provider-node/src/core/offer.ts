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
import type { Prices } from "../policy/prices.ts";
import { type Profile, profilesOf } from "../policy/profiles.ts";

/** What this machine can give to jobs, all of them together. */
export interface Capacity {
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
}

export interface OfferFacts {
  operator: Address;
  index: number;
  token: Address;
  /** The node's epoch in the market. */
  epoch: number;
  /** Who may take it; zero: everybody. */
  requester: Address;
  /** Unix seconds by the chain's clock. */
  expiresAt: number;
  capacity: Capacity;
  /** What the GPUs are called where the profile says nothing. */
  gpuModel?: string;
  /** What the checks proved. */
  traits: readonly Trait[];
  prices: Prices;
}

/**
 * One quote of the node. It names the profile's share of the whole capacity: what is in use, the market subtracts itself,
 * and counts it over all offers, so that they may overlap. Pure.
 */
export function makeOffer(facts: OfferFacts, terms: Omit<Profile, "name">): Offer {
  const { operator, index, token, epoch, requester, expiresAt, capacity, traits, prices } = facts;
  const text = (value: string) => (value === "" ? ZERO_BYTES32 : textToBytes32(value));
  const { verifier, arbiter } = terms;
  return {
    operator,
    index,
    epoch,
    requester,
    token,
    ...prices,
    ...shareOf(capacity, terms.sharePercent),
    traits: traitsToMask(traits.filter((trait) => !terms.withhold.includes(trait))),
    gpuModel: text(terms.gpuModel === "" && capacity.gpus > 0 ? (facts.gpuModel ?? "") : terms.gpuModel),
    region: text(terms.region),
    maxSeconds: terms.maxSeconds,
    minSubmitMargin: terms.minSubmitMargin,
    minHeartbeatSeconds: 0, // no leases
    maxSettleSeconds: terms.maxSettleSeconds,
    maxBond: terms.maxBond,
    maxCompensationBps: terms.maxCompensationBps,
    verifier: verifier?.address ?? ZERO_ADDRESS,
    verifierData: verifier?.data ?? ZERO_BYTES32,
    arbiter: arbiter?.address ?? ZERO_ADDRESS,
    arbiterData: arbiter?.data ?? ZERO_BYTES32,
    arbiterFee: arbiter?.fee ?? 0n,
    expiresAt,
  };
}

/** The limits that an operator sets for a node with these terms: what all profiles need. Pure. */
export function limitsFor(capacity: Capacity, offers: Config["offers"]): NodeLimits {
  const maxBond = profilesOf(offers).reduce((most, profile) => (profile.maxBond > most ? profile.maxBond : most), 0n);
  return { maxBond, maxActive: offers.maxActive, ...capacity };
}

/** What an operator has to accept before its node's offers can be matched: the tokens, verifiers and arbiters in them. Pure. */
export function acceptedBy(offers: Config["offers"]): Address[] {
  return [...new Set(profilesOf(offers).flatMap(namedBy))];
}

/** The token, verifier and arbiter that a profile names. Pure. */
export function namedBy({ token, verifier, arbiter }: Omit<Profile, "name">): Address[] {
  return [token, verifier?.address, arbiter?.address].filter((address) => address !== undefined);
}

function shareOf({ cpuMilli, memoryMiB, diskMiB, gpus }: Capacity, percent: number): Capacity {
  const share = (amount: number) => Math.floor((amount * percent) / 100);
  return { cpuMilli: share(cpuMilli), memoryMiB: share(memoryMiB), diskMiB: share(diskMiB), gpus: share(gpus) };
}
