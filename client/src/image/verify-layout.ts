import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { join } from "node:path";
import { digestSchema, MarketError, parseImageJson } from "@berth/protocol";
import { z } from "zod";

/** Manifest and config are documents, not data. */
export const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

const blobSchema = z.object({ digest: digestSchema, size: z.int().min(0) });
const manifestSchema = z.object({
  schemaVersion: z.literal(2),
  config: blobSchema,
  layers: z.array(blobSchema).min(1),
});
const listSchema = z.object({ manifests: z.array(z.object({ digest: digestSchema })) });
const configSchema = z.object({ os: z.string(), architecture: z.string() });

export interface VerifiedLayout {
  /** `sha256:<hex>` of the platform manifest. */
  digest: string;
  /** As OCI names it. */
  architecture: string;
  /** Manifest, config and layers. */
  bytes: number;
}

/**
 * Proves that the OCI layout in `dir` holds the image: hashes manifest, config and layers, starting from `digest`, or
 * from the one manifest that index.json names when no digest is given.
 * Throws IMAGE_NOT_FOUND, IMAGE_REFUSED, IMAGE_BLOB_MISSING, IMAGE_DIGEST_MISMATCH.
 */
export async function verifyLayout(
  dir: string,
  digest: string | undefined,
  signal?: AbortSignal,
): Promise<VerifiedLayout> {
  const wanted = digest ?? (await onlyManifest(dir));
  const { layers, ...image } = await verifyDocuments(wanted, (name) => readSmall(blobPath(dir, name)));
  for (const layer of layers) await checkBlob(dir, layer, signal);
  return image;
}

/**
 * Proves what an image is without its layers: hashes manifest and config, starting from `digest`.
 * @param read a blob's bytes; undefined when there is none. Asked for the manifest first
 * Throws IMAGE_REFUSED, IMAGE_BLOB_MISSING, IMAGE_DIGEST_MISMATCH.
 */
export async function verifyDocuments(
  digest: string,
  read: (digest: string, what: "manifest" | "config") => Promise<Uint8Array | undefined>,
): Promise<VerifiedLayout & { layers: z.infer<typeof blobSchema>[] }> {
  const document = async (name: string, what: "manifest" | "config") => {
    const bytes = await read(name, what);
    if (bytes === undefined) throw missing(name, what);
    const actual = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    if (actual !== name) throw mismatch(what, name, actual);
    return bytes;
  };
  const manifestBytes = await document(digest, "manifest");
  const { config: named, layers } = parseManifest(manifestBytes, digest);
  const configBytes = await document(named.digest, "config");
  const config = configSchema.safeParse(parseImageJson(configBytes, "config"));
  if (!config.success || config.data.os !== "linux") {
    throw refused(`The image's config is not one of a Linux image (${named.digest}).`);
  }
  const bytes = layers.reduce((sum, { size }) => sum + size, manifestBytes.length + configBytes.length);
  return { digest, architecture: config.data.architecture, bytes, layers };
}

async function onlyManifest(dir: string): Promise<string> {
  const text = await readSmall(join(dir, "index.json"));
  if (text === undefined) {
    throw new MarketError("IMAGE_NOT_FOUND", `${dir} is no OCI layout: it has no index.json.`, {
      hint: "Make one with `berth image pack ROOTFS_DIR --out DIR`, or `skopeo copy docker://NAME oci:DIR`.",
    });
  }
  const index = listSchema.safeParse(parseJson(text));
  const [first, ...more] = index.success ? index.data.manifests : [];
  if (first !== undefined && more.length === 0) return first.digest;
  throw refused(`${dir} names ${index.success ? index.data.manifests.length : "no"} manifests, not one.`, {
    hint: "Name the platform's manifest: oci:DIR@sha256:DIGEST.",
  });
}

function parseManifest(bytes: Uint8Array, digest: string): z.infer<typeof manifestSchema> {
  const value = parseImageJson(bytes, "manifest");
  const manifest = manifestSchema.safeParse(value);
  if (manifest.success) return manifest.data;
  const list = listSchema.safeParse(value);
  if (list.success && list.data.manifests.length > 0) {
    throw refused(`${digest} is a list of platforms, not an image.`, {
      hint: `Use the manifest of one platform: ${list.data.manifests.map((entry) => entry.digest).join(" or ")}.`,
    });
  }
  throw refused(`${digest} is no OCI image manifest.`);
}

async function checkBlob(
  dir: string,
  { digest, size }: z.infer<typeof blobSchema>,
  signal?: AbortSignal,
): Promise<void> {
  const path = blobPath(dir, digest);
  const stats = await lstat(path).catch(() => undefined);
  if (!stats?.isFile()) throw missing(digest, "layer");
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 1024 * 1024 })) {
      signal?.throwIfAborted();
      hash.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
    }
    const actual = `sha256:${hash.digest("hex")}`;
    if (actual !== digest) throw mismatch("layer", digest, actual);
    if (bytes !== size) throw refused(`The layer ${digest} has ${bytes} bytes, but the manifest says ${size}.`);
  } finally {
    await file.close();
  }
}

/** A small regular file's bytes; undefined when there is none. */
async function readSmall(path: string): Promise<Uint8Array | undefined> {
  const stats = await lstat(path).catch(() => undefined);
  if (!stats?.isFile()) return undefined;
  if (stats.size > MAX_DOCUMENT_BYTES) throw refused(`${path} is too large to be a manifest or config.`);
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    return await file.readFile();
  } finally {
    await file.close();
  }
}

function blobPath(dir: string, digest: string): string {
  return join(dir, "blobs", "sha256", digest.slice("sha256:".length));
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}

function mismatch(what: string, expected: string, actual: string): MarketError {
  return new MarketError(
    "IMAGE_DIGEST_MISMATCH",
    `The image's ${what} has another digest: expected ${expected}, actual ${actual}.`,
    {
      hint: "The image is damaged, or the digest belongs to another one. Nothing was paid.",
    },
  );
}

function missing(digest: string, what: string): MarketError {
  return new MarketError("IMAGE_BLOB_MISSING", `The image lacks its ${what} ${digest}.`, {
    hint: "Copy the whole image again, and check that the digest is that of its platform manifest.",
  });
}

function refused(message: string, details: { hint?: string } = {}): MarketError {
  return new MarketError("IMAGE_REFUSED", message, details);
}
