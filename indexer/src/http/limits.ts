import type { Rate } from "./rate-limit.ts";
import type { StreamLimits } from "./streams.ts";

/** What the API lets one address do. */
export interface ApiLimits {
  /** Orders that are handed in. */
  orders: Rate;
  /** Questions. */
  questions: Rate;
  streams: StreamLimits;
}

export const DEFAULT_LIMITS: ApiLimits = {
  orders: { burst: 200, perSecond: 20 },
  questions: { burst: 5_000, perSecond: 1_000 },
  streams: { total: 4_096, perAddress: 128 },
};
