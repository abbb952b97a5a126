import { mkdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { digestSchema } from "@berth/protocol";
import { z } from "zod";
import { imagesOf } from "../engine/attempt-record.ts";
import type { PodmanStore } from "../engine/podman-store.ts";
import type { Context } from "../engine/types.ts";
import { imageName } from "./name.ts";

const listedSchema = z.array(z.object({ Names: z.array(z.string()).nullish(), Size: z.number() }));
const namePattern = /^localhost\/sha256-([0-9a-f]{64})(?::latest)?$/;
/** An image used this lately may be waiting for its container to be made. */
const FRESH_MS = 10 * 60_000;

/** Images that this process is about to make containers of, and how many times. */
const held = new Map<string, number>();

/** Keeps an image from being dropped until disposed. */
export function holdImage(digest: string): Disposable {
  const change = (by: number) => {
    const count = (held.get(digest) ?? 0) + by;
    if (count > 0) held.set(digest, count);
    else held.delete(digest);
  };
  change(1);
  return { [Symbol.dispose]: () => change(-1) };
}

/** Notes that an image is needed now; across restarts. */
export function noteUse(digest: string, store: PodmanStore): void {
  const file = usageFile(digest, store);
  mkdirSync(join(store.folder, "image-use"), { recursive: true });
  writeFileSync(file, "", { flag: "a" });
  const now = new Date();
  utimesSync(file, now, now);
}

/** The images in the store, with the bytes that podman counts; none when podman does not say. */
export async function listImages(
  store: PodmanStore,
  { signal }: Context,
): Promise<{ digest: string; bytes: number }[]> {
  const { exitCode, stdout } = await store.run(["images", "--format=json"], { signal });
  if (exitCode !== 0) return [];
  return listedSchema.parse(JSON.parse(stdout)).flatMap(({ Names, Size }) => {
    const hash = (Names ?? []).map((name) => namePattern.exec(name)?.[1]).find((found) => found !== undefined);
    return hash === undefined ? [] : [{ digest: digestSchema.parse(`sha256:${hash}`), bytes: Size }];
  });
}

/**
 * Drops images, least recently used first, until those left have at most `maxBytes` together. One of an attempt that is
 * not cleaned up, that is held, or that was needed in the last ten minutes, stays. Returns the digests of those that went.
 */
export async function evictImages(maxBytes: number, store: PodmanStore, context: Context): Promise<string[]> {
  const { signal } = context;
  const listed = await listImages(store, context);
  const images = listed.map((image) => ({ ...image, usedAt: usedAt(image.digest, store) }));
  let total = images.reduce((sum, { bytes }) => sum + bytes, 0);
  const gone: string[] = [];
  const inUse = imagesOf(join(store.folder, "attempts"));
  for (const { digest, bytes, usedAt } of images.sort((a, b) => a.usedAt - b.usedAt)) {
    if (total <= maxBytes || Date.now() - usedAt < FRESH_MS) break;
    if (held.has(digest) || inUse.includes(digest)) continue;
    store.imageIds.delete(digest);
    // Without --force podman refuses while a container is made of it.
    const removed = await store.run(["rmi", imageName(digest)], { signal });
    if (removed.exitCode !== 0) continue;
    total -= bytes;
    gone.push(digest);
  }
  return gone;
}

/** Unix milliseconds; 0 when it was never noted. */
function usedAt(digest: string, store: PodmanStore): number {
  return statSync(usageFile(digest, store), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function usageFile(digest: string, store: PodmanStore): string {
  return join(store.folder, "image-use", digest.replace(":", "-"));
}
