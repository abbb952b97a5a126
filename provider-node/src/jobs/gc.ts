import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ContentStore } from "@berth/content";
import { attemptName } from "../core/attempt-name.ts";
import type { Machine } from "../core/ports.ts";
import { command } from "../engine/command.ts";
import type { Freed } from "../http/admin.ts";
import type { Context } from "../log.ts";
import type { Journal } from "../store/journal.ts";

/** What is searched for things that nobody needs any more. */
export interface GcTargets {
  dataDir: string;
  runId: string;
  journal: Journal;
  content: ContentStore;
  machine: Machine | undefined;
  /** Blobs that images were fetched as. */
  blobs: { evict(tight: boolean): Promise<number> };
  /** Unix seconds by the chain's clock. */
  now(): number;
}

/**
 * Throws away content past its retention, images that no job needs, and what attempts that are over left on their way.
 * Works beside a running node: what an open attempt has stays.
 */
export async function freeAll(targets: GcTargets, own: Context): Promise<Freed> {
  const before = await usedBytes(targets.dataDir, own);
  const content = await targets.content.gc(targets.now(), { signal: own.signal });
  const images = (await targets.machine?.evictImages(0, own)) ?? [];
  await targets.blobs.evict(true);
  const staging = await freeStaging(targets);
  const freedBytes = Math.max(0, before - (await usedBytes(targets.dataDir, own)));
  if (freedBytes > 0) own.log.info({ content, images, staging, freedBytes }, "disk freed on request");
  return { content, images, staging, freedBytes };
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
async function usedBytes(dataDir: string, { signal }: Context): Promise<number> {
  const args = ["--summarize", "--one-file-system", "--block-size=1", dataDir];
  const { stdout } = await command("du", args, { signal });
  const bytes = Number.parseInt(stdout, 10); // files that vanish meanwhile make du fail after its sum
  return Number.isNaN(bytes) ? 0 : bytes;
}
