import { MarketError } from "@berth/protocol";

/** A refused order costs its sender as much as this many good ones. */
const REFUSAL_COST = 5;
const MAX_SENDERS = 20_000;

/** Calls that one address may make at once, and regains per second. */
export interface Rate {
  burst: number;
  perSecond: number;
}

/** Counts what each sender handed in. Junk costs more than good orders do. */
export interface RateLimit {
  /** Throws RATE_LIMITED. */
  take(sender: string): void;
  refuse(sender: string): void;
}

export function createRateLimit({ burst, perSecond }: Rate, nowMs: () => number = Date.now): RateLimit {
  const senders = new Map<string, { tokens: number; atMs: number }>();

  function tokensOf(sender: string): number {
    const seen = senders.get(sender);
    if (seen === undefined) return burst;
    return Math.min(burst, seen.tokens + ((nowMs() - seen.atMs) / 1000) * perSecond);
  }

  function spend(sender: string, tokens: number): void {
    const left = tokensOf(sender) - tokens;
    senders.delete(sender);
    senders.set(sender, { tokens: left, atMs: nowMs() });
    const oldest = senders.keys().next().value;
    if (senders.size > MAX_SENDERS && oldest !== undefined) senders.delete(oldest);
  }

  return {
    take(sender) {
      if (tokensOf(sender) < 1) {
        throw new MarketError("RATE_LIMITED", "Too many calls came from this address.", {
          hint: `Wait a little; ${perSecond} a second are taken, refused orders count ${REFUSAL_COST} times.`,
          retryable: true,
        });
      }
      spend(sender, 1);
    },
    refuse: (sender) => spend(sender, REFUSAL_COST - 1),
  };
}
