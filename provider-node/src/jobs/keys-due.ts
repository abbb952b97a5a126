import type { MarketError } from "@berth/protocol";
import type { createMutex } from "../attest/mutex.ts";
import type { Context } from "../log.ts";
import { areNextKeysDue, type RotationOptions } from "./rotation.ts";

/** Finds out when new keys of a running node can be put into use. */
export interface KeysDue {
  /** Asks the chain, once the node is ready. */
  look(): void;
  /** Resolves when the node is to stop for them. */
  readonly due: Promise<void>;
}

export function createKeysDue(
  rotation: RotationOptions,
  isReady: () => boolean,
  exclusive: ReturnType<typeof createMutex>,
  { signal, log }: Context,
): KeysDue {
  const { promise, resolve } = Promise.withResolvers<void>();
  const look = async () => {
    if (isReady() && !signal.aborted && (await areNextKeysDue(rotation))) resolve();
  };
  return {
    due: promise,
    look: () =>
      void exclusive(look).catch((error: unknown) => {
        const { code, message, hint } = error as MarketError;
        if (!signal.aborted) log.error({ code, reason: message, hint }, "new keys cannot be put into use");
      }),
  };
}
