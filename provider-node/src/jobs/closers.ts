import type { Logger } from "../log.ts";

/** How the parts of a node are closed: the newest first, so that a part outlives those that stand on it. */
export type Closers = (() => Promise<void> | void)[];

/** Closes every part once. One that fails keeps no other from being closed. */
export async function closeAll(closers: Closers, log: Logger): Promise<void> {
  for (const close of closers.splice(0).reverse()) {
    await Promise.resolve(close()).catch((error: unknown) => log.warn({ err: error }, "part did not stop cleanly"));
  }
}
