import { readText } from "@berth/content";
import {
  addressSchema,
  bytes32Schema,
  type Hex,
  MarketError,
  type Offer,
  offerSchema,
  type Request,
  requestSchema,
} from "@berth/protocol";
import { z } from "zod";
import type { Context } from "./client.ts";
import { pause } from "./wait.ts";

/** An offer as indexers list it. */
export interface ListedOffer {
  offerHash: Hex;
  offer: Offer;
  /** What is left of the offer's capacity, where the indexer knows. */
  free: { cpuMilli: number; memoryMiB: number; diskMiB: number; gpus: number } | undefined;
  contentUrl: string | undefined;
}

/** Why no offer fits an open request, in the indexer's words. */
export interface Explanation {
  offersSeen: number;
  fits: number;
  sentence: string;
}

export type JobSummary = z.infer<typeof jobSummarySchema>;

/** The query API of one indexer. Nothing it says is believed about money or results: the chain is asked for those. */
export interface Indexer {
  readonly url: string;
  offers(filter: { token?: string | undefined }, context: Context): Promise<ListedOffer[]>;
  jobs(filter: { requester?: string | undefined }, context: Context): Promise<JobSummary[]>;
  /** Gives a signed request to the order book. */
  postRequest(body: unknown, context: Context): Promise<void>;
  /** Undefined when the indexer does not know the request. */
  request(jobId: Hex, context: Context): Promise<{ state: string; request: Request } | undefined>;
  /** Undefined when there is nothing to explain. */
  explain(jobId: Hex, context: Context): Promise<Explanation | undefined>;
}

const count = z.int().min(0);
const freeSchema = z.object({ cpuMilli: count, memoryMiB: count, diskMiB: count, gpus: count });
// Answers may grow fields, so unlike documents these are not strict.
const offersSchema = z.object({
  items: z.array(
    z.object({
      offerHash: bytes32Schema,
      offer: offerSchema,
      freeCapacity: freeSchema.nullish().catch(undefined),
      contentUrl: z.string().nullish(),
    }),
  ),
  nextCursor: z.string().nullish(),
});
const jobSummarySchema = z.object({
  jobId: bytes32Schema,
  state: z.string(),
  requester: addressSchema.nullable(),
  replicas: z.array(
    z.object({
      replica: count,
      operator: addressSchema,
      index: count,
      state: z.string(),
      matchedAt: count.nullish(),
      charge: z.string().nullish(),
    }),
  ),
});
const jobsSchema = z.object({ items: z.array(jobSummarySchema), nextCursor: z.string().nullish() });
const requestStateSchema = z.object({ state: z.string(), request: requestSchema });
const explanationSchema = z.object({ offersSeen: count, fits: count, sentence: z.string() });
const problemSchema = z.object({ code: z.string(), detail: z.string(), hint: z.string().nullish() });

const ANSWER_MS = 15_000;
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
const MAX_PAGES = 20;
/** How long an indexer may say that it is busy or behind the chain before a request is given up. */
const BUSY_MS = 20_000;

/** Speaks to the indexer at `url`. Connects only when asked. Throws INDEXER_URL_INVALID. */
export function createIndexer(url: string): Indexer {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new MarketError("INDEXER_URL_INVALID", "The indexer's address is not a valid http(s) URL.", {
      hint: "It looks like http://127.0.0.1:4000.",
    });
  }
  const base = url.endsWith("/") ? url : `${url}/`;

  async function get<T>(schema: z.ZodType<T, unknown>, path: string, context: Context): Promise<T | undefined> {
    const { status, value } = await ask(base, path, {}, context);
    if (status === 404) return undefined;
    return read(schema, value, base);
  }

  async function pages<T>(
    schema: z.ZodType<{ items: T[]; nextCursor?: string | null | undefined }, unknown>,
    path: string,
    query: Record<string, string | undefined>,
    context: Context,
  ): Promise<T[]> {
    const items: T[] = [];
    let cursor: string | undefined;
    for (let page = 0; page < MAX_PAGES; page++) {
      const params = Object.entries({ ...query, limit: "100", cursor }).filter(
        (pair): pair is [string, string] => pair[1] !== undefined,
      );
      const answer = await get(schema, `${path}?${new URLSearchParams(params)}`, context);
      items.push(...(answer?.items ?? []));
      cursor = answer?.nextCursor ?? undefined;
      if (cursor === undefined) break;
    }
    return items;
  }

  return {
    url,
    async offers({ token }, context) {
      const items = await pages(offersSchema, "offers", { token }, context);
      return items.map(({ offerHash, offer, freeCapacity, contentUrl }) => ({
        offerHash,
        offer,
        free: freeCapacity ?? undefined,
        contentUrl: contentUrl ?? undefined,
      }));
    },
    jobs: ({ requester }, context) => pages(jobsSchema, "jobs", { requester }, context),
    async postRequest(body, context) {
      const init = { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
      for (const deadline = performance.now() + BUSY_MS; ; ) {
        try {
          await ask(base, "requests", init, context);
          return;
        } catch (error) {
          const busy = error instanceof MarketError && error.code === "INDEXER_REFUSED" && error.retryable;
          if (!busy || performance.now() > deadline) throw error;
          await pause(1000, context.signal); // handing in twice is the same as once
        }
      }
    },
    request: (jobId, context) => get(requestStateSchema, `requests/${jobId}`, context),
    explain: (jobId, context) => get(explanationSchema, `requests/${jobId}/explain`, context),
  };
}

/** One exchange. A 404 is an answer; every other refusal is thrown with the indexer's own words. */
async function ask(
  base: string,
  path: string,
  init: RequestInit,
  { signal }: Context,
): Promise<{ status: number; value: unknown }> {
  const timeout = AbortSignal.timeout(ANSWER_MS);
  let status: number;
  let text: string;
  try {
    const response = await fetch(new URL(path, base), {
      ...init,
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    status = response.status;
    text = await readText(response, MAX_ANSWER_BYTES);
  } catch (cause) {
    signal?.throwIfAborted();
    throw new MarketError("INDEXER_UNAVAILABLE", `The indexer at ${new URL(base).host} does not answer.`, {
      hint: "Check that it runs and that its URL is right. A job can also be posted on chain with --post.",
      retryable: true,
      cause,
    });
  }
  const value = parseJson(text);
  if (status === 404 && init.method === undefined) return { status, value: undefined };
  if (status >= 200 && status < 300) return { status, value };
  const problem = problemSchema.safeParse(value);
  const said = problem.success ? problem.data.detail : `HTTP ${status}`;
  const hint = problem.success ? (problem.data.hint ?? undefined) : undefined;
  throw new MarketError("INDEXER_REFUSED", `The indexer at ${new URL(base).host} refused: ${said}`, {
    ...(hint === undefined ? {} : { hint }),
    retryable: status >= 500 || status === 429,
    cause: problem.success ? problem.data : undefined,
  });
}

function read<T>(schema: z.ZodType<T, unknown>, value: unknown, base: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new MarketError(
    "INDEXER_ANSWER_INVALID",
    `The indexer at ${new URL(base).host} gave an answer that makes no sense.`,
    {
      hint: "Is this the address of a Berth indexer, of the same version?",
      cause: parsed.error,
    },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
