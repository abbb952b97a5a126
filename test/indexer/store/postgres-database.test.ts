import { type Hex, jobIdOf } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, stringToBytes } from "viem";
import { eventually } from "../../support/eventually.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

describe("an indexer on a PostgreSQL server", () => {
  let server: PostgresServer | undefined;
  let market: TestMarket;
  let indexer: RunningIndexer | undefined;
  before(async function () {
    server = await startPostgres();
    if (server === undefined) this.skip();
    market = await startMarket();
  });
  after(async () => {
    await indexer?.close();
    await market?.stop();
    await server?.stop();
  });

  it("does what it does with the embedded database, and after a restart", async () => {
    const databaseUrl = server?.url;
    const options = { databaseUrl, matcherKey: keccak256(stringToBytes("matcher")) };
    await market.account("matcher");
    const node = await market.node("ada");
    const requester = await market.account("rex");
    await market.deposit(requester.address, 100_000n);
    indexer = await runIndexer(market, options);
    await indexer.caughtUp();
    // The same comes from its signer and from who passes it on, at once.
    const offer = await market.offer(node);
    expect(await statusOf(() => indexer?.postOffer(offer))).to.deep.equal([202]);
    const signed = await market.request(requester, { maxPrice: 1000n });
    expect(await statusOf(() => indexer?.postRequest(signed))).to.deep.equal([202]);
    const jobId = jobIdOf(market.deployment, signed.request);
    const job = await matched(jobId);

    const before = { chain: await market.anvil.call("evm_snapshot"), height: await height() };
    await market.stake(node.operator.address, 5n);
    await indexer.caughtUp();
    await market.anvil.call("evm_revert", [before.chain]);
    for (let i = 0; i < 5; i++) await market.pass(i + 1);
    await indexer.caughtUp();
    await indexer.close();
    indexer = await runIndexer(market, { databaseUrl });
    await indexer.caughtUp();
    expect(await matched(jobId)).to.deep.equal(job);
    const { body } = await indexer.get(`/accounts/${node.operator.address}`);
    expect(body.stakes[0]).to.include({ free: "999000", locked: "1000" });
  });

  /** What eight at once come to. */
  const statusOf = async (post: () => Promise<{ status: number }> | undefined) => {
    const answers = await Promise.all(Array.from({ length: 8 }, post));
    return [...new Set(answers.map((answer) => answer?.status))];
  };
  const height = async () => Number(await market.anvil.call("eth_blockNumber"));
  const matched = (jobId: Hex) =>
    eventually("the job is matched", async () => {
      const { status, body } = await (indexer as RunningIndexer).get(`/jobs/${jobId}`);
      return status === 200 && body;
    });
});
