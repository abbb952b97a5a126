import { MarketError } from "@berth/protocol";
import type { KuboRPCClient } from "kubo-rpc-client";
import type { CID } from "multiformats/cid";
import { isLeaf, verifyBlock } from "./cids.ts";
import { notFound } from "./dag.ts";
import type { BlockStore, CallOptions } from "./store.ts";

/** Never let the daemon search its network: the question is what the daemon has. */
const OFFLINE = { offline: true };

/** The daemon's blocks, verified on the way out like anyone's. */
export function kuboBlocks(kubo: KuboRPCClient): BlockStore {
  const size: BlockStore["size"] = async (cid, options = {}) => {
    const found = await ifThere(() => kubo.block.stat(cid, { ...OFFLINE, ...signalOf(options) }));
    return found?.size;
  };
  return {
    size,
    keep: async (cid, options) => (await size(cid, options)) !== undefined,
    async get(cid, options = {}) {
      const bytes = await ifThere(() => kubo.block.get(cid, { ...OFFLINE, ...signalOf(options) }));
      if (bytes === undefined) throw notFound(cid);
      verifyBlock(cid, bytes);
      return bytes;
    },
    async put(cid, bytes, options = {}) {
      verifyBlock(cid, bytes);
      const codec = { "cid-codec": isLeaf(cid) ? "raw" : "dag-pb", mhtype: "sha2-256" };
      const stored = await ask("block/put", () => kubo.block.put(bytes, { ...codec, ...signalOf(options) }));
      if (!stored.toV1().equals(cid)) throw failed("block/put", new Error(`it stored ${stored} instead of ${cid}`));
    },
  };
}

/** Sends a CAR and has its root pinned. Throws KUBO_FAILED. */
export async function sendCar(
  kubo: KuboRPCClient,
  root: CID,
  car: AsyncIterable<Uint8Array>,
  options: CallOptions,
): Promise<void> {
  const pinned = await ask("dag/import", async () => {
    const roots: string[] = [];
    for await (const result of kubo.dag.import(car, { pinRoots: true, ...signalOf(options) })) {
      const { cid, pinErrorMsg } = result.root;
      if (pinErrorMsg) throw new Error(pinErrorMsg);
      roots.push(cid.toV1().toString());
    }
    return roots;
  });
  if (!pinned.includes(root.toString())) throw failed("dag/import", new Error(`it did not pin ${root}`));
}

export async function isPinned(kubo: KuboRPCClient, root: CID, options: CallOptions): Promise<boolean> {
  const found = await ifThere(async () => {
    for await (const pin of kubo.pin.ls({ paths: root, type: "recursive", ...signalOf(options) })) return pin;
    return undefined;
  });
  return found !== undefined;
}

export async function pinRoot(kubo: KuboRPCClient, root: CID, options: CallOptions): Promise<void> {
  await ask("pin/add", () => kubo.pin.add(root, { recursive: true, ...signalOf(options) }));
}

/** Not an error when the pin is gone already. */
export async function unpinRoot(kubo: KuboRPCClient, root: CID, options: CallOptions): Promise<void> {
  await ifThere(() => kubo.pin.rm(root, signalOf(options)));
}

/** `undefined` when Kubo says that what was asked for is absent; its answers carry words, not codes. */
async function ifThere<T>(call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    if (/not found|not pinned|no such/i.test(words) && !/\b404\b/.test(words)) return undefined;
    throw failed("request", error);
  }
}

async function ask<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw failed(what, error);
  }
}

function failed(what: string, cause: unknown): unknown {
  if (cause instanceof MarketError || (cause instanceof Error && cause.name === "AbortError")) return cause;
  const words = cause instanceof Error ? cause.message : String(cause);
  return new MarketError("KUBO_FAILED", `Kubo's ${what} failed: ${words}`, {
    hint: "Check that the Kubo daemon runs and that its RPC address is right.",
    retryable: true,
    cause,
  });
}

function signalOf({ signal }: CallOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
