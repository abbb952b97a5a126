import { join } from "node:path";
import { type ContentStore, fetchContent, openEmbeddedStore } from "@berth/content";
import { type Claim, digestToCid, type JobId, parseResult, type Result } from "@berth/protocol";
import pino from "pino";
import { eventually } from "../../support/eventually.ts";
import type { MarketBench } from "./market-bench.ts";

const log = pino({ level: "silent" });
const MAX_BYTES = 16 * 1024 * 1024;

/** What a requester gets of a node: claims from the chain, everything else by CID from the node's address. */
export interface NodeResults {
  /** Waits until there is one. */
  claimOf(jobId: JobId): Promise<Claim>;
  resultOf(jobId: JobId): Promise<Result>;
  textOf(cid: string | undefined): Promise<string>;
  /** A folder with the outputs. */
  outputsOf(result: Result): Promise<string>;
  /** What the node calls the state of the job. */
  phaseOf(jobId: JobId): Promise<string | undefined>;
}

export function resultsOf(bench: MarketBench, url: string): NodeResults {
  let readers = 0;

  /** Fetches by CID into a store of its own. */
  async function withContent<T>(cid: string, use: (store: ContentStore, dir: string) => Promise<T>): Promise<T> {
    const dir = join(bench.dir, `reader-${readers++}`);
    const store = await openEmbeddedStore({ dir });
    try {
      await eventually(
        "the node serves",
        async () => (await fetch(`${url}/health`).catch(() => undefined))?.ok,
        60_000,
      );
      await fetchContent(cid, { sources: [url], store, maxBytes: MAX_BYTES, log });
      return await use(store, dir);
    } finally {
      await store.close();
    }
  }

  async function claimOf(jobId: JobId): Promise<Claim> {
    return await eventually("a result is on chain", async () => (await bench.results(jobId))[0], 120_000);
  }

  return {
    claimOf,
    async resultOf(jobId) {
      const { resultHash, resultBytes } = await claimOf(jobId);
      const cid = digestToCid(resultHash);
      const bytes = await withContent(cid, (store) => store.getBytes(cid, { maxBytes: MAX_BYTES }));
      if (BigInt(bytes.length) !== resultBytes) throw new Error(`${bytes.length} bytes, ${resultBytes} were claimed`);
      return parseResult(JSON.parse(new TextDecoder().decode(bytes)));
    },
    async textOf(cid) {
      if (cid === undefined) throw new Error("no CID");
      return await withContent(cid, async (store) =>
        new TextDecoder().decode(await store.getBytes(cid, { maxBytes: MAX_BYTES })),
      );
    },
    async outputsOf({ outputs }) {
      if (outputs === null) throw new Error("no outputs");
      return await withContent(outputs.cid, async (store, dir) => {
        const target = join(dir, "out");
        await store.exportTo(outputs.cid, target, { maxBytes: MAX_BYTES });
        return target;
      });
    },
    async phaseOf(jobId) {
      const response = await fetch(`${url}/jobs/${jobId}/0`).catch(() => undefined);
      return response?.ok === true ? ((await response.json()) as { phase: string }).phase : undefined;
    },
  };
}
