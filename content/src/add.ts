import { constants } from "node:fs";
import { lstat, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import {
  type ImporterOptions,
  type ImportResult,
  type InProgressImportResult,
  importBytes,
  importer,
} from "ipfs-unixfs-importer";
import type { CID } from "multiformats/cid";
import { DEFAULT_MAX_ENTRIES, MAX_DEPTH } from "./limits.ts";
import { isSafeName } from "./names.ts";
import type { AddedPath, AddPathOptions, BlockStore, CallOptions } from "./store.ts";

/** IPIP-499 `unixfs-v1-2025`: the same bytes give the same CID everywhere. The library's own defaults are no profile. */
export const UNIXFS_PROFILE = "unixfs-v1-2025";

/** Bounded memory: at most this many blocks of 1 MiB of each file are hashed and written at once. */
const IMPORTER: ImporterOptions = { profile: UNIXFS_PROFILE, blockWriteConcurrency: 4 };

const FILES_AT_ONCE = 8;
const MIN_READ_BYTES = 4096;
const MAX_READ_BYTES = 1024 * 1024;

type DAGBuilder = NonNullable<ImporterOptions["dagBuilder"]>;

type Walked = Omit<AddedPath, "cid" | "size">;

/** Where the importer may put blocks. */
export type BlockSink = Pick<BlockStore, "put">;

export async function addBytes(blocks: BlockSink, bytes: Uint8Array, options: CallOptions = {}): Promise<CID> {
  const { cid } = await importBytes(bytes, sink(blocks, options), { ...IMPORTER });
  return cid;
}

/** Imports a stream as one file. Only for callers that have no path. */
export async function addStream(
  blocks: BlockSink,
  stream: AsyncIterable<Uint8Array>,
  options: CallOptions = {},
): Promise<CID> {
  const { cid } = await importBytes(stream, sink(blocks, options), { ...IMPORTER });
  return cid;
}

/** Errors: see `ContentStore.addPath`; PATH_REFUSED when `path` itself is neither a regular file nor a folder. */
export async function addPath(
  blocks: BlockSink,
  path: string,
  options: AddPathOptions = {},
): Promise<Walked & { root: CID }> {
  const walked: Walked = { contentBytes: 0, files: 0, skipped: [] };
  const found = await lstat(path).catch((cause: unknown) => {
    throw new MarketError("PATH_REFUSED", `${path} cannot be read.`, { cause });
  });
  const job: Job = { top: path, target: sink(blocks, options), walked, options, entries: 0 };
  if (found.isFile()) return { root: (await addFile(job, "")).cid, ...walked };
  if (found.isDirectory()) return { root: (await addFolder(job, "", 0)).cid, ...walked };
  throw new MarketError("PATH_REFUSED", `${path} is neither a regular file nor a folder.`, {
    hint: "Links and devices are not followed: name the file itself.",
  });
}

interface Job {
  /** The path that was asked for; what is below it is named relative to it. */
  top: string;
  target: ReturnType<typeof sink>;
  walked: Walked;
  options: AddPathOptions;
  entries: number;
}

async function addFile({ top, target, walked, options }: Job, path: string): Promise<ImportResult> {
  return await importBytes(readRegularFile(join(top, path), walked, options), target, { ...IMPORTER });
}

/**
 * Folders are built from the bottom up. Given a whole tree, the importer decides whether to shard a folder before it knows
 * the CIDs of its subfolders, does not count them, and so departs from the profile.
 */
async function addFolder(job: Job, path: string, depth: number): Promise<ImportResult> {
  const { top, target, walked, options } = job;
  const { signal, maxEntries = DEFAULT_MAX_ENTRIES } = options;
  if (depth > MAX_DEPTH)
    throw new MarketError("CONTENT_TOO_LARGE", `${top} is nested deeper than ${MAX_DEPTH} folders.`);
  const children: ImportResult[] = [];
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  const start = (name: string, add: Promise<ImportResult>) => {
    const done = add.then(
      (child) => void children.push({ ...child, path: name }),
      (error: unknown) => {
        failure ??= { error };
      },
    );
    running.add(done);
    void done.then(() => running.delete(done));
  };
  for (const name of await namesIn(join(top, path))) {
    if (failure !== undefined || signal?.aborted) break;
    if (++job.entries > maxEntries) {
      failure = {
        error: new MarketError("CONTENT_TOO_LARGE", `${top} has more than ${maxEntries} files and folders.`),
      };
      break;
    }
    const below = path === "" ? name : `${path}/${name}`;
    const kind = await kindOnDisk(top, below);
    if (kind === "folder") {
      await Promise.all(running); // so that open files never add up over the depth of a tree
      start(name, addFolder(job, below, depth + 1));
      await Promise.all(running);
    } else if (kind === "file") {
      start(name, addFile(job, below));
      if (running.size >= FILES_AT_ONCE) await Promise.race(running);
    } else {
      walked.skipped.push({ path: below, why: kind.why });
    }
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
  signal?.throwIfAborted();
  return await folderOf(children, target);
}

/** The folder, plain or sharded as the profile says, whose entries are already stored. */
async function folderOf(children: ImportResult[], target: Job["target"]): Promise<ImportResult> {
  const dagBuilder: DAGBuilder = async function* () {
    for (const child of children) yield async () => child as InProgressImportResult;
  };
  let folder: ImportResult | undefined;
  for await (const result of importer([], target, { ...IMPORTER, dagBuilder, wrapWithDirectory: true }))
    folder = result;
  if (folder === undefined) throw new Error("The importer made no folder.");
  return folder;
}

async function kindOnDisk(top: string, path: string): Promise<"file" | "folder" | { why: string }> {
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (!isSafeName(name)) return { why: "the name is not portable" };
  const found = await lstat(join(top, path)).catch(() => undefined);
  if (found === undefined) return { why: "it vanished" };
  if (found.isSymbolicLink()) return { why: "it is a symbolic link" };
  if (found.isDirectory()) return "folder";
  return found.isFile() ? "file" : { why: "it is not a regular file" };
}

async function namesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  return names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Reads what is really there, not what a listing promised: no link is followed and no FIFO can make it wait. */
async function* readRegularFile(path: string, walked: Walked, options: AddPathOptions): AsyncGenerator<Uint8Array> {
  const { signal, maxBytes = Number.POSITIVE_INFINITY, onProgress } = options;
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new MarketError("PATH_REFUSED", `${path} is not a regular file.`);
    const step = Math.min(Math.max(found.size, MIN_READ_BYTES), MAX_READ_BYTES);
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(step), 0, step, null);
      if (bytesRead === 0) break;
      walked.contentBytes += bytesRead;
      if (walked.contentBytes > maxBytes) {
        throw new MarketError("CONTENT_TOO_LARGE", `The content is larger than the ${maxBytes} bytes allowed.`);
      }
      onProgress?.({ bytes: walked.contentBytes, files: walked.files });
      yield buffer.subarray(0, bytesRead);
    }
    walked.files += 1;
    onProgress?.({ bytes: walked.contentBytes, files: walked.files });
  } finally {
    await handle.close();
  }
}

/** The importer's view of a block store. */
function sink(blocks: BlockSink, { signal }: CallOptions) {
  return {
    async put(cid: CID, bytes: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<CID> {
      signal?.throwIfAborted();
      await blocks.put(cid, bytes instanceof Uint8Array ? bytes : await collect(bytes), { signal });
      return cid;
    },
  };
}

async function collect(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}
