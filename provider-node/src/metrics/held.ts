import { join } from "node:path";
import type { Machine } from "../core/ports.ts";
import { usedBytesOf } from "../disk.ts";
import type { Context } from "../log.ts";

/** What lies on the disk. Undefined where it was not counted yet, or cannot be. */
export interface Held {
  contentBytes: number | undefined;
  images: number | undefined;
  imageBytes: number | undefined;
}

/** Counting takes a walk over all files, so it is done beside the scrapes and not for each of them. */
const FRESH_MS = 300_000;

/** Gives the newest count, and begins another when that is old. */
export function createHeld(dataDir: string, machine: () => Machine | undefined, own: Context): () => Held {
  let held: Held = { contentBytes: undefined, images: undefined, imageBytes: undefined };
  let countedAt = Number.NEGATIVE_INFINITY;
  const count = async () => {
    const images = await machine()?.listImages?.(own);
    held = {
      contentBytes: await usedBytesOf(join(dataDir, "content"), own),
      images: images?.length,
      imageBytes: images?.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  };
  return () => {
    if (Date.now() - countedAt > FRESH_MS && !own.signal.aborted) {
      countedAt = Date.now();
      count().catch((error: unknown) => own.signal.aborted || own.log.warn({ err: error }, "disk use not counted"));
    }
    return held;
  };
}
