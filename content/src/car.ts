import { MarketError } from "@berth/protocol";
import { CarBlockIterator, CarWriter } from "@ipld/car";
import { varint } from "multiformats";
import type { CID } from "multiformats/cid";
import { assertSupported, blockKey, linksOf, MAX_BLOCK_BYTES, verifyBlock } from "./cids.ts";
import { addOnce, assertBelow, dagSize, walkDag } from "./dag.ts";
import type { BlockStore, CallOptions, OnProgress } from "./store.ts";

/** A section of a CAR is a CID and a block; nothing that this market stores makes a longer one. */
const MAX_SECTION_BYTES = MAX_BLOCK_BYTES + 128;
/** Blocks of a CAR that are written at once, so that a fetch does not wait for each disk flush in turn. */
const WRITES_AT_ONCE = 8;

/** CARv1 of the whole DAG, depth first, each block once. Throws CONTENT_NOT_FOUND midway when a block is missing. */
export async function* exportCar(
  blocks: BlockStore,
  root: CID,
  { signal }: CallOptions = {},
): AsyncGenerator<Uint8Array> {
  yield* carHeader(root);
  for await (const { cid, bytes } of walkDag(blocks, root, { signal, leaves: "read" })) {
    if (bytes === undefined) continue;
    const length = cid.bytes.length + bytes.length;
    const head = new Uint8Array(varint.encodingLength(length) + cid.bytes.length);
    varint.encodeTo(length, head);
    head.set(cid.bytes, head.length - cid.bytes.length);
    yield head;
    yield bytes;
  }
}

/**
 * Stores a CAR whose only root is `root`; returns the bytes of the DAG. Every block must hash to its CID and be linked from
 * a block before it, so nothing but this DAG reaches the disk. Blocks that came before a failure stay: they are verified
 * and a later fetch need not repeat them.
 * Throws CONTENT_INVALID, CONTENT_CORRUPT, CONTENT_TOO_LARGE, or CONTENT_NOT_FOUND when blocks are missing at the end.
 */
export async function importCar(
  blocks: BlockStore,
  stream: AsyncIterable<Uint8Array>,
  {
    root,
    maxBytes,
    signal,
    onProgress,
  }: CallOptions & { root: CID; maxBytes: number; onProgress?: OnProgress | undefined },
): Promise<number> {
  assertSupported(root);
  const wanted = new Set([root.toString()]);
  const stored = new Set<string>();
  const writes = new Set<Promise<void>>();
  let failure: unknown;
  let total = 0;
  let repeated = 0;
  try {
    for await (const { cid: given, bytes } of readCar(stream, root)) {
      signal?.throwIfAborted();
      const cid = given.toV1();
      verifyBlock(cid, bytes);
      if (!wanted.has(cid.toString())) {
        throw new MarketError("CONTENT_INVALID", `The CAR carries block ${cid}, which is no part of ${root}.`);
      }
      if (stored.has(cid.toString())) {
        repeated += bytes.length;
        if (repeated > maxBytes) throw new MarketError("CONTENT_INVALID", "The CAR repeats its blocks without end.");
        continue;
      }
      stored.add(cid.toString());
      total += bytes.length;
      assertBelow(total, maxBytes, root);
      for (const link of linksOf(cid, bytes)) addOnce(wanted, [], link);
      const write = blocks.put(cid, bytes.slice(), { signal }).catch((error: unknown) => {
        failure ??= error;
      });
      writes.add(write);
      void write.then(() => writes.delete(write));
      if (writes.size >= WRITES_AT_ONCE) await Promise.race(writes);
      if (failure !== undefined) throw failure;
      onProgress?.({ bytes: total, files: 0 });
    }
  } finally {
    await Promise.all(writes);
  }
  if (failure !== undefined) throw failure;
  return await dagSize(blocks, root, { signal, maxBytes });
}

/** The blocks of a CARv1. Throws CONTENT_INVALID for anything that is not one, or not of `root`. */
async function* readCar(stream: AsyncIterable<Uint8Array>, root: CID): AsyncGenerator<{ cid: CID; bytes: Uint8Array }> {
  let sourceError: unknown;
  const source = limitSections(stream, (error) => {
    sourceError = error;
  });
  try {
    const car = await CarBlockIterator.fromIterable(source);
    const [only, ...more] = await car.getRoots();
    if (car.version !== 1 || only === undefined || more.length > 0 || blockKey(only) !== blockKey(root)) {
      throw new MarketError("CONTENT_INVALID", `The CAR's root is not ${root}.`);
    }
    yield* car;
  } catch (cause) {
    if (sourceError !== undefined) throw sourceError; // the network or a limit, not the format
    if (cause instanceof MarketError) throw cause;
    throw new MarketError("CONTENT_INVALID", "The CAR is broken or cut short.", { retryable: true, cause });
  }
}

/** Passes the stream on, but stops before a reader can be made to wait for (and hold) a section of any length. */
async function* limitSections(
  stream: AsyncIterable<Uint8Array>,
  onError: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  let left = 0; // bytes of the current section still to come
  let length = 0; // of the next section, as far as its varint was read
  let shift = 0;
  try {
    for await (const chunk of stream) {
      for (let at = 0; at < chunk.length; ) {
        if (left > 0) {
          const step = Math.min(left, chunk.length - at);
          left -= step;
          at += step;
          continue;
        }
        const byte = chunk[at++] ?? 0;
        length += (byte & 0x7f) * 2 ** shift;
        shift += 7;
        if (length > MAX_SECTION_BYTES || shift > 35) {
          throw new MarketError("CONTENT_INVALID", `The CAR has a section longer than ${MAX_SECTION_BYTES} bytes.`);
        }
        if (byte < 0x80) {
          left = length;
          length = 0;
          shift = 0;
        }
      }
      yield chunk;
    }
  } catch (error) {
    onError(error);
    throw error;
  }
}

async function* carHeader(root: CID): AsyncGenerator<Uint8Array> {
  const { writer, out } = CarWriter.create([root]);
  const closed = writer.close();
  yield* out;
  await closed;
}
