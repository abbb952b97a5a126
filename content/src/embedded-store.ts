import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import type { CID } from "multiformats/cid";
import { addBytes, addPath } from "./add.ts";
import { openBlockFiles, syncFolder } from "./block-files.ts";
import { importCar } from "./car.ts";
import { blockKey, parseContentCid } from "./cids.ts";
import { dagSize, notFound, walkDag } from "./dag.ts";
import { openPinLedger } from "./pins.ts";
import type { ContentStore, ReaderStore } from "./store.ts";
import { readerOver } from "./store-base.ts";

/** Blocks touched within this time are never collected: an add or a fetch that is under way may count on them. */
export const GC_GRACE_SECONDS = 3600;

/**
 * Opens (or makes) a store in the folder `dir`: no daemon, nothing but files. Any number of callers may read and write it
 * at once, in one process or several; let one of them collect garbage.
 */
export async function openEmbeddedStore({ dir }: { dir: string }): Promise<ContentStore> {
  await mkdir(dir, { recursive: true });
  const blocks = await openBlockFiles(dir);
  const ledger = openPinLedger(join(dir, "pins.sqlite"));
  await syncFolder(dir);
  const withSize = async (root: CID, signal?: AbortSignal) => ({
    cid: root.toString(),
    size: await dagSize(blocks, root, { signal }),
  });

  return {
    ...readerOver(blocks),
    addBytes: async (bytes, { signal } = {}) => await withSize(await addBytes(blocks, bytes, { signal }), signal),
    async addPath(path, options = {}) {
      const { root, ...walked } = await addPath(blocks, path, options);
      return { ...(await withSize(root, options.signal)), ...walked };
    },
    async importCar(stream, { root, ...options }) {
      const cid = parseContentCid(root);
      return { cid: cid.toString(), size: await importCar(blocks, stream, { root: cid, ...options }) };
    },
    async pin(cid, until, { owner = "", signal } = {}) {
      assertUntil(until);
      const root = parseContentCid(cid);
      const reached: CID[] = [];
      for await (const visited of walkDag(blocks, root, { signal, leaves: "size" })) {
        if (!(await blocks.keep(visited.cid))) throw notFound(visited.cid);
        reached.push(visited.cid);
      }
      await blocks.syncNames(reached);
      ledger.extend({ cid: root.toString(), owner, until });
    },
    unpin: async (cid, { owner = "" } = {}) => ledger.end(parseContentCid(cid).toString(), owner),
    pins: async () => ledger.list(),
    async gc(now, { signal } = {}) {
      const pins = ledger.expire(now);
      const live = new Set<string>();
      for (const root of new Set(ledger.list().map((pin) => pin.cid))) {
        const walk = walkDag(blocks, parseContentCid(root), { signal, leaves: "size", missing: "skip" });
        for await (const { cid } of walk) live.add(blockKey(cid));
      }
      return { pins, ...(await blocks.sweep(live, now - GC_GRACE_SECONDS, signal)) };
    },
    close: async () => ledger.close(),
  };
}

/** A place in the folder `dir` for what is fetched, looked at and dropped: without pins, and gone with a power cut. */
export async function openScratchStore({ dir }: { dir: string }): Promise<ReaderStore> {
  return readerOver(await openBlockFiles(dir, { durable: false }));
}

/** Throws PIN_INVALID unless `until` counts whole unix seconds. */
export function assertUntil(until: number): void {
  if (Number.isSafeInteger(until) && until >= 0) return;
  throw new MarketError("PIN_INVALID", `A pin cannot last until ${until}.`, { hint: "Give whole unix seconds." });
}
