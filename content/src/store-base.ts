import { MarketError } from "@berth/protocol";
import { exportCar } from "./car.ts";
import { isLeaf, parseContentCid } from "./cids.ts";
import { assertBelow, dagSize, isMissing } from "./dag.ts";
import { exportTo } from "./export.ts";
import type { BlockStore, CallOptions, ReaderStore } from "./store.ts";
import { kindOf, readFileContent } from "./unixfs-read.ts";
import { measureTree } from "./walk.ts";

/** The reading half of a store: the same over any place that has blocks. */
export function readerOver(blocks: BlockStore): ReaderStore {
  return {
    blocks,
    async has(cid, { signal } = {}) {
      try {
        await dagSize(blocks, parseContentCid(cid), { signal });
        return true;
      } catch (error) {
        if (isMissing(error)) return false;
        throw error;
      }
    },
    size: async (cid, { signal } = {}) => await dagSize(blocks, parseContentCid(cid), { signal }),
    async getBytes(cid, options) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of readFile(blocks, cid, options)) chunks.push(chunk);
      return Uint8Array.from(Buffer.concat(chunks));
    },
    read: (cid, options) => readFile(blocks, cid, options),
    measure: async (cid, options) => await measureTree(blocks, parseContentCid(cid), options),
    exportTo: async (cid, target, options) => await exportTo(blocks, parseContentCid(cid), target, options),
    exportCar: (cid, { signal } = {}) => exportCar(blocks, parseContentCid(cid), { signal }),
  };
}

async function* readFile(
  blocks: BlockStore,
  cid: string,
  { maxBytes, signal }: CallOptions & { maxBytes: number },
): AsyncGenerator<Uint8Array> {
  const root = parseContentCid(cid);
  if (!isLeaf(root) && (await kindOf(blocks, root, { signal })) !== "file") {
    throw new MarketError("CONTENT_INVALID", `${root} is a folder, not a file.`, { hint: "Export it to disk." });
  }
  let total = 0;
  for await (const chunk of readFileContent(blocks, root, { signal })) {
    total += chunk.length;
    assertBelow(total, maxBytes, root);
    yield chunk;
  }
}
