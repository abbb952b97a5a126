import { createHash } from "node:crypto";
import { MarketError } from "@berth/protocol";
import * as dagPb from "@ipld/dag-pb";
import { base32 } from "multiformats/bases/base32";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { sha256 } from "multiformats/hashes/sha2";

/** The largest block that IPFS implementations pass on, in bytes. */
export const MAX_BLOCK_BYTES = 2 * 1024 * 1024;
/** Most blocks in one DAG (1 TiB of full leaves): bounds the memory that a hostile DAG can take. */
export const MAX_BLOCKS = 1_000_000;

/** Reads a CID as CIDv1. Throws CID_INVALID. */
export function parseCid(text: string): CID {
  try {
    return CID.parse(text).toV1();
  } catch (cause) {
    throw new MarketError("CID_INVALID", `"${text.slice(0, 100)}" is not a CID.`, { cause });
  }
}

/** Can this market store the block? Only sha2-256 over raw or dag-pb. */
export function isSupported(cid: CID): boolean {
  const { code, digest } = cid.multihash;
  return code === sha256.code && digest.length === 32 && (cid.code === raw.code || cid.code === dagPb.code);
}

/** Reads a CID that stores accept. Throws CID_INVALID or CONTENT_INVALID. */
export function parseContentCid(text: string): CID {
  const cid = parseCid(text);
  assertSupported(cid);
  return cid;
}

/** Throws CONTENT_INVALID for another hash or codec. */
export function assertSupported(cid: CID): void {
  if (isSupported(cid)) return;
  throw new MarketError("CONTENT_INVALID", `${cid} is not sha2-256 over raw or dag-pb.`, {
    hint: "Add the content again with the UnixFS profile unixfs-v1-2025.",
  });
}

/** Throws CONTENT_CORRUPT unless `bytes` are what `cid` names, CONTENT_INVALID for an unsupported CID or size. */
export function verifyBlock(cid: CID, bytes: Uint8Array): void {
  assertSupported(cid);
  if (bytes.length > MAX_BLOCK_BYTES) {
    throw new MarketError("CONTENT_INVALID", `Block ${cid} has ${bytes.length} bytes, more than ${MAX_BLOCK_BYTES}.`);
  }
  if (!createHash("sha256").update(bytes).digest().equals(cid.multihash.digest)) {
    throw new MarketError("CONTENT_CORRUPT", `The bytes received for block ${cid} do not hash to it.`);
  }
}

export function isLeaf(cid: CID): boolean {
  return cid.code === raw.code;
}

/** The links of a block in order, as CIDv1. Throws CONTENT_INVALID. */
export function linksOf(cid: CID, bytes: Uint8Array): CID[] {
  if (isLeaf(cid)) return [];
  return decodeNode(cid, bytes).Links.map((link) => link.Hash.toV1());
}

/** Decodes a dag-pb block. Throws CONTENT_INVALID. */
export function decodeNode(cid: CID, bytes: Uint8Array): dagPb.PBNode {
  try {
    return dagPb.decode(bytes);
  } catch (cause) {
    throw new MarketError("CONTENT_INVALID", `Block ${cid} is not valid dag-pb.`, { cause });
  }
}

/** One key per block whatever its codec: the bytes are the same. */
export function blockKey(cid: CID): string {
  return base32.encode(cid.multihash.bytes);
}
