import { MarketError } from "@berth/protocol";
import type { CID } from "multiformats/cid";
import { assertSupported, isLeaf, linksOf, MAX_BLOCKS } from "./cids.ts";
import type { BlockStore, CallOptions } from "./store.ts";

export interface WalkOptions extends CallOptions {
  /** Read leaves too (a CAR needs their bytes), or only ask for their size. */
  leaves: "read" | "size";
  /** A missing block ends the walk with CONTENT_NOT_FOUND, or is left out with everything below it. */
  missing?: "throw" | "skip";
}

export interface Visited {
  cid: CID;
  size: number;
  /** Absent for leaves of which only the size was asked. */
  bytes: Uint8Array | undefined;
}

/** Visits a DAG depth first in link order, each CID once. Throws CONTENT_NOT_FOUND, CONTENT_CORRUPT, CONTENT_INVALID. */
export async function* walkDag(blocks: BlockStore, root: CID, options: WalkOptions): AsyncGenerator<Visited> {
  const seen = new Set([root.toString()]);
  const stack = [root];
  for (let cid = stack.pop(); cid !== undefined; cid = stack.pop()) {
    options.signal?.throwIfAborted();
    const visited = await visit(blocks, cid, options);
    if (visited === undefined) continue;
    yield visited;
    if (visited.bytes === undefined) continue;
    for (const link of linksOf(cid, visited.bytes).reverse()) addOnce(seen, stack, link);
  }
}

/** Bytes of all distinct blocks; proves that the DAG is complete. Throws CONTENT_NOT_FOUND, CONTENT_TOO_LARGE. */
export async function dagSize(
  blocks: BlockStore,
  root: CID,
  { signal, maxBytes = Number.POSITIVE_INFINITY }: CallOptions & { maxBytes?: number } = {},
): Promise<number> {
  let total = 0;
  for await (const { size } of walkDag(blocks, root, { signal, leaves: "size" })) {
    total += size;
    assertBelow(total, maxBytes, root);
  }
  return total;
}

/** Remembers `link` and puts it on `stack`, unless it was seen. Throws CONTENT_INVALID. */
export function addOnce(seen: Set<string>, stack: CID[], link: CID): void {
  const key = link.toString();
  if (seen.has(key)) return;
  assertSupported(link);
  if (seen.size >= MAX_BLOCKS) throw new MarketError("CONTENT_INVALID", `The DAG has more than ${MAX_BLOCKS} blocks.`);
  seen.add(key);
  stack.push(link);
}

/** Throws CONTENT_TOO_LARGE when `total` bytes are past the limit. */
export function assertBelow(total: number, maxBytes: number, root: CID): void {
  if (total <= maxBytes) return;
  throw new MarketError("CONTENT_TOO_LARGE", `${root} is larger than the ${maxBytes} bytes allowed.`, {
    hint: "Allow more bytes, or ask for smaller content.",
  });
}

/** The error of a block that is not here. */
export function notFound(cid: CID): MarketError {
  return new MarketError("CONTENT_NOT_FOUND", `Block ${cid} is not in this store.`, {
    hint: "Fetch the content from a gateway that has it.",
  });
}

async function visit(
  blocks: BlockStore,
  cid: CID,
  { signal, leaves, missing = "throw" }: WalkOptions,
): Promise<Visited | undefined> {
  if (leaves === "size" && isLeaf(cid)) {
    const size = await blocks.size(cid, { signal });
    if (size !== undefined) return { cid, size, bytes: undefined };
    if (missing === "skip") return undefined;
    throw notFound(cid);
  }
  try {
    const bytes = await blocks.get(cid, { signal });
    return { cid, size: bytes.length, bytes };
  } catch (error) {
    if (missing === "skip" && isMissing(error)) return undefined;
    throw error;
  }
}

/** Did the read fail because the block is absent or no longer what it was? */
export function isMissing(error: unknown): boolean {
  return error instanceof MarketError && (error.code === "CONTENT_NOT_FOUND" || error.code === "CONTENT_CORRUPT");
}
