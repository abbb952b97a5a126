import { X18 } from "@berth/protocol";
import { highestFactor, type Ratio, ratioOf } from "./hours.ts";
import type { Profile } from "./profiles.ts";

/** What an offer asks: token units, and token units per thousandth of a core (or MiB, or GPU) and second, scaled by 1e18. */
export interface Prices {
  cpuRateX18: bigint;
  memoryRateX18: bigint;
  diskRateX18: bigint;
  gpuRateX18: bigint;
  baseCharge: bigint;
}

export interface PriceFacts {
  /** Unix seconds: when the offer is signed, and when it expires. */
  now: number;
  until: number;
  /** Of the chain; only asked for where the profile has `gas`. */
  weiPerGas: bigint;
}

/** What fits an order's field. */
const MOST = 2n ** 128n - 1n;

/** The prices that hold in every second in which the offer can be taken. Rounded up: never below what the rules say. Pure. */
export function pricesFor(profile: Omit<Profile, "name">, { now, until, weiPerGas }: PriceFacts): Prices {
  const factor = highestFactor(profile.hours, profile.timeZone, now, until);
  const base = timesUp(profile.baseCharge, factor);
  const floor = profile.gas === undefined ? 0n : gasFloorUp(profile.gas, weiPerGas);
  return {
    cpuRateX18: timesUp(profile.cpuRateX18, factor),
    memoryRateX18: timesUp(profile.memoryRateX18, factor),
    diskRateX18: timesUp(profile.diskRateX18, factor),
    gpuRateX18: timesUp(profile.gpuRateX18, factor),
    baseCharge: floor > base ? floor : base,
  };
}

/** Token units that a job's gas is worth, times the operator's factor, rounded up. Pure. */
export function gasFloorUp(gas: NonNullable<Profile["gas"]>, weiPerGas: bigint): bigint {
  const { numerator, denominator } = ratioOf(gas.factor);
  const wei = weiPerGas * BigInt(gas.gasPerJob);
  return atMost(ceil(wei * gas.tokenUnitsPerEther * numerator, X18 * denominator));
}

function timesUp(amount: bigint, { numerator, denominator }: Ratio): bigint {
  return atMost(ceil(amount * numerator, denominator));
}

function ceil(dividend: bigint, divisor: bigint): bigint {
  return (dividend + divisor - 1n) / divisor;
}

function atMost(amount: bigint): bigint {
  return amount < MOST ? amount : MOST;
}
