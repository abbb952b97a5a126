import canonicalize from "canonicalize";
import { sha256, stringToBytes } from "viem";
import { MarketError } from "./errors.ts";
import type { Hex } from "./units.ts";

/** Largest canonical document in bytes. One block, so its CID is CIDv1(raw, sha2-256 of the bytes). */
export const MAX_DOCUMENT_BYTES = 256 * 1024;

/** UTF-8 bytes of the RFC 8785 form of a JSON value. Throws NOT_JSON, DOCUMENT_TOO_LARGE. */
export function canonicalBytes(value: unknown): Uint8Array {
  const text = canonicalize(value);
  if (text === undefined) throw new MarketError("NOT_JSON", "The value has no JSON form.");
  const bytes = stringToBytes(text);
  if (bytes.length > MAX_DOCUMENT_BYTES) {
    throw new MarketError(
      "DOCUMENT_TOO_LARGE",
      `The document has ${bytes.length} bytes; at most ${MAX_DOCUMENT_BYTES} are allowed.`,
      { hint: "Move large parts into inputs." },
    );
  }
  return bytes;
}

/** sha2-256 of the canonical form: what a request or a claim commits to. */
export function documentHash(value: unknown): Hex {
  return sha256(canonicalBytes(value));
}
