import type { Offer, Request } from "./orders.ts";
import type { Terms } from "./terms.ts";
import { type RateX18, X18 } from "./units.ts";

type Resources = Pick<Request, "cpuMilli" | "memoryMiB" | "diskMiB" | "gpus">;

/** Token units per second, scaled by 1e18, that `offer` asks for `resources`. As `Pricing.rateX18` in Solidity. */
export function rateX18(resources: Resources, offer: Offer): RateX18 {
  return (BigInt(resources.cpuMilli) * offer.cpuRateX18 +
    BigInt(resources.memoryMiB) * offer.memoryRateX18 +
    BigInt(resources.diskMiB) * offer.diskRateX18 +
    BigInt(resources.gpus) * offer.gpuRateX18) as RateX18;
}

/** Token units held for one replica: the base charge and the longest run, rounded up. */
export function depositUp(request: Request, offer: Offer): bigint {
  const rate = rateX18(request, offer);
  return offer.baseCharge + (rate * BigInt(request.maxSeconds) + X18 - 1n) / X18;
}

/** Token units earned after `seconds` of metered run time, rounded down, never more than the deposit. */
export function chargeDown(request: Request, offer: Offer, seconds: number): bigint {
  const counted = BigInt(Math.min(Math.max(0, Math.floor(seconds)), request.maxSeconds));
  return offer.baseCharge + (rateX18(request, offer) * counted) / X18;
}

/** Token units that `offers` cost together with the tip: what a match debits from the payer. */
export function priceOf(request: Request, offers: readonly Offer[]): bigint {
  return offers.reduce((sum, offer) => sum + depositUp(request, offer), request.matcherTip);
}

/** Token units held for the replica of `terms` when it was matched. As `Pricing.depositOf` in Solidity. */
export function depositOf({ job, assignment }: Terms): bigint {
  return assignment.baseCharge + (assignment.rateX18 * BigInt(job.maxSeconds) + X18 - 1n) / X18;
}

/** Token units earned under `terms` after `seconds` of metered run time, rounded down, never more than the deposit. */
export function chargeOfDown({ job, assignment }: Terms, seconds: number): bigint {
  const counted = BigInt(Math.min(Math.max(0, Math.floor(seconds)), job.maxSeconds));
  return assignment.baseCharge + (assignment.rateX18 * counted) / X18;
}

/** Token units of a slashed bond that go to the payer. */
export function compensationDown(request: Pick<Request, "bond" | "compensationBps">, deposit: bigint): bigint {
  const share = (deposit * BigInt(request.compensationBps)) / 10_000n;
  return share < request.bond ? share : request.bond;
}
