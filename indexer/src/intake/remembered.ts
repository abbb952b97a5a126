/** Answers that may change: each is kept for a time, and at most `max` of them. */
export interface Remembered<T> {
  get(key: string): T | undefined;
  put(key: string, value: T, forMs: number): void;
}

export function createRemembered<T>(max: number, nowMs: () => number = Date.now): Remembered<T> {
  const kept = new Map<string, { value: T; untilMs: number }>();
  return {
    get(key) {
      const found = kept.get(key);
      return found !== undefined && nowMs() < found.untilMs ? found.value : undefined;
    },
    put(key, value, forMs) {
      kept.delete(key);
      kept.set(key, { value, untilMs: nowMs() + forMs });
      const oldest = kept.keys().next().value;
      if (kept.size > max && oldest !== undefined) kept.delete(oldest);
    },
  };
}
