import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { orderToJson } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import { listJobs } from "../../client/src/actions/list-jobs.ts";
import { listOffers } from "../../client/src/actions/list-offers.ts";
import { runJob } from "../../client/src/actions/run-job.ts";
import { storedReplica } from "../../client/src/chain-reads.ts";
import type { Client } from "../../client/src/client.ts";
import { walletFromViem } from "../../client/src/wallet.ts";
import { readConfig } from "../../indexer/src/config.ts";
import { type Indexer, startIndexer } from "../../indexer/src/indexer.ts";
import { eventually } from "../support/eventually.ts";
import { tinyImage } from "./support/images.ts";
import { silent, type TestMarket, testMarket } from "./support/market.ts";
import { playNode } from "./support/node.ts";

const MATCHER_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

describe("a requester with a real indexer", function () {
  this.timeout(60_000);
  let market: TestMarket;
  let indexer: Indexer | undefined;
  let client: Client;
  before(async () => {
    market = await testMarket();
    const folder = await market.folder();
    await writeFile(join(folder, "deployment.json"), JSON.stringify(market.deployment));
    await writeFile(join(folder, "matcher.key"), MATCHER_KEY, { mode: 0o600 });
    const flags = {
      deployment: join(folder, "deployment.json"),
      rpc: [market.anvil.url],
      data: join(folder, "indexer"),
      host: "127.0.0.1",
      port: "0",
      matcherKeyFile: join(folder, "matcher.key"),
      pollMs: "50",
    };
    const config = await readConfig(flags, {});
    // The market's offer never ends.
    config.intake = { maxOfferSeconds: Number.POSITIVE_INFINITY };
    indexer = await startIndexer(config, { signal: new AbortController().signal, log: silent });
    await indexer.synced;
    const wallet = walletFromViem(createWalletClient({ account: market.requester, transport: http(market.anvil.url) }));
    client = await market.client(wallet, { indexerUrl: indexer.url });
    const offered = await fetch(`${indexer.url}/offers`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ offer: orderToJson(market.offer), signature: market.offerSignature }),
    });
    expect(offered.status).to.equal(202);
  });
  after(async () => {
    await indexer?.close();
    await market.close();
  });

  it("reads offers, is matched by the engine, and finds the job in the list", async () => {
    const offers = await listOffers(client, { token: market.offer.token });
    expect(offers).to.have.length(1);
    expect(offers[0]?.offer).to.deep.equal(market.offer);
    expect(offers[0]?.free?.cpuMilli).to.equal(market.offer.cpuMilli);
    expect(offers[0]?.contentUrl).to.equal(market.gateway.url);

    const image = `oci:${(await tinyImage(await market.folder())).dir}`;
    let played: Promise<unknown> | undefined;
    const onProgress = ({ jobId }: { jobId?: `0x${string}` }) => {
      if (jobId !== undefined) played ??= play(jobId as never);
    };
    const options = { image, spec: { runSeconds: 60 }, serve: { host: "127.0.0.1", port: 0 } };
    const report = await runJob(client, options, { onProgress });
    await played;
    expect(report.verification.ok).to.equal(true);
    expect(report.replicas[0]?.state).to.equal("settled");

    const jobs = await eventually("the indexer has seen the end", async () => {
      const found = await listJobs(client, { requester: client.wallet?.address ?? "0x" });
      return found[0]?.replicas[0]?.state === "settled" && found;
    });
    expect(jobs[0]).to.deep.include({ jobId: report.jobId, state: "ended" });
    expect(jobs[0]?.replicas[0]?.charge).to.equal(report.replicas[0]?.charge);
  });

  it("passes on why nobody takes a request", async () => {
    const error = await runJob(client, {
      image: `oci:${(await tinyImage(await market.folder())).dir}`,
      spec: { memoryMiB: 200_000 },
      serve: { host: "127.0.0.1", port: 0 },
    }).catch((thrown: unknown) => thrown);
    expect(error).to.have.property("code", "NO_OFFER_FITS");
  });

  /** Waits for the engine's match, then does the node's part with what the indexer knows of the sources. */
  async function play(jobId: never): Promise<void> {
    await eventually(
      "the engine matched it",
      async () => (await storedReplica(client, jobId, 0)).state === "active",
      30_000,
    );
    const { request } = (await client.indexer?.request(jobId, {})) ?? {};
    const known = (await (await fetch(`${indexer?.url}/requests/${jobId}`)).json()) as { sources: string[] };
    if (request === undefined) throw new Error("the indexer forgot the request");
    await playNode(market, { request, signature: "0x", sources: known.sources });
  }
});
