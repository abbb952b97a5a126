import { rm } from "node:fs/promises";
import { jobIdOf, jobMarketAbi, orderToJson } from "@berth/protocol";
import { expect } from "chai";
import { newDataFolder } from "../support/data-folder.ts";
import { type EventReader, openEvents } from "../support/event-stream.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

describe("GET /events", () => {
  let market: TestMarket;
  let dataFolder: string;
  let indexer: RunningIndexer;
  const readers: EventReader[] = [];
  before(async () => {
    market = await startMarket();
    dataFolder = await newDataFolder();
    indexer = await runIndexer(market, { dataFolder });
    await indexer.caughtUp();
  });
  after(async () => {
    for (const reader of readers) reader.close();
    await indexer?.close();
    await market?.stop();
    await rm(dataFolder, { recursive: true, force: true });
  });

  it("tells each change of a row, in the order in which it was committed, without gaps", async () => {
    const stream = await open();
    const requester = await market.account("ann");
    const jobs = [await cancelled(requester), await cancelled(requester)];
    for (const jobId of jobs) {
      const { data } = await stream.next(({ event, data }) => event === "jobs" && data.key === jobId);
      expect(data.row).to.include({ jobId, state: "cancelled" });
      expect(data.block.hash).to.match(/^0x[0-9a-f]{64}$/);
    }
    const ids = stream.events.map(({ id }) => id ?? 0);
    expect(ids).to.deep.equal(ids.map((_, i) => (ids[0] ?? 0) + i));
  });

  it("goes on after the last event that a reader has, from the tables too, and after a restart", async () => {
    const first = await open();
    const requester = await market.account("bea");
    const jobId = await cancelled(requester);
    const seen = await first.next(({ data }) => data.key === jobId);
    first.close();
    const more = [await cancelled(requester), await cancelled(requester)];
    await indexer.caughtUp();
    const inMemory = await open("", seen.id);
    for (const key of more) await inMemory.next(({ data }) => data.key === key);

    await indexer.close();
    indexer = await runIndexer(market, { dataFolder });
    const replayed = await open("", seen.id);
    await replayed.next(({ id }) => id === inMemory.events.at(-1)?.id);
    expect(replayed.events).to.deep.equal(inMemory.events);
    expect(replayed.events[0]?.id).to.equal((seen.id ?? 0) + 1);
    const last = await cancelled(requester);
    await replayed.next(({ data }) => data.key === last);
  });

  it("tells of a reorganisation, then of every row as it is now", async () => {
    const requester = await market.account("cid");
    const kept = await cancelled(requester);
    await indexer.caughtUp();
    const stream = await open();
    const snapshot = await market.anvil.call("evm_snapshot");
    const lost = await cancelled(requester);
    await stream.next(({ data }) => data.key === lost);
    await market.anvil.call("evm_revert", [snapshot]);
    await market.anvil.call("anvil_mine", ["0x3"]);
    const { data } = await stream.next(({ event }) => event === "reorg");
    const gone = await stream.next(({ data, event }) => event === "jobs" && data.key === lost && data.row === null);
    expect(gone.data.block).to.deep.equal(data.block);
    expect(stream.events.some(({ data }) => data.key === kept)).to.equal(false);
    await indexer.caughtUp();
    expect((await indexer.get(`/jobs/${lost}`)).status).to.equal(404);
  });

  it("tells who asked for one account that a reorganisation removed its job", async () => {
    const requester = await market.account("fay");
    await market.deposit(requester.address, 1000n);
    await indexer.caughtUp();
    const own = await open(`?about=${requester.address}&entity=jobs`);
    const snapshot = await market.anvil.call("evm_snapshot");
    const { request } = await market.request(requester, { maxPrice: 1000n });
    await market.send(requester.address, market.deployment.market, jobMarketAbi, "post", [request, "0x", "0x"]);
    const key = jobIdOf(market.deployment, request);
    await own.next(({ data }) => data.key === key && data.row.state === "posted");
    await market.anvil.call("evm_revert", [snapshot]);
    await market.anvil.call("anvil_mine", ["0x3"]);
    await own.next(({ data }) => data.key === key && data.row === null);
  });

  it("tells a reader only of what it asked for, and always of reorganisations", async () => {
    const [dan, eve] = [await market.account("dan"), await market.account("eve")];
    const [ofDan, ofJobs] = [await open(`?about=${dan.address}`), await open("?entity=jobs,reorg")];
    await market.deposit(eve.address, 10n);
    await market.deposit(dan.address, 20n);
    const key = await cancelled(eve);
    await ofDan.next(({ event }) => event === "balances");
    await ofJobs.next(({ data }) => data.key === key);
    expect(ofDan.events.map(({ data }) => data.row.amount)).to.deep.equal(["20"]);
    expect(ofJobs.events.map(({ event }) => event)).to.deep.equal(["jobs"]);
  });

  it("tells of each order that came in, took the place of another, or ended", async () => {
    const node = await market.node("gil");
    const requester = await market.account("hal");
    await indexer.caughtUp();
    const stream = await open(`?entity=offers,requests&about=${node.operator.address}`);
    const all = await open("?entity=offers,requests");
    const [first, second] = [await market.offer(node), await market.offer(node, { baseCharge: 2n })];
    const { body: older } = await indexer.postOffer(first);
    await indexer.postOffer(first);
    const { body: newer } = await indexer.postOffer(second);
    const put = await stream.next(({ data }) => data.key === newer.offerHash);
    expect(put.data.row).to.include({ offerHash: newer.offerHash, signature: second.signature });
    expect(put.data.row.offer).to.deep.equal(orderToJson(second.offer));
    const told = stream.events.map(({ event, data }) => [event, data.block, data.key, data.row === null]);
    expect(told).to.deep.equal([
      ["offers", null, older.offerHash, false],
      ["offers", null, older.offerHash, true],
      ["offers", null, newer.offerHash, false],
    ]);

    const signed = await market.request(requester);
    await indexer.postRequest(signed, { sources: ["https://one.example"] });
    const { body } = await indexer.postRequest(signed, { sources: ["https://two.example"] });
    await all.next(({ data }) => data.key === body.jobId && data.row.sources.length === 2);
    const ofRequest = all.events.filter(({ event }) => event === "requests");
    expect(ofRequest.map(({ data }) => [data.row.request.requester, data.row.sources])).to.deep.equal([
      [requester.address.toLowerCase(), ["https://one.example"]],
      [requester.address.toLowerCase(), ["https://one.example", "https://two.example"]],
    ]);
    expect(stream.events).to.have.length(3);
  });

  it("says when what a reader missed is not kept, and refuses nonsense", async () => {
    const answer = async (query: string) => {
      const { status, body } = await indexer.get(`/events${query}`);
      return [status, body.code];
    };
    expect(await answer("?after=999999")).to.deep.equal([410, "EVENTS_GONE"]);
    expect(await answer("?after=-1")).to.deep.equal([400, "QUERY_INVALID"]);
    expect(await answer("?entity=colours")).to.deep.equal([400, "QUERY_INVALID"]);
    expect(await answer("?about=0x12")).to.deep.equal([400, "QUERY_INVALID"]);
  });

  async function open(query = "", lastEventId?: number): Promise<EventReader> {
    const reader = await openEvents(`${indexer.url}/events${query}`, lastEventId === undefined ? {} : { lastEventId });
    expect(reader.status).to.equal(200);
    readers.push(reader);
    return reader;
  }

  async function cancelled(requester: Awaited<ReturnType<TestMarket["account"]>>): Promise<string> {
    const { request } = await market.request(requester);
    await market.send(requester.address, market.deployment.market, jobMarketAbi, "cancel", [request]);
    return jobIdOf(market.deployment, request);
  }
});
