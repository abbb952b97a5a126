import { createHash } from "node:crypto";
import {
  type ImagePlace,
  type OpenRequest,
  openRegistry,
  openWebFile,
  openWebLayout,
  readBody,
  readTar,
} from "@berth/content";
import { digestSchema, MarketError } from "@berth/protocol";
import { z } from "zod";
import { MAX_DOCUMENT_BYTES, type VerifiedLayout, verifyDocuments } from "./verify-layout.ts";

/** The person at this client named the place, so it is asked wherever it is. */
const anywhere = { publicOnly: false };
/** Small files of an archive that are kept until manifest and config are found among them. */
const MAX_KEPT_BYTES = 64 * 1024 * 1024;

const indexSchema = z.object({
  manifests: z.array(
    z.object({
      digest: digestSchema,
      platform: z.object({ os: z.string(), architecture: z.string() }).optional(),
    }),
  ),
});

/**
 * Proves that the place `source`, as a spec names it, has an image with the digest: checks manifest and config, not the
 * layers. Throws IMAGE_UNAVAILABLE, IMAGE_REFUSED, IMAGE_DIGEST_MISMATCH, IMAGE_BLOB_MISSING.
 */
export async function verifySource(
  source: string,
  digest: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<VerifiedLayout> {
  try {
    const isArchive = source.endsWith(".tar") && !source.startsWith("oci:");
    const read = isArchive ? await fromArchive(source, signal) : fromPlace(source, signal);
    const { architecture, bytes } = await verifyDocuments(digest, read);
    return { digest, architecture, bytes };
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof MarketError) || !error.code.startsWith("SOURCE_")) throw error;
    throw new MarketError("IMAGE_UNAVAILABLE", `The image cannot be had from ${source}: ${error.message}`, {
      hint: "Check the name and the digest. Images behind an account must be brought along: `skopeo copy docker://NAME oci:DIR`.",
      retryable: true,
      cause: error,
    });
  }
}

/** What a tag stands for at this moment: one digest for each platform. Throws SOURCE_*. */
export async function digestsBehindTag(
  source: string,
  tag: string,
  signal: AbortSignal,
): Promise<{ digest: string; platform: string }[]> {
  const bytes = await readAll(openRegistry(source, anywhere).openManifest(tag, signal));
  const value: unknown = JSON.parse(Buffer.from(bytes).toString());
  const index = indexSchema.safeParse(value);
  if (!index.success) return [{ digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}`, platform: "" }];
  return index.data.manifests.flatMap(({ digest, platform }) =>
    platform === undefined || platform.os === "unknown"
      ? []
      : [{ digest, platform: `${platform.os}/${platform.architecture}` }],
  );
}

type Read = Parameters<typeof verifyDocuments>[1];

function fromPlace(source: string, signal: AbortSignal): Read {
  const open = source.startsWith("oci:") ? openRegistry : openWebLayout;
  const place: ImagePlace = open(source, anywhere);
  return (digest, what) =>
    readAll(what === "manifest" ? place.openManifest(digest, signal) : place.openBlob(digest, signal));
}

/** Reads the archive to its end: where in it manifest and config are, nothing says. */
async function fromArchive(source: string, signal: AbortSignal): Promise<Read> {
  await using opened = await openWebFile(source, signal, anywhere);
  const kept = new Map<string, Uint8Array>();
  let total = 0;
  for await (const { path, bytes, content } of readTar(opened.body)) {
    signal.throwIfAborted();
    const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (hex === undefined || bytes > MAX_DOCUMENT_BYTES || total + bytes > MAX_KEPT_BYTES) continue;
    total += bytes;
    kept.set(`sha256:${hex}`, await readBody({ body: content }, bytes));
  }
  return async (digest) => kept.get(digest);
}

async function readAll(opening: Promise<OpenRequest>): Promise<Uint8Array> {
  await using opened = await opening;
  return await readBody(opened, MAX_DOCUMENT_BYTES);
}
