import { type Address, MarketError, type Request } from "@berth/protocol";

/** How much gas a matcher spends, and on whose matches. All in wei. */
export interface GasPolicy {
  /** What a tip is worth to the matcher, by token: wei for one token unit, scaled by 1e18. Tips in other tokens count nothing. */
  tipWorthX18: ReadonlyMap<Address, bigint>;
  /** Per UTC day, for what tips do not pay: matches with a small tip or none, and matches that fail on chain. */
  givenPerDay: bigint;
  /** Per UTC day, beyond that, for matches whose tips would have paid, had they not failed on chain; then nothing is sent. */
  lostPerDay?: bigint | undefined;
  /** Per UTC day in all; what would exceed it waits. */
  mostPerDay?: bigint | undefined;
}

/** One coin a day is given away, so that a market works before anybody has set a price on anything. */
export const DEFAULT_GAS_POLICY: GasPolicy & { lostPerDay: bigint } = {
  tipWorthX18: new Map(),
  givenPerDay: 10n ** 18n,
  lostPerDay: 10n ** 17n,
};

const ONE_X18 = 10n ** 18n;

/** wei, rounded down */
export function worthOfTip({ tipWorthX18 }: GasPolicy, { token, matcherTip }: Request): bigint {
  return (matcherTip * (tipWorthX18.get(token) ?? 0n)) / ONE_X18;
}

/** Something to pay gas for, with the most that it can cost and what it brings, in wei. */
export interface Costed {
  mostCost: bigint;
  worth: bigint;
}

/**
 * In their order, those that their tips pay for or for which enough of the day's gift is left; the others are `short`. `given`:
 * wei of gas of today that no tip paid for. Where that is all that may be given and lost, so much has failed that nothing is sent.
 */
export function affordable<T extends Costed>(
  items: readonly T[],
  { givenPerDay, lostPerDay = DEFAULT_GAS_POLICY.lostPerDay }: GasPolicy,
  given: bigint,
): { paid: T[]; short: T[]; isDayOver: boolean } {
  if (given > 0n && given >= givenPerDay + lostPerDay) return { paid: [], short: [...items], isDayOver: true };
  let left = givenPerDay > given ? givenPerDay - given : 0n;
  const paid: T[] = [];
  const short: T[] = [];
  for (const item of items) {
    const missing = item.mostCost > item.worth ? item.mostCost - item.worth : 0n;
    if (missing > 0n && missing > left) {
      short.push(item);
      continue;
    }
    left -= missing;
    paid.push(item);
  }
  return { paid, short, isDayOver: false };
}

/** Reads `TOKEN=WEI`, the worth of one token unit with at most 18 decimals. Throws CONFIG_INVALID. */
export function parseTipWorth(entries: readonly string[]): Map<Address, bigint> {
  return new Map(
    entries.map((entry) => {
      const [, token, whole, part = ""] = /^(0x[0-9a-fA-F]{40})=(\d{1,60})(?:\.(\d{1,18}))?$/.exec(entry.trim()) ?? [];
      if (token === undefined || whole === undefined) {
        throw new MarketError("CONFIG_INVALID", `${entry} does not say what a tip is worth.`, {
          hint: "Give TOKEN=WEI, like 0x…=0.5: the token's address, and how many wei of gas one token unit pays for.",
        });
      }
      return [token.toLowerCase() as Address, BigInt(whole + part.padEnd(18, "0"))];
    }),
  );
}
