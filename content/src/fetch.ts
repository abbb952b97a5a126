import { errorToJson, MarketError, shownUrl } from "@berth/protocol";
import type { CID } from "multiformats/cid";
import type { Logger } from "pino";
import { importCar } from "./car.ts";
import { isLeaf, linksOf, MAX_BLOCK_BYTES, parseContentCid, verifyBlock } from "./cids.ts";
import { addOnce, assertBelow, dagSize, isMissing } from "./dag.ts";
import { openRequest } from "./http.ts";
import type { Added, BlockStore, CallOptions, OnProgress, ReaderStore } from "./store.ts";

/** Raw blocks asked for at once; with the block limit, this bounds memory. */
const BLOCKS_AT_ONCE = 8;
const STALL_MS = 30_000;

/** A trustless gateway. */
export interface Source {
  /** Its base URL. */
  url: string;
  /** A stranger named it: it is asked only at an address of the open internet. */
  publicOnly: boolean;
}

export interface FetchOptions extends CallOptions {
  /** Best first. A mere base URL is asked wherever it is. */
  sources: readonly (string | Source)[];
  store: ReaderStore;
  /** Bound on the bytes of all distinct blocks. */
  maxBytes: number;
  log: Logger;
  /** A source that sends nothing for this long is left. Default 30 s. */
  stallMs?: number | undefined;
  onProgress?: OnProgress | undefined;
}

export interface Fetched extends Added {
  /** Where the last missing block came from; `undefined` when everything was here already. */
  source: string | undefined;
}

interface Attempt extends Pick<FetchOptions, "maxBytes" | "signal" | "onProgress"> {
  base: string;
  publicOnly: boolean;
  root: CID;
  blocks: BlockStore;
  stallMs: number;
}

/**
 * Brings the whole DAG below `cid` into the store from the first source that works: as one CAR, or block by block where
 * that fails or part of it is already here. Every block is verified, whoever sent it, and verified blocks are kept when a
 * source fails. Does not pin.
 * Throws CONTENT_UNAVAILABLE (retryable) with each source's reason, CONTENT_TOO_LARGE, CID_INVALID, CONTENT_INVALID.
 */
export async function fetchContent(cid: string, options: FetchOptions): Promise<Fetched> {
  const { sources, store, maxBytes, signal, log, stallMs = STALL_MS, onProgress } = options;
  const root = parseContentCid(cid);
  const here = await sizeIfComplete(store, root, options);
  if (here !== undefined) return { cid: root.toString(), size: here, source: undefined };

  const reasons: { source: string; reason: string }[] = [];
  for (const entry of sources) {
    const { url: source, publicOnly } = typeof entry === "string" ? { url: entry, publicOnly: false } : entry;
    signal?.throwIfAborted();
    const shown = shownUrl(source);
    try {
      const attempt = { base: source, publicOnly, root, blocks: store.blocks, maxBytes, signal, stallMs, onProgress };
      const size = await fetchFrom(attempt, log);
      log.info({ cid: root.toString(), source: shown, size }, "content fetched");
      return { cid: root.toString(), size, source };
    } catch (error) {
      signal?.throwIfAborted();
      if (isFinal(error)) throw error;
      const { code, message } = errorToJson(error);
      reasons.push({ source: shown, reason: message });
      log.warn({ cid: root.toString(), source: shown, code, reason: message }, "content source skipped");
    }
  }
  throw unavailable(root, reasons);
}

async function fetchFrom(attempt: Attempt, log: Logger): Promise<number> {
  const { blocks, root, signal } = attempt;
  const started = await blocks.keep(root, { signal });
  if (started) return await fetchBlocks(attempt);
  try {
    return await fetchCar(attempt);
  } catch (error) {
    signal?.throwIfAborted();
    if (!worthAskingForBlocks(error)) throw error;
    log.debug(
      { source: shownUrl(attempt.base), reason: errorToJson(error).message },
      "CAR failed, asking for single blocks",
    );
    return await fetchBlocks(attempt);
  }
}

async function fetchCar(attempt: Attempt): Promise<number> {
  const { base, publicOnly, root, blocks, maxBytes, signal, stallMs, onProgress } = attempt;
  const url = gatewayUrl(base, root, "car");
  const accept = "application/vnd.ipld.car; version=1; order=dfs; dups=n";
  await using request = await openRequest(url, { accept, signal, stallMs, publicOnly });
  return await importCar(blocks, request.body, { root, maxBytes, signal, onProgress });
}

/** Walks the DAG, asking only for what is missing. */
async function fetchBlocks(attempt: Attempt): Promise<number> {
  const { root, maxBytes, onProgress } = attempt;
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, ...(attempt.signal === undefined ? [] : [attempt.signal])]);
  const seen = new Set([root.toString()]);
  const stack = [root];
  let total = 0;
  while (stack.length > 0) {
    const batch = stack.splice(-BLOCKS_AT_ONCE).reverse();
    const reads = batch.map((cid) => keptOrFetched({ ...attempt, signal }, cid));
    try {
      for (const { size, links } of await Promise.all(reads)) {
        total += size;
        assertBelow(total, maxBytes, root);
        for (const link of links.reverse()) addOnce(seen, stack, link);
      }
    } catch (error) {
      stop.abort();
      await Promise.allSettled(reads);
      throw error;
    }
    onProgress?.({ bytes: total, files: 0 });
  }
  return total;
}

async function keptOrFetched(attempt: Attempt, cid: CID): Promise<{ size: number; links: CID[] }> {
  const { blocks, signal } = attempt;
  if (await blocks.keep(cid, { signal })) {
    const size = isLeaf(cid) ? await blocks.size(cid, { signal }) : undefined;
    if (size !== undefined) return { size, links: [] };
    const bytes = await blocks.get(cid, { signal }).catch(ignoreMissing);
    if (bytes !== undefined) return { size: bytes.length, links: linksOf(cid, bytes) };
  }
  const bytes = await fetchBlock(attempt, cid);
  verifyBlock(cid, bytes);
  await blocks.put(cid, bytes, { signal });
  return { size: bytes.length, links: linksOf(cid, bytes) };
}

async function fetchBlock({ base, publicOnly, signal, stallMs }: Attempt, cid: CID): Promise<Uint8Array> {
  await using request = await openRequest(gatewayUrl(base, cid, "raw"), {
    accept: "application/vnd.ipld.raw",
    signal,
    stallMs,
    publicOnly,
  });
  const chunks: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of request.body) {
    total += chunk.length;
    if (total > MAX_BLOCK_BYTES) throw new MarketError("CONTENT_INVALID", `The source sent too much for block ${cid}.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function sizeIfComplete(
  { blocks }: ReaderStore,
  root: CID,
  { maxBytes, signal }: FetchOptions,
): Promise<number | undefined> {
  try {
    return await dagSize(blocks, root, { maxBytes, signal });
  } catch (error) {
    return ignoreMissing(error);
  }
}

function gatewayUrl(base: string, cid: CID, format: "car" | "raw"): URL {
  let url: URL | undefined;
  try {
    url = new URL(`ipfs/${cid}?format=${format}`, base.endsWith("/") ? base : `${base}/`);
  } catch {}
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "") return url;
  throw new MarketError("SOURCE_INVALID", "It is not an HTTP address of a gateway.");
}

/** No other source can change these: the verified content itself, or this machine, is the reason. */
function isFinal(error: unknown): boolean {
  return error instanceof MarketError && (error.code === "CONTENT_TOO_LARGE" || error.code === "DISK_FULL");
}

/** A source that lied, hangs or cannot be reached is not asked again. */
function worthAskingForBlocks(error: unknown): boolean {
  if (!(error instanceof MarketError)) return true;
  if (["SOURCE_ANSWERED", "SOURCE_BROKE_OFF", "CONTENT_NOT_FOUND"].includes(error.code)) return true;
  return error.code === "CONTENT_INVALID" && error.retryable; // cut short
}

function ignoreMissing(error: unknown): undefined {
  if (!isMissing(error)) throw error;
}

function unavailable(root: CID, reasons: { source: string; reason: string }[]): MarketError {
  const list = reasons.map(({ source, reason }) => `${source}: ${reason}`).join("; ");
  const message = reasons.length === 0 ? `No source is known for ${root}.` : `No source delivered ${root}: ${list}`;
  return new MarketError("CONTENT_UNAVAILABLE", message, {
    hint: "Check that a gateway with this content is running and reachable, then try again.",
    retryable: true,
  });
}
