import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import * as Digest from "multiformats/hashes/digest";
import { sha256 } from "multiformats/hashes/sha2";
import { bytesToHex, hexToBytes } from "viem";
import { MarketError } from "./errors.ts";
import type { Hex } from "./units.ts";

/** CIDv1(raw) of a one-block document, from the sha2-256 digest that the chain holds. */
export function digestToCid(digest: Hex): string {
  return CID.createV1(raw.code, Digest.create(sha256.code, hexToBytes(digest))).toString();
}

/** The sha2-256 digest inside a CID of a one-block document. Throws CID_INVALID for any other CID. */
export function cidToDigest(cid: string): Hex {
  const parsed = CID.parse(cid);
  if (parsed.version !== 1 || parsed.code !== raw.code || parsed.multihash.code !== sha256.code) {
    throw new MarketError("CID_INVALID", `${cid} is not a CIDv1 of one raw block with sha2-256.`);
  }
  return bytesToHex(parsed.multihash.digest);
}
