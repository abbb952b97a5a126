import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, lstat, open } from "node:fs/promises";
import { join } from "node:path";
import { type Transform, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { digestSchema, MarketError, parseImageJson } from "@berth/protocol";
import { z } from "zod";
import type { Context } from "../engine/types.ts";
import { compressionOf, DOCKER, OCI } from "./media-types.ts";

/** Manifest and config are documents, not data. */
export const MAX_DOCUMENT_BYTES = 4 * 1024 * 1024;

const descriptor = z.object({
  mediaType: z.string(),
  digest: digestSchema,
  size: z.int().min(0),
  urls: z.array(z.string()).optional(),
});
const manifestOf = ({ manifest, config, layers }: typeof OCI) =>
  z.object({
    schemaVersion: z.literal(2),
    mediaType: manifest === OCI.manifest ? z.literal(manifest).default(manifest) : z.literal(manifest),
    config: descriptor.extend({ mediaType: z.literal(config) }),
    layers: z
      .array(descriptor.extend({ mediaType: z.enum(Object.keys(layers)) }))
      .min(1)
      .max(127),
  });
const [ociSchema, dockerSchema] = [manifestOf(OCI), manifestOf(DOCKER)];
const configSchema = z.object({
  os: z.literal("linux"),
  architecture: z.string(),
  rootfs: z.object({ type: z.literal("layers"), diff_ids: z.array(digestSchema) }),
});

/** A list of platforms, each with a manifest of its own. */
const indexSchema = z.object({
  manifests: z.array(
    z.object({
      digest: digestSchema,
      platform: z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() }).optional(),
    }),
  ),
});
const MAX_PLATFORMS_NAMED = 12;

export type Manifest = z.infer<typeof ociSchema>;

export interface ImageLimits {
  /** Manifest, config and layers as stored. */
  maxBytes: number;
  /** Layers unpacked. */
  maxUnpackedBytes: number;
}

export interface VerifiedImage {
  manifestDigest: string;
  /** Of the manifest: OCI's or Docker's. */
  mediaType: string;
  configDigest: string;
  architecture: string;
  layers: { digest: string; mediaType: string; bytes: number }[];
  /** Stored bytes of manifest, config and layers. */
  bytes: number;
  unpackedBytes: number;
  /** The manifest's own bytes, exactly those that were hashed. */
  manifest: Uint8Array;
}

/** 20 GiB stored, 60 GiB unpacked. */
export const DEFAULT_IMAGE_LIMITS: ImageLimits = { maxBytes: 20 * 2 ** 30, maxUnpackedBytes: 60 * 2 ** 30 };

/**
 * Proves that the OCI layout in `dir` holds the image whose platform manifest has the digest `manifestDigest`: every
 * byte is hashed here, starting from that digest; index.json and tags are not looked at.
 * @throws MarketError IMAGE_REFERENCE_REFUSED, IMAGE_BLOB_MISSING, IMAGE_DIGEST_MISMATCH, IMAGE_REFUSED, IMAGE_TOO_LARGE
 */
export async function verifyOciLayout(
  dir: string,
  manifestDigest: string,
  context: Context,
  limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
): Promise<VerifiedImage> {
  if (!digestSchema.safeParse(manifestDigest).success) {
    throw new MarketError(
      "IMAGE_REFERENCE_REFUSED",
      `"${manifestDigest}" is not a digest; tags can be moved and are refused.`,
      {
        hint: "Use the sha256 digest of the platform manifest.",
      },
    );
  }
  for (const folder of [dir, join(dir, "blobs"), join(dir, "blobs/sha256")]) await mustBeFolder(folder);

  const manifest = await readDocument(dir, { digest: manifestDigest, what: "manifest" }, context);
  const { mediaType, config, layers, bytes } = parseManifest(manifest, manifestDigest, limits.maxBytes);
  const configBytes = await readDocument(dir, { digest: config.digest, size: config.size, what: "config" }, context);
  const { architecture, rootfs } = parseDocument(
    configSchema,
    parseImageJson(configBytes, "config"),
    config.digest,
    "config",
  );
  if (rootfs.diff_ids.length !== layers.length) {
    throw refused(`The config lists ${rootfs.diff_ids.length} layers, the manifest ${layers.length}.`);
  }
  let unpackedBytes = 0;
  for (const [at, layer] of layers.entries()) {
    const room = limits.maxUnpackedBytes - unpackedBytes;
    unpackedBytes += await verifyLayer(dir, layer, rootfs.diff_ids[at] ?? "", { room, limits }, context);
  }
  return {
    manifestDigest,
    mediaType,
    configDigest: config.digest,
    architecture,
    layers: layers.map((layer) => ({ digest: layer.digest, mediaType: layer.mediaType, bytes: layer.size })),
    bytes,
    unpackedBytes,
    manifest,
  };
}

/**
 * Reads a platform manifest. The caller has checked, or checks, that the bytes are those of `digest`.
 * @returns what it names, and `bytes`: of manifest, config and layers together
 * @throws MarketError IMAGE_REFUSED (an index names its platforms), IMAGE_TOO_LARGE
 */
export function parseManifest(manifest: Uint8Array, digest: string, maxBytes: number): Manifest & { bytes: number } {
  const value = parseImageJson(manifest, "manifest");
  mustBeOfOnePlatform(value, digest);
  const isDocker = (value as { mediaType?: unknown } | null)?.mediaType === DOCKER.manifest;
  const parsed = parseDocument(isDocker ? dockerSchema : ociSchema, value, digest, "manifest");
  const { config, layers } = parsed;
  const bytes = manifest.length + config.size + layers.reduce((sum, layer) => sum + layer.size, 0);
  if (bytes > maxBytes) throw tooLarge(bytes, maxBytes, "stored");
  const foreign = [config, ...layers].find(({ urls }) => urls !== undefined);
  if (foreign)
    throw refused(`The blob ${foreign.digest} is said to be elsewhere (urls); all bytes must be in the layout.`);
  return { ...parsed, bytes };
}

type Layer = Manifest["layers"][number];

/** Checks the blob's digest, then the digest of what it unpacks to. Returns the unpacked size. */
async function verifyLayer(
  dir: string,
  layer: Layer,
  diffId: string,
  { room, limits }: { room: number; limits: ImageLimits },
  { signal }: Context,
): Promise<number> {
  const check = (bytes: number) => {
    if (bytes > room) throw tooLarge(limits.maxUnpackedBytes - room + bytes, limits.maxUnpackedBytes, "unpacked");
  };
  const file = await openBlob(dir, layer);
  const read = () => file.createReadStream({ autoClose: false, start: 0, highWaterMark: 1024 * 1024 });
  try {
    const stored = hasher();
    await pipeline(read(), stored.sink, { signal });
    mustMatch(layer.digest, stored.digest(), "layer");

    const decoder = decoderOf(layer.mediaType);
    const unpacked = decoder ? hasher(check) : stored;
    if (decoder) await pipeline(read(), decoder, unpacked.sink, { signal });
    check(unpacked.bytes());
    mustMatch(diffId, unpacked.digest(), "unpacked layer");
    return unpacked.bytes();
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof MarketError) throw error;
    throw new MarketError("IMAGE_REFUSED", `The layer ${layer.digest} cannot be unpacked.`, { cause: error });
  } finally {
    await file.close();
  }
}

function decoderOf(mediaType: string): Transform | undefined {
  const compression = compressionOf(mediaType);
  if (compression === "gzip") return createGunzip();
  return compression === "zstd" ? createZstdDecompress() : undefined;
}

/** Counts and hashes what is written to its sink. */
function hasher(check: (bytes: number) => void = () => {}) {
  const hash = createHash("sha256");
  let bytes = 0;
  let digest: string | undefined;
  const sink = new Writable({
    highWaterMark: 1024 * 1024,
    write(chunk: Buffer, _, done) {
      try {
        bytes += chunk.length;
        check(bytes);
        hash.update(chunk);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
  return {
    sink,
    bytes: () => bytes,
    digest: () => {
      digest ??= `sha256:${hash.digest("hex")}`;
      return digest;
    },
  };
}

async function readDocument(
  dir: string,
  { digest, size, what }: { digest: string; size?: number; what: string },
  { signal }: Context,
): Promise<Uint8Array> {
  signal.throwIfAborted();
  const file = await openBlob(dir, { digest, ...(size === undefined ? {} : { size }) });
  try {
    const found = (await file.stat()).size;
    if (found > MAX_DOCUMENT_BYTES) throw tooLarge(found, MAX_DOCUMENT_BYTES, `${what} of`);
    const bytes = await file.readFile();
    mustMatch(digest, `sha256:${createHash("sha256").update(bytes).digest("hex")}`, what);
    return bytes;
  } finally {
    await file.close();
  }
}

/** Opens a regular file without following a link. Where a size is declared, the file must have it. */
async function openBlob(dir: string, { digest, size }: { digest: string; size?: number }): Promise<FileHandle> {
  const path = join(dir, "blobs/sha256", digest.slice("sha256:".length));
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (cause: NodeJS.ErrnoException) => {
      if (cause.code === "ELOOP") throw refused(`The blob ${digest} is a symbolic link.`);
      throw new MarketError("IMAGE_BLOB_MISSING", `The image has no blob ${digest}.`, {
        hint: "Fetch the whole OCI layout again.",
        retryable: true,
        cause,
      });
    },
  );
  const found = await file.stat();
  const wrong = !found.isFile()
    ? refused(`The blob ${digest} is not a regular file.`)
    : size !== undefined && found.size !== size
      ? mismatch(digest, `${found.size} bytes`, `blob of ${size} bytes`)
      : undefined;
  if (!wrong) return file;
  await file.close();
  throw wrong;
}

async function mustBeFolder(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory()) return;
  throw refused(
    `"${path}" is not the folder of an OCI layout.`,
    "Archives (docker save) are refused; give the layout folder.",
  );
}

function mustBeOfOnePlatform(manifest: unknown, digest: string): void {
  if (typeof manifest !== "object" || manifest === null) return;
  if ("manifests" in manifest) {
    throw refused(
      `${digest} is an image index for several platforms${platformsOf(manifest)}.`,
      "Name the manifest of one platform.",
    );
  }
  if ("schemaVersion" in manifest && manifest.schemaVersion === 1) {
    throw refused(
      `${digest} is a manifest in Docker's first format, which names no config.`,
      "Push the image again with a newer tool (`skopeo copy --format oci`), and name its new digest.",
    );
  }
}

function parseDocument<T>(schema: z.ZodType<T>, value: unknown, digest: string, what: "manifest" | "config"): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw refused(`The ${what} ${digest} is not one of an OCI or Docker image: ${z.prettifyError(parsed.error)}`);
}

function platformsOf(value: unknown): string {
  const index = indexSchema.safeParse(value);
  if (!index.success || index.data.manifests.length === 0) return "";
  const named = index.data.manifests.slice(0, MAX_PLATFORMS_NAMED).map(({ digest, platform }) => {
    const { os, architecture, variant } = platform ?? {};
    const words = [os, architecture, variant].filter((word) => word !== undefined && /^[\w.-]{1,32}$/.test(word));
    return words.length === 0 ? digest : `${digest} (${words.join("/")})`;
  });
  return `; name one of them: ${named.join(", ")}`;
}

function mustMatch(expected: string, actual: string, what: string): void {
  if (expected !== actual) throw mismatch(expected, actual, what);
}

export function mismatch(expected: string, actual: string, what: string): MarketError {
  return new MarketError("IMAGE_DIGEST_MISMATCH", `The ${what} should be ${expected}, but the bytes are ${actual}.`, {
    hint: "The bytes are not those that were named. Fetch them from another source, or correct the digest.",
  });
}

function refused(message: string, hint?: string): MarketError {
  return new MarketError("IMAGE_REFUSED", message, hint === undefined ? {} : { hint });
}

function tooLarge(bytes: number, maxBytes: number, how: string): MarketError {
  return new MarketError("IMAGE_TOO_LARGE", `The image has ${bytes} bytes (${how}); this node takes ${maxBytes}.`, {
    hint: "Use a smaller image, or a node with a larger limit.",
  });
}
