import { readText, type Source } from "@berth/content";
import { shownUrl } from "@berth/protocol";
import { z } from "zod";
import type { Context } from "../log.ts";
import type { ChainStore } from "../store/chain-store.ts";
import type { JobRow } from "../store/journal.ts";

export interface SourceOptions {
  indexers: readonly string[];
  /** This node's own, asked wherever they are. */
  gateways: readonly string[];
  /** Ask sources that a requester named in private networks and on this machine too. */
  allowPrivate: boolean;
  chain: ChainStore;
  now(): number;
}

const jobSchema = z.object({ sources: z.array(z.url({ protocol: /^https?$/ })).max(32) });
const ASK_MS = 5000;
const MAX_REPLY_BYTES = 1024 * 1024;

/**
 * Where a job's content may be had: what the indexers were told, what the requester's identity names, what this node is
 * configured with; in this order. An indexer that does not answer is skipped, for nobody needs to be trusted here.
 */
export async function sourcesOf(
  job: JobRow,
  { indexers, gateways, allowPrivate, chain, now }: SourceOptions,
  context: Context,
): Promise<Source[]> {
  const hints = await Promise.all(indexers.map((base) => askIndexer(base, job.jobId, context)));
  const own = chain.contentUrl(job.terms.job.requester, now());
  const named = [...hints.flat(), ...(own === undefined ? [] : [own])].map(plain);
  const trusted = new Set(gateways.map(plain));
  const urls = new Set([...named, ...trusted]);
  return [...urls].map((url) => ({ url, publicOnly: !allowPrivate && !trusted.has(url) }));
}

function plain(url: string): string {
  return url.replace(/\/+$/, "");
}

async function askIndexer(base: string, jobId: string, { signal, log }: Context): Promise<string[]> {
  try {
    const url = new URL(`jobs/${jobId}`, base.endsWith("/") ? base : `${base}/`);
    const response = await fetch(url, {
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]),
    });
    const text = await readText(response, MAX_REPLY_BYTES);
    return response.ok ? jobSchema.parse(JSON.parse(text)).sources : [];
  } catch (error) {
    signal.throwIfAborted();
    log.debug({ indexer: shownUrl(base), err: error }, "indexer did not say where the content is");
    return [];
  }
}
