import { MarketError } from "@berth/protocol";
import type { PBLink, PBNode } from "@ipld/dag-pb";
import { UnixFS } from "ipfs-unixfs";
import type { CID } from "multiformats/cid";
import { assertSupported, decodeNode, isLeaf } from "./cids.ts";
import type { BlockStore, CallOptions } from "./store.ts";

/*
 * Reading UnixFS that a stranger built. A library exporter recurses and reads ahead; here one block is held at a time, and
 * a small DAG that repeats itself without end is cut off when its blocks bring nothing.
 */

/** Blocks that may be read without finding bytes or entries, at first and for each piece found. */
const SPARE_VISITS = 10_000;
const VISITS_EARNED = 8;

export interface UnixfsEntry {
  name: string;
  cid: CID;
}

/** Is `cid` a file or a folder? Throws CONTENT_UNSAFE for a symbolic link, CONTENT_INVALID for anything else. */
export async function kindOf(blocks: BlockStore, cid: CID, options: CallOptions): Promise<"file" | "directory"> {
  assertSupported(cid);
  if (isLeaf(cid)) return "file";
  const { unixfs } = await readNode(blocks, cid, options);
  if (unixfs.isDirectory()) return "directory";
  if (unixfs.type === "file" || unixfs.type === "raw") return "file";
  if (unixfs.type === "symlink") {
    throw new MarketError("CONTENT_UNSAFE", `${cid} is a symbolic link, which is never followed or written.`);
  }
  throw invalid(cid, `has the UnixFS type "${unixfs.type}"`);
}

/** The bytes of a file in order, one block at a time. Throws CONTENT_INVALID when blocks and declared size disagree. */
export async function* readFileContent(
  blocks: BlockStore,
  root: CID,
  options: CallOptions,
): AsyncGenerator<Uint8Array> {
  let declared: bigint | undefined;
  let total = 0n;
  let spare = SPARE_VISITS;
  const stack = [root];
  for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) {
    options.signal?.throwIfAborted();
    if (spare-- === 0) throw invalid(root, "has too many blocks that hold nothing");
    assertSupported(cid);
    let data: Uint8Array | undefined;
    if (isLeaf(cid)) {
      data = await blocks.get(cid, options);
    } else {
      const { node, unixfs } = await readNode(blocks, cid, options);
      if (unixfs.type !== "file" && unixfs.type !== "raw") throw invalid(cid, `is a "${unixfs.type}" inside a file`);
      declared ??= unixfs.fileSize();
      data = unixfs.data;
      for (const link of node.Links.toReversed()) stack.push(link.Hash.toV1());
    }
    if (data === undefined || data.length === 0) continue;
    total += BigInt(data.length);
    spare += VISITS_EARNED;
    if (declared !== undefined && total > declared) break;
    yield data;
  }
  if (declared !== undefined && total !== declared)
    throw invalid(root, `does not hold the ${declared} bytes it declares`);
}

/** The entries of a folder, plain or sharded. Throws CONTENT_INVALID. */
export async function* listFolder(blocks: BlockStore, root: CID, options: CallOptions): AsyncGenerator<UnixfsEntry> {
  let spare = SPARE_VISITS;
  const stack = [root];
  for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) {
    options.signal?.throwIfAborted();
    if (spare-- === 0) throw invalid(root, "has too many blocks that hold nothing");
    const { node, unixfs } = await readNode(blocks, cid, options);
    if (unixfs.type === "directory" && cid === root) {
      for (const link of node.Links) yield { name: nameOf(root, link), cid: link.Hash.toV1() };
    } else if (unixfs.type === "hamt-sharded-directory") {
      const prefix = prefixLength(root, unixfs);
      for (const link of node.Links.toReversed()) {
        const name = nameOf(root, link);
        if (name.length < prefix) throw invalid(root, "has a shard with a broken prefix");
        if (name.length === prefix) stack.push(link.Hash.toV1());
        else {
          spare += VISITS_EARNED;
          yield { name: name.slice(prefix), cid: link.Hash.toV1() };
        }
      }
    } else {
      throw invalid(root, "is not a folder");
    }
  }
}

async function readNode(
  blocks: BlockStore,
  cid: CID,
  { signal }: CallOptions,
): Promise<{ node: PBNode; unixfs: UnixFS }> {
  assertSupported(cid);
  if (isLeaf(cid)) throw invalid(cid, "is a file where a folder was expected");
  const node = decodeNode(cid, await blocks.get(cid, { signal }));
  if (node.Data === undefined) throw invalid(cid, "has no UnixFS data");
  try {
    return { node, unixfs: UnixFS.unmarshal(node.Data) };
  } catch (cause) {
    throw invalid(cid, "has broken UnixFS data", cause);
  }
}

/** How many hexadecimal digits of the shard's slot stand before each name. */
function prefixLength(cid: CID, { fanout = 256n }: UnixFS): number {
  if (fanout < 2n || fanout > 1024n) throw invalid(cid, `has a shard fanout of ${fanout}`);
  return (fanout - 1n).toString(16).length;
}

function nameOf(cid: CID, { Name }: PBLink): string {
  if (Name === undefined) throw invalid(cid, "has an entry without a name");
  return Name;
}

function invalid(cid: CID, what: string, cause?: unknown): MarketError {
  return new MarketError("CONTENT_INVALID", `${cid} ${what}.`, { cause });
}
