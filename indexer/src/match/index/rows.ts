import { type Hex, MODE, type Offer, type Request, ZERO_BYTES32 } from "@berth/protocol";
import type { BookNode } from "../../book/book.ts";

/** Where the numbers of an offer stand in its row: five prices, where less is better, then thirteen capacities. */
export const PRICES = 5;
export const FREE = 5;
/** cpuMilli, memoryMiB, diskMiB, gpus. */
export const FREES = 4;
export const STAKE = 17;
export const ROW = 18;

/**
 * An offer as the tree sees it. Every number is rounded in the offer's favour, so that no offer is lost here; who may not
 * be lost to rounding either is asked again, exactly, by whoever searches.
 */
export interface OfferRow {
  numbers: Float64Array;
  traitsLow: number;
  traitsHigh: number;
  region: number;
  gpuModel: number;
  /** The number of its prices. */
  price: number;
}

/** What a request asks of rows: weights of the five prices, least capacities, traits, and names by their numbers. */
export interface RequestRow extends Omit<OfferRow, "price"> {
  bond: number;
  minStake: number;
}

/** A number for every name; `ANY` for what a request leaves open. */
export const ANY = -1;
const UNKNOWN = -2;

/** Numbers of names for as long as an offer has them: anyone can make up new ones. */
export interface Names {
  /** One offer more has it. */
  add(name: string): number;
  /** One offer fewer has it. */
  drop(name: string): void;
  /** The number of a name that a request gives. */
  find(name: Hex): number;
  readonly size: number;
}

export function createNames(): Names {
  const known = new Map<string, { number: number; offers: number }>();
  let last = -1;
  return {
    add(name) {
      const one = known.get(name) ?? { number: ++last, offers: 0 };
      one.offers += 1;
      known.set(name, one);
      return one.number;
    },
    drop(name) {
      const one = known.get(name);
      if (one === undefined) return;
      one.offers -= 1;
      if (one.offers === 0) known.delete(name);
    },
    find: (name) => (name === ZERO_BYTES32 ? ANY : (known.get(name)?.number ?? UNKNOWN)),
    get size() {
      return known.size;
    },
  };
}

/** What is left of an offer's node: nothing at all (below zero) where no request can have any of it. */
export interface Left {
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
}

const GONE: Left = { cpuMilli: -1, memoryMiB: -1, diskMiB: -1, gpus: -1 };

export function leftOf(
  offer: Offer,
  signer: string,
  node: BookNode | undefined,
  held: Left & { active: number },
): Left {
  if (node === undefined || node.key !== signer || node.limits === null) return GONE;
  const { limits, use } = node;
  if (use.epoch !== offer.epoch || use.active + held.active >= limits.maxActive) return GONE;
  return {
    cpuMilli: Math.min(offer.cpuMilli, limits.cpuMilli) - use.cpuMilli - held.cpuMilli,
    memoryMiB: Math.min(offer.memoryMiB, limits.memoryMiB) - use.memoryMiB - held.memoryMiB,
    diskMiB: Math.min(offer.diskMiB, limits.diskMiB) - use.diskMiB - held.diskMiB,
    gpus: Math.min(offer.gpus, limits.gpus) - use.gpus - held.gpus,
  };
}

export function rowOfOffer(
  offer: Offer,
  left: Left,
  node: BookNode | undefined,
  stake: number,
  names: { regions: Names; gpuModels: Names; prices: Names },
): OfferRow {
  const limit = node?.limits?.maxBond ?? 0n;
  const numbers = Float64Array.of(
    Number(offer.baseCharge),
    Number(offer.cpuRateX18) / 1e18,
    Number(offer.memoryRateX18) / 1e18,
    Number(offer.diskRateX18) / 1e18,
    Number(offer.gpuRateX18) / 1e18,
    left.cpuMilli,
    left.memoryMiB,
    left.diskMiB,
    left.gpus,
    offer.maxSeconds,
    offer.maxSettleSeconds,
    -offer.minSubmitMargin,
    offer.minHeartbeatSeconds === 0 ? Number.NEGATIVE_INFINITY : -offer.minHeartbeatSeconds,
    numberUp(offer.maxBond < limit ? offer.maxBond : limit),
    offer.maxCompensationBps,
    offer.expiresAt,
    node?.validTo ?? 0,
    stake,
  );
  const region = names.regions.add(offer.region);
  const gpuModel = names.gpuModels.add(offer.gpuModel);
  return { numbers, ...traitsOf(offer.traits), region, gpuModel, price: names.prices.add(pricesOf(offer)) };
}

/** Offers of the same prices cost the same for every request. */
export function pricesOf({ baseCharge, cpuRateX18, memoryRateX18, diskRateX18, gpuRateX18 }: Offer): string {
  return `${baseCharge} ${cpuRateX18} ${memoryRateX18} ${diskRateX18} ${gpuRateX18}`;
}

export function rowOfRequest(request: Request, now: number, names: { regions: Names; gpuModels: Names }): RequestRow {
  const { maxSeconds, submitWindow, challengeWindow, arbiterWindow, heartbeatSeconds, noticeSeconds } = request;
  const isLease = request.mode === MODE.lease;
  const settle = challengeWindow + arbiterWindow;
  const bond = numberDown(request.bond);
  const numbers = Float64Array.of(
    1,
    request.cpuMilli * maxSeconds,
    request.memoryMiB * maxSeconds,
    request.diskMiB * maxSeconds,
    request.gpus * maxSeconds,
    request.cpuMilli,
    request.memoryMiB,
    request.diskMiB,
    request.gpus,
    maxSeconds,
    isLease ? Math.max(settle, noticeSeconds) : settle,
    isLease ? Number.NEGATIVE_INFINITY : maxSeconds - submitWindow,
    isLease ? -heartbeatSeconds : Number.NEGATIVE_INFINITY,
    bond,
    request.compensationBps,
    now,
    now + (isLease ? maxSeconds + 2 * heartbeatSeconds : submitWindow + settle),
    bond,
  );
  const [region, gpuModel] = [names.regions.find(request.region), names.gpuModels.find(request.gpuModel)];
  return { numbers, ...traitsOf(request.traits), region, gpuModel, bond, minStake: numberDown(request.minStake) };
}

/** Sixty-four traits have a bit of their own; those above share them. */
function traitsOf(traits: bigint): Pick<OfferRow, "traitsLow" | "traitsHigh"> {
  let rest = traits;
  let [traitsLow, traitsHigh] = [0, 0];
  while (rest !== 0n) {
    traitsLow |= Number(rest & 0xffffffffn) | 0;
    traitsHigh |= Number((rest >> 32n) & 0xffffffffn) | 0;
    rest >>= 64n;
  }
  return { traitsLow, traitsHigh };
}

export function numberUp(amount: bigint): number {
  const near = Number(amount);
  return Number.isSafeInteger(near) ? near : near * (near > 0 ? 1 + 4e-16 : 1 - 4e-16);
}

function numberDown(amount: bigint): number {
  const near = Number(amount);
  return Number.isSafeInteger(near) ? near : near * (1 - 4e-16);
}
