import { type ImagePlace, type OpenRequest, readBody } from "@berth/content";
import { digestSchema, MarketError } from "@berth/protocol";
import { z } from "zod";
import type { Context } from "../../log.ts";
import type { ImageSignature } from "../signature-policy.ts";

const SIGNED_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE_KEY = "dev.cosignproject.cosign/signature";
const MAX_MANIFESTS = 16;
const MAX_SIGNATURES = 32;
const [MAX_MANIFEST_BYTES, MAX_PAYLOAD_BYTES] = [1024 * 1024, 64 * 1024];

const indexSchema = z.object({ manifests: z.array(z.object({ digest: z.string() })) });
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
 * The signatures that `place` has for the image `digest`: in a registry under the tag `sha256-<hex>.sig`, in a layout as any
 * other manifest that its index.json names. What they are worth is for the policy to say.
 */
export async function* signaturesAt(
  place: ImagePlace,
  digest: string,
  { signal, log }: Context,
): AsyncGenerator<ImageSignature> {
  let found = 0;
  for (const manifest of await manifestsBeside(place, digest, signal)) {
    for (const layer of signedLayers(manifest)) {
      found += 1;
      if (found > MAX_SIGNATURES) return;
      try {
        // Under what name these bytes come does not matter: what is in them is signed.
        const payload = await readAll(place.openBlob(layer.digest, signal), MAX_PAYLOAD_BYTES);
        yield { payload, signature: Buffer.from(layer.signature, "base64") };
      } catch (error) {
        signal.throwIfAborted();
        log.debug({ err: error, image: digest }, "signature could not be read");
      }
    }
  }
}

async function manifestsBeside(place: ImagePlace, digest: string, signal: AbortSignal): Promise<Uint8Array[]> {
  if (place.openIndex === undefined) {
    const tag = `${digest.replace(":", "-")}.sig`;
    const manifest = await readAll(place.openManifest(tag, signal), MAX_MANIFEST_BYTES).catch(ignoreAbsent);
    return manifest === undefined ? [] : [manifest];
  }
  const bytes = await readAll(place.openIndex(signal), MAX_MANIFEST_BYTES).catch(ignoreAbsent);
  const index = indexSchema.safeParse(parse(bytes));
  const others = index.success ? index.data.manifests.map((entry) => entry.digest) : [];
  const read = others
    .filter((other) => other !== digest && digestSchema.safeParse(other).success)
    .slice(0, MAX_MANIFESTS)
    .map((other) => readAll(place.openManifest(other, signal), MAX_MANIFEST_BYTES).catch(ignoreAbsent));
  return (await Promise.all(read)).filter((manifest) => manifest !== undefined);
}

function signedLayers(manifest: Uint8Array): { digest: string; signature: string }[] {
  const parsed = signedSchema.safeParse(parse(manifest));
  if (!parsed.success) return [];
  return parsed.data.layers.flatMap(({ mediaType, digest, annotations }) => {
    const signature = annotations?.[SIGNATURE_KEY];
    return mediaType === SIGNED_TYPE && signature !== undefined ? [{ digest, signature }] : [];
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

/** No signature is there; a place that did not answer at all is another matter. */
function ignoreAbsent(error: unknown): undefined {
  if (!(error instanceof MarketError) || error.code !== "SOURCE_ANSWERED") throw error;
}
