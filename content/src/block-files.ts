import { randomUUID } from "node:crypto";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { MarketError } from "@berth/protocol";
import { NextToLast } from "blockstore-fs/sharding";
import type { CID } from "multiformats/cid";
import { blockKey, verifyBlock } from "./cids.ts";
import { notFound } from "./dag.ts";
import { keyedLock } from "./keyed-lock.ts";
import type { BlockStore } from "./store.ts";

const layout = new NextToLast();

export interface BlockFiles extends BlockStore {
  /** Makes the names of these blocks survive a power cut (their bytes already do). */
  syncNames(cids: Iterable<CID>): Promise<void>;
  /** Deletes blocks outside `live` (block keys) that were not touched since `cutoff` (unix seconds). */
  sweep(live: ReadonlySet<string>, cutoff: number, signal?: AbortSignal): Promise<{ blocks: number; bytes: number }>;
}

/**
 * Blocks as files, in the folder layout of blockstore-fs, which any tool of that family can read. Writing is done here:
 * two writers of the same block must not share a temporary name, and a block's bytes reach the disk before its name does,
 * so a store is usable after kill -9 or a power cut. Where `durable` is false nothing is flushed: for what no one reads then.
 */
export async function openBlockFiles(dir: string, { durable = true } = {}): Promise<BlockFiles> {
  const blocksDir = join(dir, "blocks");
  const tmpDir = join(dir, "tmp");
  await mkdir(blocksDir, { recursive: true });
  await mkdir(tmpDir, { recursive: true });
  const exclusive = keyedLock();

  const pathOf = (cid: CID): string => {
    const { dir: folder, file } = layout.encode(cid);
    return join(blocksDir, folder, file);
  };

  const size: BlockStore["size"] = async (cid) => {
    try {
      return (await stat(pathOf(cid))).size;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  };

  const keep: BlockStore["keep"] = (cid) => exclusive(blockKey(cid), () => touch(pathOf(cid)));

  const get: BlockStore["get"] = async (cid, { signal } = {}) => {
    const bytes = await readBlock(cid, pathOf(cid), signal);
    try {
      verifyBlock(cid, bytes);
    } catch (error) {
      // A block that rotted on disk is worth nothing; without it the next fetch repairs the store.
      if (error instanceof MarketError && error.code === "CONTENT_CORRUPT") await rm(pathOf(cid), { force: true });
      throw error;
    }
    return bytes;
  };

  const put: BlockStore["put"] = async (cid, bytes) => {
    verifyBlock(cid, bytes);
    await exclusive(blockKey(cid), async () => {
      if ((await size(cid)) === bytes.length && (await touch(pathOf(cid)))) return;
      await writeWhole(pathOf(cid), bytes, join(tmpDir, randomUUID()), durable);
    });
  };

  const syncNames: BlockFiles["syncNames"] = async (cids) => {
    const folders = new Set([blocksDir]);
    for (const cid of cids) folders.add(dirname(pathOf(cid)));
    for (const folder of folders) await syncFolder(folder);
  };

  const sweep: BlockFiles["sweep"] = async (live, cutoff, signal) => {
    const swept = { blocks: 0, bytes: 0 };
    for (const folder of await readdir(blocksDir)) {
      for (const file of await readdir(join(blocksDir, folder))) {
        signal?.throwIfAborted();
        const path = join(blocksDir, folder, file);
        const key = keyOfFile(file);
        if (key === undefined || live.has(key)) continue;
        const bytes = await exclusive(key, () => removeIfOld(path, cutoff));
        if (bytes === undefined) continue;
        swept.blocks += 1;
        swept.bytes += bytes;
      }
    }
    for (const file of await readdir(tmpDir)) await removeIfOld(join(tmpDir, file), cutoff);
    return swept;
  };

  return { size, get, put, keep, syncNames, sweep };
}

async function readBlock(cid: CID, path: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  try {
    return await readFile(path, { signal });
  } catch (error) {
    if (isAbsent(error)) throw notFound(cid);
    throw error;
  }
}

async function writeWhole(path: string, bytes: Uint8Array, tmp: string, durable: boolean): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(tmp, "wx", 0o644);
    await handle.writeFile(bytes);
    if (durable) await handle.datasync();
    await handle.close();
    await mkdir(dirname(path), { recursive: true });
    await rename(tmp, path);
  } catch (error) {
    await handle?.close().catch(() => undefined);
    await rm(tmp, { force: true });
    throw diskError(error);
  }
}

/** Opens and flushes a folder, so that renames into it last. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function touch(path: string): Promise<boolean> {
  const now = new Date();
  try {
    await utimes(path, now, now);
    return true;
  } catch (error) {
    if (isAbsent(error)) return false;
    throw error;
  }
}

async function removeIfOld(path: string, cutoff: number): Promise<number | undefined> {
  try {
    const { mtimeMs, size } = await stat(path);
    if (mtimeMs / 1000 > cutoff) return undefined;
    await rm(path, { force: true });
    return size;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

function keyOfFile(file: string): string | undefined {
  try {
    return blockKey(layout.decode(file));
  } catch {
    return undefined; // not ours: leave it
  }
}

/** A full disk as a MarketError with a hint; anything else unchanged. */
export function diskError(error: unknown): unknown {
  const code = errnoOf(error);
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  return new MarketError("DISK_FULL", "There is no space left on the disk.", {
    hint: "Free some space or collect garbage, then try again.",
    retryable: true,
    cause: error,
  });
}

function isAbsent(error: unknown): boolean {
  return errnoOf(error) === "ENOENT";
}

export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
