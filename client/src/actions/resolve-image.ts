import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fetchContent } from "@berth/content";
import { imageSourceSchema, MarketError, type Spec } from "@berth/protocol";
import type { Client, Context } from "../client.ts";
import { digestsBehindTag, verifySource } from "../image/source.ts";
import { verifyLayout } from "../image/verify-layout.ts";

/** An image that nodes can fetch: from this client's store, every byte checked; or from the place that was named. */
export interface ResolvedImage {
  digest: string;
  /** In this client's store. Undefined for an image that stays where it is. */
  cid: string | undefined;
  /** Where it is, as the spec says it. */
  source: string | undefined;
  architecture: string;
  /** Manifest, config and layers. */
  bytes: number;
}

type Reference =
  | { kind: "ipfs"; cid: string; digest: string }
  | { kind: "oci"; dir: string; digest: string | undefined }
  | { kind: "source"; source: string; digest: string };

/** Bound on an image's blocks, as nodes have it by default. */
const MAX_IMAGE_BYTES = 20 * 2 ** 30;
const ASK_MS = 5000;

/** Reads an image reference. Throws IMAGE_REFERENCE_REFUSED for a tag and for anything else that names no digest. */
export function parseImageReference(text: string): Reference {
  const ipfs = /^ipfs:(?:\/\/)?(b[a-z2-7]{20,120})@(sha256:[0-9a-f]{64})$/.exec(text);
  if (ipfs?.[1] !== undefined && ipfs[2] !== undefined) return { kind: "ipfs", cid: ipfs[1], digest: ipfs[2] };
  const [, source, digest] = /^((?:oci|https?):\/\/[^/].*)@(sha256:[0-9a-f]{64})$/.exec(text) ?? [];
  if (source !== undefined && digest !== undefined && imageSourceSchema.safeParse(source).success)
    return { kind: "source", source, digest };
  const oci = /^oci:(?!\/\/[^/])(.+?)(?:@(sha256:[0-9a-f]{64}))?$/.exec(text);
  if (oci?.[1] !== undefined) return { kind: "oci", dir: oci[1], digest: oci[2] };
  throw refused(text, "");
}

/**
 * As `parseImageReference`; but for a tag in a registry that answers, the error names the digests that it stands for now.
 * Throws IMAGE_REFERENCE_REFUSED.
 */
export async function checkImageReference(text: string, { signal }: Context = {}): Promise<Reference> {
  try {
    return parseImageReference(text);
  } catch (error) {
    const [, host, path, tag = "latest"] = tagPattern.exec(text) ?? [];
    const source = `oci://${host}/${path}`;
    if (host === undefined || !imageSourceSchema.safeParse(source).success) throw error;
    const soon = AbortSignal.timeout(ASK_MS);
    const ask = digestsBehindTag(source, tag, signal === undefined ? soon : AbortSignal.any([signal, soon]));
    const found = await ask.catch(() => []);
    signal?.throwIfAborted();
    if (found.length === 0) throw error;
    const names = found.map(({ digest, platform }) => `${source}@${digest}${platform === "" ? "" : ` (${platform})`}`);
    throw refused(text, ` Just now it stands for ${names.join(", ")}.`);
  }
}

/** A name with a host, as engines write it: HOST/REPOSITORY[:TAG]. */
const tagPattern =
  /^(?:oci:\/\/|docker:\/\/)?([\w.-]+\.[\w.-]+(?::\d+)?|[\w-]+:\d+|localhost)\/([^@:]+)(?::([\w.-]{1,128}))?$/;

function refused(text: string, now: string): MarketError {
  const name = text.replace(/^(docker:\/\/|docker:|oci:\/\/)/, "");
  return new MarketError(
    "IMAGE_REFERENCE_REFUSED",
    `"${text}" does not say which bytes to run: a tag can be moved, so an image is named by its digest.${now}`,
    {
      hint:
        `Fetch it once with \`skopeo copy docker://${name} oci:DIR\` and run \`oci:DIR\`; or name it as oci://HOST/REPOSITORY@sha256:DIGEST ` +
        `(\`skopeo inspect --raw docker://${name}\` lists the digest of each platform) or ipfs:CID@sha256:DIGEST.`,
    },
  );
}

/** Where a spec says that the image is. */
export function placesOf({ digest, cid, source }: ResolvedImage): Spec["image"] {
  return { digest, ...(cid !== undefined && { cid }), ...(source !== undefined && { sources: [source] }) };
}

/** The reference that a spec's image stands for: the copy on IPFS, or the best other place. */
export function referenceOf({ digest, cid, sources }: Spec["image"]): string {
  return `${cid === undefined ? sources?.[0] : `ipfs:${cid}`}@${digest}`;
}

/**
 * Checks an image against its digest before any money moves. `oci:DIR`, `oci:DIR@sha256:DIGEST` and
 * `ipfs:CID@sha256:DIGEST` are brought into the client's store and checked whole; of `oci://HOST/REPOSITORY@sha256:DIGEST`,
 * `https://…/@sha256:DIGEST` (a layout folder) and `https://….tar@sha256:DIGEST` manifest and config are checked, and the
 * bytes stay where they are for the node to fetch.
 * Throws IMAGE_REFERENCE_REFUSED, IMAGE_DIGEST_MISMATCH, IMAGE_BLOB_MISSING, IMAGE_REFUSED, IMAGE_NOT_FOUND,
 * IMAGE_UNAVAILABLE, CONTENT_UNAVAILABLE.
 */
export async function resolveImage(client: Client, text: string, context: Context = {}): Promise<ResolvedImage> {
  const reference = await checkImageReference(text, context);
  const { signal } = context;
  if (reference.kind === "oci") {
    const dir = resolve(reference.dir);
    const { digest, architecture, bytes } = await verifyLayout(dir, reference.digest, signal);
    const { cid } = await client.store.addPath(dir, { signal });
    return { digest, cid, source: undefined, architecture, bytes };
  }
  if (reference.kind === "source") {
    const { source, digest } = reference;
    const { architecture, bytes } = await verifySource(source, digest, signal);
    return { digest, cid: undefined, source, architecture, bytes };
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
    return { digest, cid, source: undefined, architecture, bytes };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}
