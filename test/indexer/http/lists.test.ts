import { jobIdOf, jobMarketAbi, priceOf, traitsToMask } from "@berth/protocol";
import { expect } from "chai";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

describe("lists of the indexer API", () => {
  let market: TestMarket;
  let indexer: RunningIndexer;
  let node: TestNode;
  before(async () => {
    market = await startMarket();
    node = await market.node("ada");
    indexer = await runIndexer(market);
    await indexer.caughtUp();
  });
  after(async () => {
    await indexer?.close();
    await market?.stop();
  });

  it("say that a reorganisation took away what a cursor stands on", async () => {
    const old = [await cancelled("kim"), await cancelled("kim")];
    await market.anvil.call("anvil_mine", ["0x1"]);
    await indexer.caughtUp();
    const standing = (await indexer.get("/jobs?limit=1")).body.nextCursor;
    const snapshot = await market.anvil.call("evm_snapshot");
    const lost = await cancelled("kim");
    await indexer.caughtUp();
    const fresh = await indexer.get("/jobs?limit=1");
    expect(fresh.body.items[0].jobId).to.equal(lost);
    expect((await indexer.get(`/jobs?cursor=${fresh.body.nextCursor}`)).body.items[0].jobId).to.equal(old[1]);

    await market.anvil.call("evm_revert", [snapshot]);
    await market.pass(7);
    await market.anvil.call("anvil_mine", ["0x2"]);
    await indexer.caughtUp();
    const refused = await indexer.get(`/jobs?cursor=${fresh.body.nextCursor}`);
    expect([refused.status, refused.body.code, refused.type]).to.deep.equal([
      409,
      "CURSOR_REORGED",
      "application/problem+json; charset=utf-8",
    ]);
    expect(refused.body.detail).to.match(/block \d+ of the page before is gone/);
    expect((await indexer.get(`/jobs?cursor=${standing}`)).body.items[0].jobId).to.equal(old[0]);
  });

  it("show the rows as they were at the safe and at the finalized block", async () => {
    const requester = await market.account("fin");
    await market.deposit(requester.address, 5_000n);
    const signed = await market.request(requester, { maxPrice: 1000n });
    const jobId = jobIdOf(market.deployment, signed.request);
    const { market: to } = market.deployment;
    await market.send(requester.address, to, jobMarketAbi, "post", [signed.request, "0x", "0x"]);
    await market.anvil.call("anvil_mine", ["0x28"]); // 40 blocks: safe, not finalized
    await market.send(requester.address, to, jobMarketAbi, "cancel", [signed.request]);
    const late = await cancelled("fin");
    await indexer.caughtUp();

    const at = async (path: string, finality: string) =>
      (await indexer.get(`${path}${path.includes("?") ? "&" : "?"}finality=${finality}`)).body;
    const mine = `/jobs?requester=${requester.address}`;
    const shown = async (finality: string) =>
      (await at(mine, finality)).items.map((job: { jobId: string; state: string }) => [job.jobId, job.state]);
    expect(await shown("latest")).to.deep.equal([[jobId, "cancelled"]]);
    expect(await shown("safe")).to.deep.equal([[jobId, "posted"]]);
    expect(await shown("finalized")).to.deep.equal([]);
    expect((await at(`/jobs/${late}`, "latest")).state).to.equal("cancelled");
    expect((await at(`/jobs/${late}`, "safe")).code).to.equal("JOB_UNKNOWN");
    const balance = async (finality: string) =>
      (await at(`/accounts/${requester.address}`, finality)).balances[0]?.amount;
    expect([await balance("latest"), await balance("safe"), await balance("finalized")]).to.deep.equal([
      "5000",
      "4000",
      undefined,
    ]);
    await market.anvil.call("anvil_mine", ["0x60"]); // 96
    await indexer.caughtUp();
    expect(await shown("finalized")).to.deep.equal([[jobId, "cancelled"]]);
    expect(await balance("finalized")).to.equal("5000");
  });

  it("are answered with 304 while nothing changed", async () => {
    const first = await fetch(`${indexer.url}/jobs`);
    const etag = first.headers.get("etag") ?? "";
    expect(etag).to.match(/^W\/"/);
    expect(first.headers.get("cache-control")).to.equal("no-cache");
    const ask = () =>
      fetch(`${indexer.url}/jobs`, { headers: { "if-none-match": etag, "cache-control": "max-age=0" } });
    const same = await ask();
    expect([same.status, await same.text()]).to.deep.equal([304, ""]);
    await cancelled("eta");
    await indexer.caughtUp();
    expect((await ask()).status).to.equal(200);
  });

  it("choose offers by what they offer, to whom, and for how much", async () => {
    const other = await market.node("bob");
    await indexer.caughtUp();
    const region = `0x${"5".repeat(64)}` as const;
    const rich = await market.offer(node, {
      ...{ cpuMilli: 9000, memoryMiB: 4096, traits: traitsToMask(["arch-amd64", "isolation-gvisor"]), region },
      ...{ baseCharge: 1000n, requester: other.operator.address.toLowerCase() as `0x${string}` },
    });
    const plain = await market.offer(other, { traits: traitsToMask(["arch-amd64"]), baseCharge: 1n });
    for (const offer of [rich, plain]) expect((await indexer.postOffer(offer)).status).to.equal(202);
    const chosen = async (query: string) => {
      const { status, body } = await indexer.get(`/offers?${query}`);
      expect(status, JSON.stringify(body)).to.equal(200);
      return body.items.map(({ offer }: { offer: { operator: string } }) =>
        offer.operator === rich.offer.operator ? "rich" : "plain",
      );
    };
    expect(await chosen("")).to.deep.equal(["rich", "plain"]);
    expect(await chosen("cpuMilli=9000")).to.deep.equal(["rich"]);
    expect(await chosen("cpuMilli=9001")).to.deep.equal([]);
    expect(await chosen("traits=arch-amd64")).to.deep.equal(["rich", "plain"]);
    expect(await chosen("traits=arch-amd64,isolation-gvisor")).to.deep.equal(["rich"]);
    expect(await chosen("traits=isolation-vm")).to.deep.equal([]);
    expect(await chosen(`region=${region}`)).to.deep.equal(["rich"]);
    expect(await chosen(`requester=${node.operator.address}`)).to.deep.equal(["plain"]);
    expect(await chosen(`requester=${other.operator.address}`)).to.deep.equal(["rich", "plain"]);
    expect(await chosen(`expiresAfter=${plain.offer.expiresAt + 1}`)).to.deep.equal([]);
    const { request } = await market.request(await market.account("rex"), {
      ...{ cpuMilli: 1000, memoryMiB: 512, diskMiB: 0, gpus: 0, maxSeconds: 60, matcherTip: 0n },
    });
    const price = priceOf(request, [plain.offer]);
    const asked = "cpuMilli=1000&memoryMiB=512&diskMiB=0&gpus=0&seconds=60";
    expect(await chosen(`${asked}&maxPrice=${price}`)).to.deep.equal(["plain"]);
    expect(await chosen(`${asked}&maxPrice=${price - 1n}`)).to.deep.equal([]);
  });

  it("choose jobs by time and token, and nodes by operator, state and what they accept", async () => {
    await market.pass(100);
    const requester = await market.account("tim");
    await market.deposit(requester.address, 5_000n);
    const { request } = await market.request(requester, { maxPrice: 1000n });
    await market.send(requester.address, market.deployment.market, jobMarketAbi, "post", [request, "0x", "0x"]);
    await indexer.caughtUp();
    const at = await market.now();
    const jobs = async (query: string) =>
      (await indexer.get(`/jobs?${query}`)).body.items.map((job: { jobId: string }) => job.jobId);
    const jobId = jobIdOf(market.deployment, request);
    expect(await jobs(`since=${at}`)).to.deep.equal([jobId]);
    expect(await jobs(`since=${at + 1}`)).to.deep.equal([]);
    expect(await jobs(`until=${at - 1}`)).to.not.include(jobId);
    expect(await jobs(`token=${market.token}&since=${at}`)).to.deep.equal([jobId]);
    expect(await jobs(`token=${requester.address}`)).to.deep.equal([]);
    const nodes = async (query: string) => (await indexer.get(`/nodes?${query}`)).body.items.length;
    expect(await nodes(`operator=${node.operator.address}&state=published`)).to.equal(1);
    expect(await nodes("state=revoked")).to.equal(0);
    expect(await nodes(`accepts=${market.token}&operator=${node.operator.address}`)).to.equal(1);
    expect(await nodes(`accepts=${requester.address}`)).to.equal(0);
  });

  async function cancelled(name: string): Promise<string> {
    const requester = await market.account(name);
    const { request } = await market.request(requester);
    await market.send(requester.address, market.deployment.market, jobMarketAbi, "cancel", [request]);
    return jobIdOf(market.deployment, request);
  }
});
