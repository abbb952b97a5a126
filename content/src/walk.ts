import { MarketError } from "@berth/protocol";
import type { CID } from "multiformats/cid";
import { assertBelow } from "./dag.ts";
import { DEFAULT_MAX_ENTRIES, MAX_DEPTH, MAX_PATH_BYTES } from "./limits.ts";
import { isSafeName } from "./names.ts";
import type { BlockStore, ExportOptions, Progress } from "./store.ts";
import { kindOf, listFolder, readFileContent } from "./unixfs-read.ts";

/** A folder comes before what is in it. `path` is relative to the root, parts joined by "/"; the root's own is "". */
export type WalkedEntry =
  | { kind: "folder"; path: string }
  /** `content` must be read to its end before the walk goes on. */
  | { kind: "file"; path: string; content: AsyncIterable<Uint8Array> };

/**
 * Every folder and file below `root`, which a stranger may have made. Files are counted in `progress` as they are read.
 * Throws CONTENT_UNSAFE (names, links), CONTENT_TOO_LARGE, CONTENT_INVALID, CONTENT_NOT_FOUND, CONTENT_CORRUPT.
 */
export async function* walkTree(
  blocks: BlockStore,
  root: CID,
  { signal, maxEntries = DEFAULT_MAX_ENTRIES, maxBytes, onProgress }: ExportOptions,
  progress: Progress,
): AsyncGenerator<WalkedEntry> {
  let entries = 0;
  const content = async function* (cid: CID): AsyncGenerator<Uint8Array> {
    for await (const chunk of readFileContent(blocks, cid, { signal })) {
      progress.bytes += chunk.length;
      assertBelow(progress.bytes, maxBytes, root);
      onProgress?.({ ...progress });
      yield chunk;
    }
  };
  const stack: { cid: CID; path: string; depth: number }[] = [{ cid: root, path: "", depth: 0 }];
  for (let todo = stack.pop(); todo !== undefined; todo = stack.pop()) {
    signal?.throwIfAborted();
    const { cid, path, depth } = todo;
    if (depth > MAX_DEPTH)
      throw new MarketError("CONTENT_INVALID", `${root} is nested deeper than ${MAX_DEPTH} folders.`);
    if ((await kindOf(blocks, cid, { signal })) === "directory") {
      yield { kind: "folder", path };
      const names = new Set<string>();
      for await (const entry of listFolder(blocks, cid, { signal })) {
        assertSafe(root, entry.name, names);
        if (++entries > maxEntries) throw tooMany(root, maxEntries);
        const below = path === "" ? entry.name : `${path}/${entry.name}`;
        if (Buffer.byteLength(below) > MAX_PATH_BYTES)
          throw unsafe(root, `a path longer than ${MAX_PATH_BYTES} bytes, which cannot be written`);
        stack.push({ cid: entry.cid, path: below, depth: depth + 1 });
      }
      continue;
    }
    yield { kind: "file", path, content: content(cid) };
    progress.files += 1;
    onProgress?.({ ...progress });
  }
}

/** Reads the whole tree as `exportTo` would write it, and writes nothing. Throws as `walkTree`. */
export async function measureTree(blocks: BlockStore, root: CID, options: ExportOptions): Promise<Progress> {
  const progress: Progress = { bytes: 0, files: 0 };
  for await (const entry of walkTree(blocks, root, options, progress)) {
    if (entry.kind === "folder") continue;
    for await (const _ of entry.content); // counted while read
  }
  return progress;
}

/** The error of a tree whose names would hit something else on disk. */
function unsafe(root: CID, what: string, cause?: unknown): MarketError {
  return new MarketError("CONTENT_UNSAFE", `${root} has ${what}.`, {
    hint: "Do not trust whoever made this content.",
    cause,
  });
}

/** Two entries with one name would overwrite each other. */
export function repeated(root: CID, name: string, cause?: unknown): MarketError {
  return unsafe(root, `two entries named ${JSON.stringify(name)}`, cause);
}

function assertSafe(root: CID, name: string, names: Set<string>): void {
  if (!isSafeName(name)) throw unsafe(root, `an entry named ${JSON.stringify(name)}, which is not allowed`);
  if (names.has(name)) throw repeated(root, name);
  names.add(name);
}

function tooMany(root: CID, maxEntries: number): MarketError {
  return new MarketError("CONTENT_TOO_LARGE", `${root} has more than ${maxEntries} files and folders.`);
}
