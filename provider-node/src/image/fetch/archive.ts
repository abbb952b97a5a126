import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type OpenRequest, readBody, readTar } from "@berth/content";
import { MarketError } from "@berth/protocol";
import { openBlobFolder } from "../blobs.ts";

/** An archive of a layout has a file for each blob, and two more. */
const MAX_FILES = 1024;
const MAX_INDEX_BYTES = 1024 * 1024;

/**
 * Unpacks the tar archive of an OCI layout into `target`, which must not exist. Only index.json and blobs are taken, each
 * hashed against its name. Returns the bytes taken. Throws SOURCE_*, IMAGE_DIGEST_MISMATCH, IMAGE_TOO_LARGE.
 */
export async function unpackArchive({ body }: OpenRequest, target: string, maxBytes: number): Promise<number> {
  await mkdir(target, { recursive: true });
  const blobs = openBlobFolder(join(target, "blobs"));
  let left = maxBytes;
  let files = 0;
  for await (const { path, bytes, content } of readTar(limited(body, maxBytes))) {
    files += 1;
    if (files > MAX_FILES) throw new MarketError("IMAGE_REFUSED", `The archive has more than ${MAX_FILES} files.`);
    const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (hex !== undefined) left -= await blobs.write({ digest: `sha256:${hex}`, size: bytes }, content, left);
    else if (path === "index.json") {
      await writeFile(join(target, path), await readBody({ body: content }, MAX_INDEX_BYTES));
    }
  }
  return maxBytes - left;
}

/** The stream itself is bounded too: folders, padding and files that are passed over also come in. */
async function* limited(body: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Uint8Array> {
  const most = maxBytes + 4 * MAX_INDEX_BYTES;
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > most) throw new MarketError("IMAGE_TOO_LARGE", `The archive has more than ${maxBytes} bytes.`);
    yield chunk;
  }
}
