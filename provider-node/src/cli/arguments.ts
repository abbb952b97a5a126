import { type Address, addressSchema, MarketError, uintSchema } from "@berth/protocol";

/** A whole number above zero. Throws FLAG_INVALID. */
export function whole(text: string, flag: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value;
  throw invalid(flag, text, "a whole number above zero");
}

/** Token units above zero. Throws FLAG_INVALID. */
export function amountOf(text: string, name: string): bigint {
  const amount = uintSchema(128).safeParse(text);
  if (amount.success && amount.data > 0n) return amount.data;
  throw invalid(name, text, "a whole number of token units above zero");
}

/** An account. Throws FLAG_INVALID. */
export function addressOf(text: string, flag: string): Address {
  const address = addressSchema.safeParse(text);
  if (address.success) return address.data;
  throw invalid(flag, text, "an address: 0x and 40 hexadecimal digits");
}

/** One of `known`. Throws FLAG_INVALID. */
export function oneOf<T extends string>(text: string, known: readonly T[], flag: string): T {
  const found = known.find((each) => each === text);
  if (found !== undefined) return found;
  throw invalid(flag, text, `one of ${known.join(", ")}`);
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 } as const;

/** A moment as unix seconds: `90m`, `24h` or `7d` before `now`, or a date. Throws FLAG_INVALID. */
export function momentOf(text: string, flag: string, now: number): number {
  const [, count, unit] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  if (count !== undefined) return now - Number(count) * SECONDS[unit as keyof typeof SECONDS];
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(time)) return Math.floor(time / 1000);
  throw invalid(flag, text, "a time ago like 90m, 24h or 7d, or a date like 2030-01-31 or 2030-01-31T08:00Z");
}

/** A job id in any letter case, or its first digits, at least six. Throws FLAG_INVALID. */
export function jobIdStart(text: string): string {
  if (/^0x[0-9a-fA-F]{6,64}$/.test(text)) return text.toLowerCase();
  throw invalid("JOB", text, "a job id: 0x and 64 hexadecimal digits, or its first six or more");
}

/** Collects a flag that may be given several times. */
export function several(text: string, before: string[] = []): string[] {
  return [...before, text];
}

export function invalid(flag: string, value: string, what: string): MarketError {
  return new MarketError("FLAG_INVALID", `${flag} is "${value}", but must be ${what}.`, {
    hint: "`berth-node help COMMAND` shows an example.",
  });
}
