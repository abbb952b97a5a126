import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fetchContent } from "@berth/content";
import { MarketError } from "@berth/protocol";
import type { Client, Context } from "../client.ts";
import { verifyLayout } from "../image/verify-layout.ts";

/** An image that is in the client's store, every byte checked against the digest. */
export interface ResolvedImage {
  digest: string;
  cid: string;
  architecture: string;
  /** Manifest, config and layers. */
  bytes: number;
}

type Reference =
  | { kind: "ipfs"; cid: string; digest: string }
  | { kind: "oci"; dir: string; digest: string | undefined };

/** Bound on an image's blocks, as nodes have it by default. */
const MAX_IMAGE_BYTES = 20 * 2 ** 30;

/** Reads an image reference. Throws IMAGE_REFERENCE_REFUSED for a tag and for anything else that names no digest. */
export function parseImageReference(text: string): Reference {
  const ipfs = /^ipfs:(?:\/\/)?(b[a-z2-7]{20,120})@(sha256:[0-9a-f]{64})$/.exec(text);
  if (ipfs?.[1] !== undefined && ipfs[2] !== undefined) return { kind: "ipfs", cid: ipfs[1], digest: ipfs[2] };
  const oci = /^oci:(.+?)(?:@(sha256:[0-9a-f]{64}))?$/.exec(text);
  if (oci?.[1] !== undefined) return { kind: "oci", dir: oci[1], digest: oci[2] };
  const name = text.replace(/^(docker:\/\/|docker:)/, "");
  throw new MarketError(
    "IMAGE_REFERENCE_REFUSED",
    `"${text}" does not say which bytes to run: a tag can be moved, so an image is named by its digest.`,
    {
      hint: `Fetch it once with \`skopeo copy docker://${name} oci:DIR\` and run \`oci:DIR\`, or name it as ipfs:CID@sha256:DIGEST.`,
    },
  );
}

/**
 * Brings an image into the client's store and checks manifest, config and layers against its digest, before any money
 * moves. Forms: `oci:DIR`, `oci:DIR@sha256:DIGEST`, `ipfs:CID@sha256:DIGEST`.
 * Throws IMAGE_REFERENCE_REFUSED, IMAGE_DIGEST_MISMATCH, IMAGE_BLOB_MISSING, IMAGE_REFUSED, IMAGE_NOT_FOUND,
 * CONTENT_UNAVAILABLE.
 */
export async function resolveImage(client: Client, text: string, context: Context = {}): Promise<ResolvedImage> {
  const reference = parseImageReference(text);
  const { signal } = context;
  if (reference.kind === "oci") {
    const dir = resolve(reference.dir);
    const { digest, architecture, bytes } = await verifyLayout(dir, reference.digest, signal);
    const { cid } = await client.store.addPath(dir, { signal });
    return { digest, cid, architecture, bytes };
  }
  const { cid, digest } = reference;
  const log = context.log ?? client.log;
  await fetchContent(cid, {
    sources: [...client.contentGateways],
    store: client.store,
    maxBytes: MAX_IMAGE_BYTES,
    log,
    signal,
  });
  const draft = await mkdtemp(join(tmpdir(), "berth-image-"));
  try {
    const dir = join(draft, "layout");
    await client.store.exportTo(cid, dir, { maxBytes: MAX_IMAGE_BYTES, signal });
    const { architecture, bytes } = await verifyLayout(dir, digest, signal);
    return { digest, cid, architecture, bytes };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}
