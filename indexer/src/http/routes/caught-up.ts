import { MarketError } from "@berth/protocol";
import type { ApiContext } from "../route.ts";

/** An order cannot be judged by tables that lag behind. Throws INDEXER_BEHIND. */
export function requireCaughtUp({ caughtUp }: ApiContext): void {
  if (caughtUp()) return;
  throw new MarketError("INDEXER_BEHIND", "The indexer has not caught up with the chain yet.", {
    hint: "Try again when GET /ready answers 200.",
    retryable: true,
  });
}
