import { randomUUID } from "node:crypto";
import { mkdir, open, readdir, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { MarketError } from "@berth/protocol";
import type { CID } from "multiformats/cid";
import { diskError, errnoOf } from "./block-files.ts";
import type { BlockStore, ExportOptions, Progress } from "./store.ts";
import { repeated, walkTree } from "./walk.ts";

/** Writes the file or folder `root` to `target`: it appears whole or not at all. Errors: see `ContentStore.exportTo`. */
export async function exportTo(
  blocks: BlockStore,
  root: CID,
  target: string,
  options: ExportOptions,
): Promise<Progress> {
  return await writeWhole(target, (part) => writeTree(blocks, root, part, options));
}

/**
 * Lets `write` make a file or folder under a name of its own beside `target`, then renames it: it appears whole or not at
 * all. Throws TARGET_EXISTS when `target` is there and is no empty folder.
 */
export async function writeWhole<T>(target: string, write: (part: string) => Promise<T>): Promise<T> {
  const path = resolve(target);
  await assertFree(path);
  await mkdir(dirname(path), { recursive: true });
  const part = join(dirname(path), `.${basename(path).slice(0, 100)}.${randomUUID()}.part`);
  try {
    const written = await write(part);
    await rmdir(path).catch(ignoreAbsent);
    await rename(part, path);
    return written;
  } catch (error) {
    await rm(part, { recursive: true, force: true });
    throw diskError(error);
  }
}

async function writeTree(blocks: BlockStore, root: CID, top: string, options: ExportOptions): Promise<Progress> {
  const progress: Progress = { bytes: 0, files: 0 };
  for await (const entry of walkTree(blocks, root, options, progress)) {
    const path = join(top, entry.path);
    if (entry.kind === "folder") await once(root, path, () => mkdir(path));
    else await writeFile(root, path, entry.content);
  }
  return progress;
}

async function writeFile(root: CID, path: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  const handle = await once(root, path, () => open(path, "wx", 0o644)); // "x": never through a link, never over a file
  try {
    for await (const chunk of content) await handle.writeFile(chunk);
  } finally {
    await handle.close();
  }
}

/** Two names that this file system folds into one would overwrite each other. */
async function once<T>(root: CID, path: string, create: () => Promise<T>): Promise<T> {
  try {
    return await create();
  } catch (cause) {
    if (errnoOf(cause) !== "EEXIST") throw cause;
    throw repeated(root, basename(path), cause);
  }
}

async function assertFree(path: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(path);
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return;
    if (errnoOf(error) !== "ENOTDIR") throw error;
    names = [path];
  }
  if (names.length === 0) return;
  throw new MarketError("TARGET_EXISTS", `${path} already exists.`, { hint: "Name a path that does not exist yet." });
}

function ignoreAbsent(error: unknown): void {
  if (errnoOf(error) !== "ENOENT") throw error;
}
