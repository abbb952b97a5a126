import { type ImagePlace, type OpenRequest, readBody } from "@berth/content";
import { digestSchema, MarketError } from "@berth/protocol";
import { z } from "zod";
import type { Context } from "../../log.ts";
import { type ImageSignature, SIGNED } from "../signature-policy.ts";
import { BUNDLE_TYPE, readBundle } from "./bundle.ts";

const SIMPLE_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIMPLE_KEY = "dev.cosignproject.cosign/signature";
/** What the statement in a bundle is about, said outside of it too; not everywhere. */
const PREDICATE_KEY = "dev.sigstore.bundle.predicateType";
/** Whoever may push to a registry can add to its lists: that many are looked at, and of no list more bytes. */
const [MAX_MANIFESTS, MAX_SIGNATURES] = [32, 32];
const [MAX_LIST_BYTES, MAX_MANIFEST_BYTES, MAX_PAYLOAD_BYTES] = [4 * 1024 * 1024, 1024 * 1024, 256 * 1024];

const listSchema = z.object({ manifests: z.array(z.unknown()) });
const entrySchema = z.object({
  digest: digestSchema,
  artifactType: z.string().optional(),
  annotations: z.record(z.string(), z.string()).default({}),
});
type Entry = z.infer<typeof entrySchema>;
const signedSchema = z.object({
  layers: z.array(
    z.object({
      mediaType: z.string(),
      digest: digestSchema,
      annotations: z.record(z.string(), z.string()).optional(),
    }),
  ),
});

/**
 * The signatures that `place` has for the image `digest`. In a registry: simple ones under the tag `sha256-<hex>.sig`, bundles
 * among what refers to the image (by the registry's own list, else under the tag `sha256-<hex>`). In a layout: in any other
 * manifest that its index.json names. What they are worth is for the policy to say.
 */
export async function* signaturesAt(
  place: ImagePlace,
  digest: string,
  context: Context,
): AsyncGenerator<ImageSignature> {
  const { signal, log } = context;
  let found = 0;
  for await (const manifest of manifestsBeside(place, digest, signal)) {
    for (const layer of signedLayers(manifest)) {
      found += 1;
      if (found > MAX_SIGNATURES) return;
      try {
        // Under what name these bytes come does not matter: what is in them is signed.
        const bytes = await readAll(place.openBlob(layer.digest, signal), MAX_PAYLOAD_BYTES);
        const signature = layer.simple === undefined ? readBundle(bytes) : simple(bytes, layer.simple);
        if (signature !== undefined) yield signature;
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof MarketError && error.retryable) throw error;
        log.debug({ err: error, image: digest }, "signature could not be read");
      }
    }
  }
}

function simple(payload: Uint8Array, signature: string): ImageSignature {
  return { form: "simple", payload, signature: Buffer.from(signature, "base64") };
}

async function* manifestsBeside(place: ImagePlace, digest: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const manifest = (name: string) => readAll(place.openManifest(name, signal), MAX_MANIFEST_BYTES).catch(ignoreAbsent);
  let others: string[];
  if (place.openIndex === undefined) {
    const signed = await manifest(`${digest.replace(":", "-")}.sig`);
    if (signed !== undefined) yield signed;
    others = await bundlesFor(place, digest, signal);
  } else {
    const index = await readAll(place.openIndex(signal), MAX_LIST_BYTES).catch(ignoreAbsent);
    others = entriesOf(index).map((entry) => entry.digest);
  }
  const named = [...new Set(others)].filter((other) => other !== digest).slice(0, MAX_MANIFESTS);
  for (const other of named) {
    const bytes = await manifest(other);
    if (bytes !== undefined) yield bytes;
  }
}

/** Digests of the manifests that carry bundles for the image, those first that are said to be signatures. */
async function bundlesFor(place: ImagePlace, digest: string, signal: AbortSignal): Promise<string[]> {
  const entries: Entry[] = [];
  try {
    for await (const page of place.openReferrers?.(digest, BUNDLE_TYPE, signal) ?? [])
      entries.push(...bundlesIn(await readAll(Promise.resolve(page), MAX_LIST_BYTES)));
  } catch (error) {
    ignoreAbsent(error);
  }
  if (entries.length === 0) {
    const tag = digest.replace(":", "-");
    entries.push(...bundlesIn(await readAll(place.openManifest(tag, signal), MAX_LIST_BYTES).catch(ignoreAbsent)));
  }
  const isSigned = ({ annotations }: Entry) => annotations[PREDICATE_KEY] === SIGNED;
  return [...entries.filter(isSigned), ...entries.filter((entry) => !isSigned(entry))].map((entry) => entry.digest);
}

function bundlesIn(list: Uint8Array | undefined): Entry[] {
  return entriesOf(list).filter(
    ({ artifactType, annotations }) =>
      artifactType === BUNDLE_TYPE && (annotations[PREDICATE_KEY] ?? SIGNED) === SIGNED,
  );
}

function entriesOf(list: Uint8Array | undefined): Entry[] {
  const { success, data } = listSchema.safeParse(parse(list));
  if (!success) return [];
  return data.manifests.flatMap((entry) => {
    const known = entrySchema.safeParse(entry);
    return known.success ? [known.data] : [];
  });
}

/** The layers of a manifest that are signatures; `simple` is that of a simple one. */
function signedLayers(manifest: Uint8Array): { digest: string; simple?: string }[] {
  const parsed = signedSchema.safeParse(parse(manifest));
  if (!parsed.success) return [];
  return parsed.data.layers.flatMap(({ mediaType, digest, annotations }) => {
    if (mediaType === BUNDLE_TYPE) return [{ digest }];
    const signature = annotations?.[SIMPLE_KEY];
    return mediaType === SIMPLE_TYPE && signature !== undefined ? [{ digest, simple: signature }] : [];
  });
}

async function readAll(opening: Promise<OpenRequest>, maxBytes: number): Promise<Uint8Array> {
  await using opened = await opening;
  return await readBody(opened, maxBytes);
}

function parse(bytes: Uint8Array | undefined): unknown {
  try {
    return bytes === undefined ? undefined : JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
}

/** No signature is there; a place that did not answer at all, or not now, is another matter. */
function ignoreAbsent(error: unknown): undefined {
  if (!(error instanceof MarketError) || error.code !== "SOURCE_ANSWERED" || error.retryable) throw error;
}
