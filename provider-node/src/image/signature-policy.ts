import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { MarketError } from "@berth/protocol";
import { z } from "zod";
import type { imagesSchema } from "../config/images.ts";
import { patternOf } from "./pattern.ts";

/** A signature over an image's digest, as cosign makes it. */
export interface ImageSignature {
  /** "Simple signing" JSON, exactly the bytes that were signed. */
  payload: Uint8Array;
  /** ECDSA (DER) or Ed25519. */
  signature: Uint8Array;
}

/** Whose signatures an image needs. No rules: none. */
export interface SignaturePolicy {
  isEmpty: boolean;
  /** Does one of the rules accept this signature for the image `digest`? */
  accepts(digest: string, signature: ImageSignature): boolean;
}

interface Rule {
  matches: RegExp;
  keys: KeyObject[];
}

const payloadSchema = z.object({
  critical: z.object({
    identity: z.object({ "docker-reference": z.string() }),
    image: z.object({ "docker-manifest-digest": z.string() }),
    type: z.literal("cosign container image signature"),
  }),
});

/** Reads the keys that `rules` name. Throws CONFIG_INVALID for a file that is no public key of a known kind. */
export function loadSignaturePolicy(rules: z.infer<typeof imagesSchema>["policy"]): SignaturePolicy {
  const read = rules.map(
    ({ match = "*", keys }): Rule => ({ matches: patternOf(match), keys: keys.map((file) => readKey(file)) }),
  );
  return {
    isEmpty: read.length === 0,
    accepts(digest, { payload, signature }) {
      const said = payloadOf(payload);
      if (said?.image["docker-manifest-digest"] !== digest) return false;
      const name = said.identity["docker-reference"];
      return read.some(({ matches, keys }) => matches.test(name) && keys.some((key) => isBy(key, payload, signature)));
    },
  };
}

function isBy(key: KeyObject, payload: Uint8Array, signature: Uint8Array): boolean {
  return verify(key.asymmetricKeyType === "ed25519" ? null : "sha256", payload, key, signature);
}

function payloadOf(payload: Uint8Array): z.infer<typeof payloadSchema>["critical"] | undefined {
  try {
    return payloadSchema.parse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload))).critical;
  } catch {
    return undefined;
  }
}

function readKey(file: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey(readFileSync(file));
  } catch (cause) {
    throw badKey(file, cause);
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === "ed25519" || (type === "ec" && details?.namedCurve === "prime256v1")) return key;
  throw badKey(file, undefined);
}

function badKey(file: string, cause: unknown): MarketError {
  return new MarketError("CONFIG_INVALID", `images.policy: ${file} is no public key (PEM) of ECDSA P-256 or Ed25519.`, {
    hint: "Give the public key's file, such as the cosign.pub that `cosign generate-key-pair` writes.",
    cause,
  });
}
