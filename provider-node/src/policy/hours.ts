/** Hours of a day in which all prices are multiplied, `from` up to before `to`; over midnight where `to` is not above `from`. */
export interface HourRule {
  from: number;
  to: number;
  /** Decimal text. */
  factor: string;
}

/** The exact value of a decimal text. */
export interface Ratio {
  numerator: bigint;
  denominator: bigint;
}

/** A day's hours begin at a multiple of this in every time zone. */
const BORDER_SECONDS = 900;
const ONE: Ratio = { numerator: 1n, denominator: 1n };
const clocks = new Map<string, Intl.DateTimeFormat>();

/** `1.25` as 125/100. Pure. */
export function ratioOf(decimal: string): Ratio {
  const [whole = "", fraction = ""] = decimal.split(".");
  return { numerator: BigInt(whole + fraction), denominator: 10n ** BigInt(fraction.length) };
}

/** The hour, 0 to 23, that clocks in `timeZone` show at `now` (unix seconds). Pure. */
export function hourIn(timeZone: string, now: number): number {
  let clock = clocks.get(timeZone);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat("en", { timeZone, hour: "numeric", hourCycle: "h23" });
    clocks.set(timeZone, clock);
  }
  return Number(clock.format(now * 1000));
}

/** What prices are multiplied by at `now` (unix seconds): by the first rule that holds, or by one. Pure. */
export function factorAt(rules: readonly HourRule[], timeZone: string, now: number): Ratio {
  if (rules.length === 0) return ONE;
  const hour = hourIn(timeZone, now);
  const rule = rules.find(({ from, to }) => (from < to ? from <= hour && hour < to : hour >= from || hour < to));
  return rule === undefined ? ONE : ratioOf(rule.factor);
}

/** The highest factor from `now` to `until`, both included: an offer may be taken at any moment until it expires. Pure. */
export function highestFactor(rules: readonly HourRule[], timeZone: string, now: number, until: number): Ratio {
  let highest = factorAt(rules, timeZone, now);
  if (rules.length === 0) return highest;
  for (let at = now - (now % BORDER_SECONDS) + BORDER_SECONDS; at <= until; at += BORDER_SECONDS) {
    const next = factorAt(rules, timeZone, at);
    if (next.numerator * highest.denominator > highest.numerator * next.denominator) highest = next;
  }
  return highest;
}
