import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ContentStore } from "@berth/content";
import type { Config } from "../config.ts";
import { attemptName } from "../core/attempt-name.ts";
import type { Machine } from "../core/ports.ts";
import { freeBytesOf, usedBytesOf } from "../disk.ts";
import type { Freed } from "../http/admin.ts";
import type { Context } from "../log.ts";
import type { Journal } from "../store/journal.ts";
import type { Database } from "../store/open.ts";
import { pruneJournal } from "../store/prune.ts";

/** Where things lie that somebody may need again. */
export interface Caches {
  content: Pick<ContentStore, "gc">;
  /** Undefined while there is no engine. */
  machine(): Pick<Machine, "evictImages"> | undefined;
  /** Blobs that images were fetched as. */
  blobs: { evict(tight: boolean): Promise<number> };
  /** Unix seconds that are past for certain: a clock that is set wrong must not end anybody's retention. */
  now(): number;
}

/** What is searched for things that nobody needs any more. */
export interface GcTargets extends Caches {
  dataDir: string;
  runId: string;
  journal: Journal;
}

/** How often a running node throws away what it need not keep. */
const GC_MS = 600_000;

/**
 * Throws away content past its retention, images that no job needs, and what attempts that are over left on their way.
 * Works beside a running node: what an open attempt has stays.
 */
export async function freeAll(targets: GcTargets, own: Context): Promise<Freed> {
  const before = await usedBytes(targets.dataDir, own);
  const { content, images } = await freeCaches(targets, { isTight: () => true, imageBytes: 0 }, own);
  const staging = await freeStaging(targets);
  const freedBytes = Math.max(0, before - (await usedBytes(targets.dataDir, own)));
  if (freedBytes > 0) own.log.info({ content, images, staging, freedBytes }, "disk freed on request");
  return { content, images, staging, freedBytes };
}

/**
 * Keeps the caches within what the configuration allows them, and empties them while the disk is nearly full. The journal
 * forgets what is long over.
 */
export function scheduleGc(config: Config, caches: Caches & { database: Database }, own: Context): void {
  const { signal, log } = own;
  const isTight = () => freeBytesOf(config.dataDir) < 2 * config.minFreeMiB * 2 ** 20;
  const imageBytes = config.images.cacheMiB * 2 ** 20;
  const collect = async () => {
    const { content, images, blobBytes } = await freeCaches(caches, { isTight, imageBytes }, own);
    if (content.blocks > 0) log.info(content, "old content removed");
    if (images.length > 0) log.info({ images }, "unused images removed");
    if (blobBytes > 0) log.info({ bytes: blobBytes }, "unused blobs of images removed");
  };
  const forget = async () => {
    const pruned = await pruneJournal(caches.database, config.journal.retentionDays, signal);
    if (Object.values(pruned).some((rows) => rows > 0)) log.info(pruned, "the journal forgot what is long over");
  };
  let last = Promise.resolve();
  const timer = setInterval(() => {
    last = last
      .then(collect)
      .catch((error: unknown) => signal.aborted || log.warn({ err: error }, "old content or images not removed"))
      .then(forget)
      .catch((error: unknown) => signal.aborted || log.warn({ err: error }, "the journal keeps what is long over"))
      .then(() => undefined);
  }, GC_MS).unref();
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** Content past its retention, then images beyond `imageBytes` that no job needs: all of them where the disk `isTight`. */
async function freeCaches(
  { content, machine, blobs, now }: Caches,
  { isTight, imageBytes }: { isTight(): boolean; imageBytes: number },
  own: Context,
) {
  const freed = await content.gc(now(), { signal: own.signal });
  const tight = isTight(); // now, without that content
  const images = (await machine()?.evictImages(tight ? 0 : imageBytes, own)) ?? [];
  return { content: freed, images, blobBytes: await blobs.evict(tight) };
}

async function freeStaging({ dataDir, runId, journal }: GcTargets): Promise<string[]> {
  const folder = join(dataDir, "staging");
  // The folder first: an attempt is in the journal before it stages anything.
  const found = await readdir(folder).catch(() => []);
  const open = new Set(journal.open().map((attempt) => attemptName(runId, attempt)));
  const gone = found.filter((name) => !open.has(name));
  for (const name of gone) await rm(join(folder, name), { recursive: true, force: true });
  return gone;
}

/** Bytes on disk of everything in the data folder, jobs' volumes not counted twice. */
async function usedBytes(dataDir: string, own: Context): Promise<number> {
  return (await usedBytesOf(dataDir, own, ["--one-file-system"])) ?? 0;
}
