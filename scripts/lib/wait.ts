import { setTimeout as delay } from "node:timers/promises";
import { MarketError } from "@berth/protocol";

const STEP_MS = 50;
/** Long enough for a slow and busy machine: what has failed for good ends its waiting by other means. */
const PATIENCE_MS = 180_000;

/** Waits until `check` gives something, or throws WAITED_TOO_LONG. Asks every 50 ms. */
export async function waitFor<T>(
  what: string,
  check: () => Promise<T | undefined>,
  { timeoutMs = PATIENCE_MS, signal }: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<T> {
  const giveUpAt = Date.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    const found = await check();
    if (found !== undefined) return found;
    if (Date.now() > giveUpAt) throw new MarketError("WAITED_TOO_LONG", `Waited ${timeoutMs / 1000} s for ${what}.`);
    await delay(STEP_MS);
  }
}

/** Waits until a GET of `url` answers 2xx. */
export async function waitForHttp(
  url: string,
  options: { timeoutMs?: number; signal?: AbortSignal } = {},
): Promise<void> {
  await waitFor(
    `an answer from ${url}`,
    async () => {
      const answer = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
      return answer?.ok ? true : undefined;
    },
    options,
  );
}
