import { createPublicKey, type KeyObject, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { MarketError } from "@berth/protocol";
import { z } from "zod";
import type { imagesSchema } from "../config/images.ts";
import { patternOf } from "./pattern.ts";

/** A signature over an image's digest, as cosign makes it. */
export interface ImageSignature {
  /** What the payload is: "simple signing" JSON, or (from cosign 3 on) an in-toto statement in a DSSE envelope. */
  form: "simple" | "statement";
  payload: Uint8Array;
  /** ECDSA (DER) or Ed25519. */
  signature: Uint8Array;
}

/** Whose signatures an image needs. No rules: none. */
export interface SignaturePolicy {
  isEmpty: boolean;
  /** Does one of the rules accept this signature for the image `digest`? */
  accepts(digest: string, signature: ImageSignature): boolean;
  /** Why none of the rules does, for the operator; undefined when one does. */
  refusal(digest: string, signature: ImageSignature): string | undefined;
}

interface Rule {
  matches: RegExp;
  keys: KeyObject[];
}

/** What a payload says that was signed. */
interface Claim {
  digest: string;
  /** Of the image; empty where none is given. */
  name: string;
}

const simpleSchema = z.object({
  critical: z.object({
    identity: z.object({ "docker-reference": z.string() }),
    image: z.object({ "docker-manifest-digest": z.string() }),
    type: z.literal("cosign container image signature"),
  }),
});
/** Statements about an image that are no signature of it, such as what is in it or what is wrong with it, say so here. */
export const SIGNED = "https://sigstore.dev/cosign/sign/v1";
const STATEMENT_TYPE = "application/vnd.in-toto+json";
const statementSchema = z.object({
  _type: z.literal("https://in-toto.io/Statement/v1"),
  predicateType: z.literal(SIGNED),
  subject: z.array(z.object({ name: z.string().default(""), digest: z.object({ sha256: z.string() }) })).max(1024),
});

/** Reads the keys that `rules` name. Throws CONFIG_INVALID for a file that is no public key of a known kind. */
export function loadSignaturePolicy(rules: z.infer<typeof imagesSchema>["policy"]): SignaturePolicy {
  const read = rules.map(
    ({ match = "*", keys }): Rule => ({ matches: patternOf(match), keys: keys.map((file) => readKey(file)) }),
  );
  const refusal: SignaturePolicy["refusal"] = (digest, { form, payload, signature }) => {
    const claims = form === "simple" ? simpleClaims(payload) : statementClaims(payload);
    if (claims.length === 0) return "it is not the signature of an image";
    const claim = claims.find((one) => one.digest === digest);
    if (claim === undefined) return "it is for another image";
    const named = read.filter(({ matches }) => matches.test(claim.name));
    if (named.length === 0) return `no rule is for the name "${claim.name}"`;
    const message = form === "simple" ? payload : enveloped(payload);
    const isSigned = named.some(({ keys }) => keys.some((key) => isBy(key, message, signature)));
    return isSigned ? undefined : "it was made by no key of a rule for this name";
  };
  return {
    isEmpty: read.length === 0,
    refusal,
    accepts: (digest, signature) => refusal(digest, signature) === undefined,
  };
}

function isBy(key: KeyObject, message: Uint8Array, signature: Uint8Array): boolean {
  return verify(key.asymmetricKeyType === "ed25519" ? null : "sha256", message, key, signature);
}

/** The bytes that a DSSE envelope's signature is over: lengths and type come first, so that they stand for nothing else. */
function enveloped(payload: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`DSSEv1 ${STATEMENT_TYPE.length} ${STATEMENT_TYPE} ${payload.length} `), payload]);
}

function simpleClaims(payload: Uint8Array): Claim[] {
  const { success, data } = simpleSchema.safeParse(jsonOf(payload));
  if (!success) return [];
  const { identity, image } = data.critical;
  return [{ digest: image["docker-manifest-digest"], name: identity["docker-reference"] }];
}

function statementClaims(payload: Uint8Array): Claim[] {
  const { success, data } = statementSchema.safeParse(jsonOf(payload));
  return success ? data.subject.map(({ name, digest }) => ({ digest: `sha256:${digest.sha256}`, name })) : [];
}

function jsonOf(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
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
