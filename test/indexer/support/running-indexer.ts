import { rm } from "node:fs/promises";
import { type IndexerConfig, startIndexer } from "@berth/indexer";
import { type Offer, orderToJson, type Request } from "@berth/protocol";
import { pino } from "pino";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "./data-folder.ts";
import type { TestMarket } from "./market.ts";

export const log = pino({ level: process.env["LOG_LEVEL"] ?? "silent" });

/** An answer of the API. */
export interface Answer {
  status: number;
  type: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: answers of the API, asserted by the test
  body: any;
}

/** An indexer of a test market, with its API at hand. */
export interface RunningIndexer {
  url: string;
  dataFolder: string;
  get(path: string): Promise<Answer>;
  post(path: string, body: unknown): Promise<Answer>;
  postOffer(signed: { offer: Offer; signature: string }): Promise<Answer>;
  postRequest(signed: { request: Request; signature: string }, more?: object): Promise<Answer>;
  /** Waits until everything mined so far is in the tables. */
  caughtUp(): Promise<void>;
  close(): Promise<void>;
}

export async function runIndexer(market: TestMarket, replaced: Partial<IndexerConfig> = {}): Promise<RunningIndexer> {
  const dataFolder = replaced.dataFolder ?? (await newDataFolder());
  const config: IndexerConfig = {
    deployment: market.deployment,
    rpcUrls: [market.anvil.url],
    dataFolder,
    host: "127.0.0.1",
    port: 0,
    confirmations: 0,
    finality: 0,
    pollMs: 15,
    ...replaced,
  };
  const signal = new AbortController().signal;
  const dropFolder = async () => {
    if (replaced.dataFolder === undefined) await rm(dataFolder, { recursive: true, force: true });
  };
  const indexer = await startIndexer(config, { signal, log }).catch(async (error: unknown) => {
    await dropFolder();
    throw error;
  });
  indexer.done.catch(() => {});
  const self: RunningIndexer = {
    url: indexer.url,
    dataFolder,
    get: async (path) => answerOf(await fetch(`${indexer.url}${path}`)),
    post: async (path, body) =>
      answerOf(
        await fetch(`${indexer.url}${path}`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: typeof body === "string" ? body : JSON.stringify(body),
        }),
      ),
    postOffer: ({ offer, signature }) => self.post("/offers", { offer: orderToJson(offer), signature }),
    postRequest: ({ request, signature }, more = {}) =>
      self.post("/requests", { request: orderToJson(request), signature, ...more }),
    async caughtUp() {
      await indexer.synced;
      const head = Number(await market.anvil.call("eth_blockNumber"));
      await eventually("the indexer is at the head", async () => {
        const { body } = await self.get("/status");
        return body.state === "following" && body.indexed === head - config.confirmations;
      });
    },
    async close() {
      await indexer.close();
      await dropFolder();
    },
  };
  await indexer.synced;
  return self;
}

async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    body: text === "" ? null : JSON.parse(text),
  };
}
