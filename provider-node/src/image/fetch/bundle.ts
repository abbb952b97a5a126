import { z } from "zod";
import type { ImageSignature } from "../signature-policy.ts";

/** A Sigstore bundle, and the artifact that carries one. */
export const BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json";

const bundleSchema = z.object({
  mediaType: z.literal(BUNDLE_TYPE),
  dsseEnvelope: z.object({
    payloadType: z.literal("application/vnd.in-toto+json"),
    payload: z.base64(),
    signatures: z.tuple([z.object({ sig: z.base64() })]),
  }),
});

/**
 * The signature in a bundle; undefined for a bundle of another kind. Certificates, logs and time stamps in it are not looked
 * at: the keys that count are those of the policy.
 */
export function readBundle(bytes: Uint8Array): ImageSignature | undefined {
  const { success, data } = bundleSchema.safeParse(jsonOf(bytes));
  if (!success) return undefined;
  const { payload, signatures } = data.dsseEnvelope;
  return {
    form: "statement",
    payload: Buffer.from(payload, "base64"),
    signature: Buffer.from(signatures[0].sig, "base64"),
  };
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return undefined;
  }
}
