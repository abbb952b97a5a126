import { constants, type Stats } from "node:fs";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { isSafeName, MAX_PATH_BYTES } from "@berth/content";
import { MarketError } from "@berth/protocol";
import type { Context, OutputLimits } from "../engine/types.ts";

/** One regular file of the output, opened afresh and checked again each time its content is read. */
export interface OutputFile {
  /** Relative to the output folder, parts joined by "/". */
  path: string;
  /** Apparent size. */
  bytes: number;
  content(): AsyncIterable<Uint8Array>;
}

export interface SkippedOutput {
  path: string;
  reason:
    | "link"
    | "fifo"
    | "socket"
    | "device"
    | "name is not UTF-8"
    | "name is not portable"
    | "too deep"
    | "changed while read";
}

export type Collected =
  | { ok: true; files: OutputFile[]; skipped: SkippedOutput[]; bytes: number }
  /** More than was declared. `atLeast` is where counting stopped. */
  | { ok: false; tooLarge: { what: "bytes" | "files"; limit: number; atLeast: number } };

const MAX_DEPTH = 64;
/** Folders and skipped entries cost too: this many are walked for each file allowed. */
const ENTRIES_PER_FILE = 4;
const SPARE_ENTRIES = 1024;

/**
 * Lists what a dead container left in `dir`, each folder in byte order of its names. The tree is hostile: nothing is followed, only
 * regular files count, folders are entered by file descriptor. Hard links count once for each name.
 * @param dir the output volume; nothing may write to it any more
 */
export async function collectOutputs(dir: string, limits: OutputLimits, { signal }: Context): Promise<Collected> {
  const files: OutputFile[] = [];
  const skipped: SkippedOutput[] = [];
  const maxEntries = ENTRIES_PER_FILE * limits.maxFiles + SPARE_ENTRIES;
  let bytes = 0;
  let entries = 0;

  /** True when a limit is passed. */
  const walk = async (folder: FileHandle, parts: readonly string[]): Promise<Collected | undefined> => {
    const names = await readdir(inside(folder), { encoding: "buffer" });
    for (const raw of names.sort(Buffer.compare)) {
      signal.throwIfAborted();
      entries += 1;
      if (entries > maxEntries) return tooLarge("files", limits.maxFiles, entries);
      const name = utf8(raw);
      if (name === undefined) {
        skipped.push({ path: [...parts, raw.toString("latin1")].join("/"), reason: "name is not UTF-8" });
        continue;
      }
      const path = [...parts, name].join("/");
      // Who fetches it could not write it to disk.
      const trouble = !isSafeName(name)
        ? "name is not portable"
        : Buffer.byteLength(path) > MAX_PATH_BYTES && "too deep";
      if (trouble) {
        skipped.push({ path, reason: trouble });
        continue;
      }
      const entry = await openEntry(folder, name);
      if (typeof entry === "string") {
        skipped.push({ path, reason: entry });
        continue;
      }
      try {
        if (entry.stats.isDirectory()) {
          if (parts.length >= MAX_DEPTH) skipped.push({ path, reason: "too deep" });
          else {
            const over = await walk(entry.file, [...parts, name]);
            if (over) return over;
          }
          continue;
        }
        bytes += entry.stats.size;
        if (bytes > limits.maxBytes) return tooLarge("bytes", limits.maxBytes, bytes);
        if (files.length === limits.maxFiles) return tooLarge("files", limits.maxFiles, files.length + 1);
        files.push(outputFile(dir, [...parts, name], entry.stats));
      } finally {
        await entry.file.close();
      }
    }
    return undefined;
  };

  const root = await open(dir, FOLDER_FLAGS);
  try {
    const over = await walk(root, []);
    return over ?? { ok: true, files, skipped, bytes };
  } finally {
    await root.close();
  }
}

const FILE_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const FOLDER_FLAGS = FILE_FLAGS | constants.O_DIRECTORY;
/** Opens nothing, only names the entry: safe on a FIFO or a device. Node does not export it; the value is Linux's. */
const O_PATH = 0o10000000;

/**
 * Opens a file or folder inside `folder`, by descriptor. First as a mere name: a device or FIFO is never really opened.
 */
async function openEntry(
  folder: FileHandle,
  name: string,
): Promise<{ file: FileHandle; stats: Stats } | SkippedOutput["reason"]> {
  const path = `${inside(folder)}/${name}`;
  const handle = await open(path, O_PATH | constants.O_NOFOLLOW);
  try {
    const stats = await handle.stat();
    const reason = refusal(stats);
    if (reason) return reason;
    const file = await open(path, stats.isDirectory() ? FOLDER_FLAGS : FILE_FLAGS);
    const opened = await file.stat();
    if (sameFile(stats, opened)) return { file, stats: opened };
    await file.close();
    return "changed while read";
  } finally {
    await handle.close();
  }
}

function outputFile(dir: string, parts: readonly string[], expected: Stats): OutputFile {
  const path = parts.join("/");
  return {
    path,
    bytes: expected.size,
    content: async function* () {
      const file = await openBelow(dir, parts);
      try {
        const found = await file.stat();
        if (!sameFile(found, expected) || found.size !== expected.size) throw changed(path);
        let left = expected.size;
        for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 256 * 1024 })) {
          left -= (chunk as Buffer).length;
          if (left < 0) break;
          yield chunk as Uint8Array;
        }
        if (left !== 0) throw changed(path);
      } finally {
        await file.close();
      }
    },
  };
}

/** Walks down one folder at a time, so that no part of the path can be a link. */
async function openBelow(dir: string, parts: readonly string[]): Promise<FileHandle> {
  let at = await open(dir, FOLDER_FLAGS);
  for (const [depth, name] of parts.entries()) {
    const flags = depth === parts.length - 1 ? FILE_FLAGS : FOLDER_FLAGS;
    try {
      const next = await open(`${inside(at)}/${name}`, flags);
      await at.close();
      at = next;
    } catch (cause) {
      await at.close();
      throw new MarketError(
        "OUTPUT_CHANGED",
        `The output ${JSON.stringify(parts.join("/"))} cannot be opened any more.`,
        { cause },
      );
    }
  }
  return at;
}

function inside(folder: FileHandle): string {
  return `/proc/self/fd/${folder.fd}`;
}

function refusal(stats: Stats): SkippedOutput["reason"] | undefined {
  if (stats.isSymbolicLink()) return "link";
  if (stats.isFIFO()) return "fifo";
  if (stats.isSocket()) return "socket";
  return stats.isFile() || stats.isDirectory() ? undefined : "device";
}

function sameFile(a: Stats, b: Stats): boolean {
  return a.dev === b.dev && a.ino === b.ino && a.isFile() === b.isFile();
}

function utf8(raw: Buffer): string | undefined {
  const text = raw.toString("utf8");
  return Buffer.from(text, "utf8").equals(raw) ? text : undefined;
}

function tooLarge(what: "bytes" | "files", limit: number, atLeast: number): Collected {
  return { ok: false, tooLarge: { what, limit, atLeast } };
}

function changed(path: string): MarketError {
  return new MarketError("OUTPUT_CHANGED", `The output ${JSON.stringify(path)} changed while it was read.`, {
    retryable: true,
  });
}
