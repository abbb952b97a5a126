import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ImagePlace, OpenRequest } from "@berth/content";
import type { Context } from "../../log.ts";
import type { Blob, BlobFolder } from "../blobs.ts";
import { MAX_DOCUMENT_BYTES, parseManifest } from "../verify.ts";

export interface FetchLayoutOptions {
  /** Has the image. */
  place: ImagePlace;
  digest: string;
  /** Becomes the OCI layout; must not exist. */
  target: string;
  /** Where blobs are kept, on the same disk as `target`. */
  blobs: BlobFolder;
  /** Bound on manifest, config and layers together. */
  maxBytes: number;
  /** Asked when the size is known and nothing large was fetched yet; throws to stop. */
  beforeLayers(bytes: number): Promise<void>;
}

/**
 * Fetches the image `digest` into an OCI layout: first the manifest, checked against the digest, then config and layers as
 * the manifest names them, each hashed while it comes in. A blob that was here before is not fetched again.
 * Returns the bytes fetched. Throws SOURCE_*, IMAGE_DIGEST_MISMATCH, IMAGE_REFUSED, IMAGE_TOO_LARGE.
 */
export async function fetchLayout(options: FetchLayoutOptions, context: Context): Promise<number> {
  const { place, digest, target, blobs, maxBytes } = options;
  const { signal, log } = context;
  const folder = join(target, "blobs/sha256");
  await mkdir(folder, { recursive: true, mode: 0o755 });
  let fetched = 0;
  const bring = async (blob: Blob, most: number, open: () => Promise<OpenRequest>) => {
    signal.throwIfAborted();
    if (!(await blobs.has(blob, signal))) {
      await using opened = await open();
      const bytes = await blobs.write(blob, opened.body, most);
      fetched += bytes;
      log.debug({ image: digest, blob: blob.digest, bytes }, "blob fetched");
    }
    await blobs.linkTo(blob.digest, folder);
  };

  await bring({ digest }, Math.min(maxBytes, MAX_DOCUMENT_BYTES), () => place.openManifest(digest, signal));
  const manifest = await readFile(join(folder, digest.slice("sha256:".length)));
  const { config, layers, bytes, mediaType } = parseManifest(manifest, digest, maxBytes);
  await options.beforeLayers(bytes);
  const named = new Map([config, ...layers].map((blob) => [blob.digest, blob]));
  named.delete(digest);
  for (const blob of named.values()) await bring(blob, blob.size, () => place.openBlob(blob.digest, signal));

  await writeFile(join(target, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const entry = { mediaType, digest, size: manifest.length };
  await writeFile(join(target, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  return fetched;
}
