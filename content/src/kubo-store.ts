import { randomUUID } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseContentCid } from "./cids.ts";
import { dagSize } from "./dag.ts";
import { assertUntil, GC_GRACE_SECONDS, openEmbeddedStore } from "./embedded-store.ts";
import { keyedLock } from "./keyed-lock.ts";
import { isPinned, kuboBlocks, pinRoot, sendCar, unpinRoot } from "./kubo-rpc.ts";
import { openPinLedger } from "./pins.ts";
import type { CallOptions, ContentStore } from "./store.ts";
import { readerOver } from "./store-base.ts";

/** Ledger owners of pins that nobody asked this store for. */
const JUST_ADDED = " just added";
const SOMEONE_ELSE = " someone else";

/**
 * A store in a Kubo daemon at its RPC `url`. `dir` holds the ledger of our pins (Kubo's have no end) and content on its
 * way: a DAG is built or verified here with the pinned profile, then travels as a CAR, so that its CID stays whatever the
 * daemon's import settings. Throws KUBO_FAILED (retryable).
 */
export async function createKuboStore({ url, dir }: { url: string; dir: string }): Promise<ContentStore> {
  await mkdir(dir, { recursive: true });
  const { create } = await import("kubo-rpc-client"); // a tenth of all modules, for nothing where there is no daemon
  const kubo = create({ url });
  const ledger = openPinLedger(join(dir, "kubo-pins.sqlite"));
  const blocks = kuboBlocks(kubo);
  const exclusive = keyedLock();

  /** Writes down a pin before Kubo is asked for it, and first whether someone else already has it: theirs stays. */
  const note = async (cid: string, owner: string, until: number, { signal }: CallOptions) => {
    const ours = ledger.list().some((pin) => pin.cid === cid);
    if (!ours && (await isPinned(kubo, parseContentCid(cid), { signal }))) {
      ledger.extend({ cid, owner: SOMEONE_ELSE, until: Number.MAX_SAFE_INTEGER });
    }
    ledger.extend({ cid, owner, until });
  };

  /** Lets `fill` make a DAG in a store of its own and hands that DAG to Kubo, pinned for the grace period. */
  const send = async <T extends { cid: string }>(
    { signal }: CallOptions,
    fill: (staging: ContentStore) => Promise<T>,
  ): Promise<T> => {
    const stagingDir = join(dir, `staging-${randomUUID()}`);
    const staging = await openEmbeddedStore({ dir: stagingDir });
    try {
      const filled = await fill(staging);
      await exclusive(filled.cid, async () => {
        await note(filled.cid, JUST_ADDED, Math.floor(Date.now() / 1000) + GC_GRACE_SECONDS, { signal });
        await sendCar(kubo, parseContentCid(filled.cid), staging.exportCar(filled.cid, { signal }), { signal });
      });
      return filled;
    } finally {
      await staging.close();
      await rm(stagingDir, { recursive: true, force: true });
    }
  };

  return {
    ...readerOver(blocks),
    addBytes: async (bytes, options = {}) => await send(options, (staging) => staging.addBytes(bytes, options)),
    addPath: async (path, options = {}) => await send(options, (staging) => staging.addPath(path, options)),
    importCar: async (car, options) => await send(options, (staging) => staging.importCar(car, options)),
    async pin(cid, until, { owner = "", signal } = {}) {
      assertUntil(until);
      const root = parseContentCid(cid);
      await dagSize(blocks, root, { signal });
      await exclusive(root.toString(), async () => {
        await note(root.toString(), owner, until, { signal });
        await pinRoot(kubo, root, { signal });
      });
    },
    unpin: async (cid, { owner = "" } = {}) => ledger.end(parseContentCid(cid).toString(), owner),
    pins: async () => ledger.list().filter(({ owner }) => owner !== JUST_ADDED && owner !== SOMEONE_ELSE),
    /** Releases pins in Kubo; deleting blocks is left to the daemon's own collector, which others rely on too. */
    async gc(now, { signal } = {}) {
      let pins = 0;
      for (const cid of ledger.released(now)) {
        await exclusive(cid, async () => {
          if (!ledger.released(now).includes(cid)) return; // pinned again meanwhile
          await unpinRoot(kubo, parseContentCid(cid), { signal });
          pins += ledger.expire(now, cid);
        });
      }
      return { pins: pins + ledger.expire(now), blocks: 0, bytes: 0 };
    },
    close: async () => ledger.close(),
  };
}
