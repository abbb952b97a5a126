import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { type JobId, jobMarketAbi, type Offer, offerSchema, ZERO_ADDRESS } from "@berth/protocol";
import { expect } from "chai";
import { setDraining } from "../../../provider-node/src/store/drain.ts";
import { openJournalFile } from "../../../provider-node/src/store/open.ts";
import { eventually } from "../../support/eventually.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { registerNode } from "./registered-node.ts";

const REFUNDED = 7;
/** Refuses specs that say so. */
const HOOK = { exec: ["/bin/sh", "-c", "grep -q not-here || exit 0; echo none of that; exit 1"], deadlineMs: 20_000 };

describe("berth-node and what it takes", function () {
  this.timeout(100_000);
  let bench: MarketBench;
  let flags: string[];
  let dataDir: string;
  let node: NodeProcess | undefined;
  let indexer: { url: string; offers: { at: number; offer: Offer }[]; server: Server };

  before(async () => {
    bench = await openMarketBench();
    indexer = await collectOffers();
    const friends = { allow: [bench.requester.address], baseCharge: "40", sharePercent: 50 };
    const profiles = JSON.stringify({ everybody: { hours: [{ from: 0, to: 24, factor: "1.5" }] }, friends });
    ({ flags, dataDir } = await registerNode(bench, "p", {
      ...{ "offers.profiles": profiles, "offers.refreshSeconds": "1", acceptPosted: "true" },
      ...{ hook: JSON.stringify(HOOK), indexers: `${bench.indexerUrl},${indexer.url}` },
    }));
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    node = undefined;
  });

  after(async () => {
    indexer?.server.closeAllConnections();
    indexer?.server.close();
    if (bench !== undefined) await berthNode([...flags, "clean"]);
    await bench?.close();
  });

  it("offers each of its profiles, and gives back what its hook refuses", async () => {
    node = startNode(flags);
    await node.ready;
    await eventually("two offers were posted", () => indexer.offers.length >= 2, 30_000);
    const [everybody, friends] = indexer.offers.map(({ offer }) => offer);
    expect(everybody).to.deep.include({ requester: ZERO_ADDRESS, baseCharge: 150n, cpuMilli: 8000 });
    const requester = bench.requester.address.toLowerCase();
    expect(friends).to.deep.include({ requester, baseCharge: 40n, cpuMilli: 4000 });
    const { offering } = JSON.parse((await berthNode([...flags, "status"])).stdout);
    expect(offering.offers.map(({ profile }: { profile: string }) => profile)).to.deep.equal(["everybody", "friends"]);
    expect(offering.withheld).to.deep.equal([]);

    const { jobId } = await bench.match({ command: ["/bin/true", "not-here"] });
    await eventually("it is refunded", async () => (await stateOf(jobId)) === REFUNDED, 30_000);
    expect(await bench.results(jobId)).to.deep.equal([]);
    const { code, text, what } = await reasonFor(jobId);
    expect([code, text, what]).to.deep.equal(["hook-refused", "The operator's hook refused it: none of that", "match"]);

    const wanted = await bench.match({ command: ["/bin/true"] });
    await eventually("a result is on chain", async () => (await bench.results(wanted.jobId)).length > 0, 60_000);
  });

  it("leaves posted requests of denied requesters alone, and offers nothing while it drains", async () => {
    node = startNode([...flags, "--set", `offers.deny=${bench.requester.address}`]);
    await node.ready;
    const running = node;
    const { jobId } = await bench.post({ command: ["/bin/true"] });
    await eventually("it says why", () => running.log().includes("posted request left alone"), 30_000);
    expect((await reasonFor(jobId)).code).to.equal("denied");
    expect(await bench.results(jobId)).to.deep.equal([]);

    const journal = openJournalFile(dataDir);
    setDraining(journal, { reason: "new disk", since: 1 });
    await eventually("it drains", () => running.log().includes("The node is draining: new disk."), 30_000);
    const since = indexer.offers.length;
    const other = await bench.post({ command: ["/bin/true"] });
    const reason = await eventually("it has a reason", () => reasonFor(other.jobId).catch(() => undefined), 30_000);
    expect(reason.code, "who is denied is denied in any case").to.equal("denied");
    expect(indexer.offers.length).to.equal(since);
    setDraining(journal, undefined);
    journal.close();
    await eventually("it offers again", () => indexer.offers.length > since, 30_000);
  });

  async function stateOf(jobId: JobId): Promise<number> {
    const market = { address: bench.deployment.market, abi: jobMarketAbi } as const;
    return (await bench.client.readContract({ ...market, functionName: "replicaOf", args: [jobId, 0] })).state;
  }

  /** What `explain` says first. Rejects while there is no reason. */
  async function reasonFor(jobId: JobId): Promise<{ code: string; text: string; what: string }> {
    const { stdout } = await berthNode([...flags, "explain", jobId]);
    const [decision] = JSON.parse(stdout).decisions;
    if (decision === undefined) throw new Error(stdout);
    return decision;
  }
});

/** An indexer that remembers every offer. */
async function collectOffers() {
  const offers: { at: number; offer: Offer }[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.method === "POST" && request.url === "/offers") {
      const { offer } = JSON.parse(Buffer.concat(chunks).toString());
      offers.push({ at: Date.now(), offer: offerSchema.parse(offer) });
      response.writeHead(202).end("{}");
    } else response.writeHead(404).end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, offers, server };
}
