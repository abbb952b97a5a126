import { createHash, randomUUID } from "node:crypto";
import { constants, mkdirSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { link, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { digestSchema, MarketError } from "@berth/protocol";
import { mismatch } from "./verify.ts";

/** A blob as a manifest names it. */
export interface Blob {
  digest: string;
  /** Absent: not known beforehand, and at most `maxBytes` when it is written. */
  size?: number;
}

/**
 * Blobs of images by digest, as an OCI layout has them: `<dir>/sha256/<hex>`. A name stands for its bytes: it appears when
 * all of them are on disk and hashed, whatever happens to this process.
 */
export interface BlobFolder {
  /** Is the whole blob here? Reads it to know: a damaged one is dropped. */
  has(blob: Blob, signal: AbortSignal): Promise<boolean>;
  /** Takes a blob in while it streams past. Throws IMAGE_DIGEST_MISMATCH, IMAGE_TOO_LARGE. */
  write(blob: Blob, body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<number>;
  /** Puts the blob into the blobs of another folder without a copy, and notes that it was used. */
  linkTo(digest: string, target: string): Promise<void>;
  /** Drops blobs, least recently used first, until those left have at most `maxBytes`. Returns how many bytes went. */
  evict(maxBytes: number): Promise<number>;
}

/** Written and not yet used: whoever wrote it is about to link it. */
const FRESH_MS = 10 * 60_000;
const PART = ".part";

/** Opens the folder, and removes what a killed process left half written. One process at a time. */
export function openBlobFolder(dir: string): BlobFolder {
  const folder = join(dir, "sha256");
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(folder)) if (name.endsWith(PART)) rmSync(join(folder, name));
  const pathOf = (digest: string) => join(folder, digestSchema.parse(digest).slice("sha256:".length));

  return {
    async has({ digest, size }, signal) {
      const path = pathOf(digest);
      const found = statSync(path, { throwIfNoEntry: false });
      if (found === undefined) return false;
      noteUse(path); // before it is read: whoever asks wants it next
      if ((size === undefined || found.size === size) && (await hashOf(path, signal)) === digest) return true;
      await rm(path, { force: true });
      return false;
    },
    async write(blob, body, maxBytes) {
      const path = pathOf(blob.digest);
      const part = `${path}.${randomUUID()}${PART}`;
      try {
        const bytes = await writeBlob(part, blob, body, maxBytes);
        await rename(part, path);
        return bytes;
      } finally {
        await rm(part, { force: true });
      }
    },
    async linkTo(digest, target) {
      noteUse(pathOf(digest));
      await link(pathOf(digest), join(target, digest.slice("sha256:".length)));
    },
    async evict(maxBytes) {
      const names = (await readdir(folder)).filter((name) => !name.endsWith(PART));
      const found = await Promise.all(
        names.map(async (name) => {
          const { size, mtimeMs } = await stat(join(folder, name));
          return { name, size, mtimeMs };
        }),
      );
      let total = found.reduce((sum, { size }) => sum + size, 0);
      const before = total;
      for (const { name, size, mtimeMs } of found.sort((a, b) => a.mtimeMs - b.mtimeMs)) {
        if (total <= maxBytes || Date.now() - mtimeMs < FRESH_MS) break;
        await rm(join(folder, name), { force: true });
        total -= size;
      }
      return before - total;
    },
  };
}

function noteUse(path: string): void {
  const now = new Date();
  utimesSync(path, now, now);
}

async function writeBlob(
  path: string,
  { digest, size }: Blob,
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<number> {
  const hash = createHash("sha256");
  let bytes = 0;
  const file = await open(path, "wx", 0o644);
  try {
    for await (const chunk of body) {
      bytes += chunk.length;
      if (size !== undefined && bytes > size)
        throw mismatch(digest, `more than ${size} bytes`, `blob of ${size} bytes`);
      if (bytes > maxBytes) throw tooMuch(digest, maxBytes);
      hash.update(chunk);
      await file.writeFile(chunk);
    }
    if (size !== undefined && bytes !== size) throw mismatch(digest, `${bytes} bytes`, `blob of ${size} bytes`);
    const actual = `sha256:${hash.digest("hex")}`;
    if (actual !== digest) throw mismatch(digest, actual, "blob");
    // The name must not reach the disk before the bytes.
    await file.sync();
    return bytes;
  } finally {
    await file.close();
  }
}

function tooMuch(digest: string, maxBytes: number): MarketError {
  return new MarketError("IMAGE_TOO_LARGE", `The blob ${digest} has more than the ${maxBytes} bytes that are left.`, {
    hint: "Use a smaller image, or a node with a larger limit.",
  });
}

async function hashOf(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  for await (const chunk of file.createReadStream({ highWaterMark: 1024 * 1024, signal })) hash.update(chunk as Buffer);
  return `sha256:${hash.digest("hex")}`;
}
