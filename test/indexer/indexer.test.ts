import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Address, type Hex, jobIdOf, jobMarketAbi, MODE, operatorTree, type Request } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, stringToBytes } from "viem";
import { eventually } from "../support/eventually.ts";
import { newDataFolder } from "./support/data-folder.ts";
import { startMarket, type TestMarket, type TestNode } from "./support/market.ts";
import { type RunningIndexer, runIndexer } from "./support/running-indexer.ts";

const matcherKey = keccak256(stringToBytes("matcher"));

describe("startIndexer", () => {
  let market: TestMarket;
  let cheap: TestNode;
  let dear: TestNode;
  before(async () => {
    market = await startMarket();
    cheap = await market.node("cheap");
    dear = await market.node("dear");
    await market.account("matcher");
  });
  after(() => market?.stop());

  describe("with a matcher's key", () => {
    let indexer: RunningIndexer;
    before(async () => {
      indexer = await runIndexer(market, { matcherKey });
      await indexer.caughtUp();
      await indexer.postOffer(await market.offer(dear, { baseCharge: 900n }));
      await indexer.postOffer(await market.offer(cheap, { baseCharge: 5n }));
    });
    after(() => indexer?.close());

    it("matches a signed request with the cheapest offer and shows the job", async () => {
      const signed = await fundedRequest("rex", {});
      const answer = await indexer.postRequest(signed, { sources: ["http://127.0.0.1:7777"] });
      expect(answer.status).to.equal(202);
      const job = await matched(indexer, signed.request);
      expect(job.sources).to.deep.equal(["http://127.0.0.1:7777"]);
      expect(job.replicas.map(({ operator }: { operator: Address }) => operator)).to.deep.equal([
        cheap.operator.address.toLowerCase(),
      ]);
      expect(job.replicas[0].deposit).to.equal("69");
      await eventually("the try is done", async () => {
        const { body } = await indexer.get(`/requests/${job.jobId}`);
        return body.state === "matched" && body.lastTry?.state === "done" && body.lastTry.transaction === job.matchedTx;
      });
    });

    it("matches a posted request too, with as many operators as it asks for, and earns the tip", async () => {
      const signed = await fundedRequest("sue", { replicas: 2, matcherTip: 17n });
      const to = market.deployment.market;
      await market.send(signed.request.requester, to, jobMarketAbi, "post", [signed.request, "0x", "0x"]);
      const job = await matched(indexer, signed.request);
      expect(new Set(job.replicas.map(({ operator }: { operator: Address }) => operator)).size).to.equal(2);
      const matcher = (await indexer.get("/status")).body.matcher;
      const { body } = await indexer.get(`/accounts/${matcher}`);
      expect(body.balances).to.deep.equal([{ token: market.token, amount: "17" }]);
    });

    it("matches a request that allows listed operators only, with their proofs, once its list is known", async () => {
      const listed = [dear, await market.node("listed too")].map(({ operator }) => lower(operator.address));
      const { root } = operatorTree(listed);
      const signed = await fundedRequest("una", { operators: root });
      const { body } = await indexer.postRequest(signed);
      const last = await fundedRequest("una", {});
      await indexer.postRequest(last);
      await matched(indexer, last.request);
      expect((await indexer.get(`/requests/${body.jobId}`)).body.state).to.equal("open");
      await indexer.postRequest(signed, { operators: listed });
      const job = await matched(indexer, signed.request);
      expect(job.replicas.map(({ operator }: { operator: Address }) => operator)).to.deep.equal([listed[0]]);
    });

    it("sends nothing while the market is paused, and goes on when it is not", async () => {
      const { market: to } = market.deployment;
      const guardian = market.anvil.accounts[0].address;
      await market.send(guardian, to, jobMarketAbi, "setPaused", [true]);
      await indexer.caughtUp();
      expect((await indexer.get("/status")).body.paused).to.equal(true);
      const signed = await fundedRequest("zoe", {});
      const { body } = await indexer.postRequest(signed);
      await market.pass(1);
      await indexer.caughtUp();
      const { sentence } = (await indexer.get(`/requests/${body.jobId}/explain`)).body;
      expect(sentence).to.contain("the market takes no new jobs at the moment");
      await market.send(guardian, to, jobMarketAbi, "setPaused", [false]);
      await matched(indexer, signed.request);
      expect((await indexer.get(`/requests/${body.jobId}`)).body.lastTry.attempt).to.equal(1);
    });

    it("matches a lease", async () => {
      const lease = { mode: MODE.lease, heartbeatSeconds: 60, noticeSeconds: 60, challengeWindow: 0 };
      const signed = await fundedRequest("lou", lease);
      await indexer.postRequest(signed);
      expect((await matched(indexer, signed.request)).job.mode).to.equal(MODE.lease);
    });

    it("takes the offer of a node whose key is a wallet, as the market does", async () => {
      const operator = await market.account("walleted");
      const wallet: Address = "0x00000000000000000000000000000000000012f4";
      await market.anvil.call("anvil_setCode", [wallet, "0x631626ba7e60e01b60005260206000f3"]);
      const node = { operator, index: 0, key: { address: wallet, signTypedData: async () => "0x12" } };
      await market.publish(node as unknown as TestNode);
      await market.setLimits(node as unknown as TestNode);
      await market.setAccepted(operator.address, [market.token]);
      await market.stake(operator.address, 1_000_000n);
      await indexer.caughtUp();
      const offer = await market.offer(node as unknown as TestNode, { baseCharge: 0n });
      expect((await indexer.postOffer(offer)).status).to.equal(202);
      const signed = await fundedRequest("wim", {});
      await indexer.postRequest(signed);
      expect((await matched(indexer, signed.request)).replicas[0].operator).to.equal(lower(operator.address));
    });

    it("leaves a request alone that names another matcher, and says so", async () => {
      const other = (await market.account("other")).address;
      const signed = await fundedRequest("tim", { matcher: other });
      const { body } = await indexer.postRequest(signed);
      const last = await fundedRequest("tim", {});
      await indexer.postRequest(last);
      await matched(indexer, last.request);
      const { sentence } = (await indexer.get(`/requests/${body.jobId}/explain`)).body;
      expect(sentence).to.contain(`the request names ${other.toLowerCase()} as its matcher`);
      expect((await indexer.get(`/requests/${body.jobId}`)).body).to.not.have.property("lastTry");
    });

    it("notes why the market refused, and tries again only when something changed", async () => {
      const wallet: Address = "0x00000000000000000000000000000000000012f2";
      const answerWith = (magic: string) =>
        market.anvil.call("anvil_setCode", [wallet, `0x63${magic}60e01b60005260206000f3`]);
      await answerWith("1626ba7e");
      const { request } = await market.request(await market.account("uma"), { requester: wallet, payer: wallet });
      const { body } = await indexer.postRequest({ request, signature: "0x1234" });
      await answerWith("deadbeef");
      await market.anvil.call("anvil_setBalance", [wallet, "0x56bc75e2d63100000"]);
      await market.deposit(wallet, 1_000_000n);
      const lastTry = async () => (await indexer.get(`/requests/${body.jobId}`)).body.lastTry;
      const refused = await eventually("the market refused", async () => {
        const found = await lastTry();
        return found?.state === "failed" && found;
      });
      expect(refused.error.code).to.equal("REVERTED");
      expect(refused.error.message).to.match(/BadRequestSignature/);

      await answerWith("1626ba7e");
      const other = await fundedRequest("vic", {});
      await indexer.postRequest(other);
      await matched(indexer, other.request);
      expect((await lastTry()).attempt).to.equal(1);

      await market.deposit(wallet, 1n);
      await matched(indexer, request);
      await eventually("the second try is done", async () => {
        const { attempt, state } = await lastTry();
        return attempt === 2 && state === "done";
      });
    });
  });

  describe("when the chain shows a match before the book has its block", () => {
    let indexer: RunningIndexer;
    before(async () => {
      const prompt = await market.node("prompt");
      indexer = await runIndexer(market, { matcherKey, confirmations: 1, finality: 0 });
      await market.pass(1); // what came before lies one block deep
      await indexer.caughtUp();
      await indexer.postOffer(await market.offer(prompt));
    });
    after(() => indexer?.close());

    it("sends one match for a request, not a second one that fails", async () => {
      const { matcher } = (await indexer.get("/status")).body;
      const sent = async () => Number(await market.anvil.call("eth_getTransactionCount", [matcher, "latest"]));
      const before = await sent();
      const [first, second] = [await fundedRequest("xia", {}), await fundedRequest("yan", {})];
      await market.pass(1);
      await indexer.caughtUp();
      await indexer.postRequest(first);
      await eventually("the first match is mined", async () => (await sent()) === before + 1);
      await indexer.postRequest(second);
      await eventually("the second match is mined on top", async () => (await sent()) === before + 2);
      await matched(indexer, first.request);
      const lastTry = await eventually("the first try is over", async () => {
        const { body } = await indexer.get(`/requests/${jobIdOf(market.deployment, first.request)}`);
        return body.lastTry.state !== "sent" && body.lastTry;
      });
      expect([lastTry.attempt, lastTry.state]).to.deep.equal([1, "done"]);
    });
  });

  describe("with a data folder", () => {
    let folder: string;
    let open: RunningIndexer[];
    beforeEach(async () => {
      folder = await newDataFolder();
      open = [];
    });
    afterEach(async () => {
      for (const indexer of open) await indexer.close();
      await rm(folder, { recursive: true, force: true });
    });
    const start = async (more = {}) => {
      const indexer = await runIndexer(market, { dataFolder: folder, ...more });
      open.push(indexer);
      return indexer;
    };

    it("keeps offers and requests over a restart", async () => {
      const first = await start();
      await first.caughtUp();
      const offer = await first.postOffer(await market.offer(cheap));
      const request = await first.postRequest(await market.request(await market.account("wes"), { memoryMiB: 99_999 }));
      expect([offer.status, request.status]).to.deep.equal([202, 202]);
      await first.close();
      const second = await start();
      await second.caughtUp();
      const { body } = await second.get("/offers");
      expect(body.items.map(({ offerHash }: { offerHash: Hex }) => offerHash)).to.deep.equal([offer.body.offerHash]);
      expect((await second.get(`/requests/${request.body.jobId}/explain`)).body.offersSeen).to.equal(1);
      expect((await second.get("/status")).body).to.include({ offers: 1, requests: 1 });
    });

    it("refuses a folder that another indexer uses", async () => {
      await start();
      const error = await failure(start());
      expect(error).to.include({ code: "DATA_FOLDER_IN_USE" });
      expect(error.message).to.contain(folder);
    });

    it("refuses a folder that was made for another market or another chain", async () => {
      await (await start()).close();
      const moved = { ...market.deployment, fromBlock: 2 };
      const error = await failure(start({ deployment: moved }));
      expect(error).to.include({ code: "DATA_FOLDER_STALE" });
      expect(error.message).to.equal("The data belongs to another market: its first block is 1, not 2.");
      expect(error.hint).to.match(/^Remove the data folder/);
      const other = await startMarket();
      try {
        // The same contracts at the same addresses, on a chain that began again.
        expect(other.deployment).to.deep.equal(market.deployment);
        await other.pass(1);
        const again = await failure(runIndexer(other, { dataFolder: folder }));
        expect(again).to.include({ code: "DATA_FOLDER_STALE" });
        expect(again.message).to.contain("first block of the chain");
      } finally {
        await other.stop();
      }
    });

    it("says when the port is taken", async () => {
      const squatter = createServer().listen(0, "127.0.0.1");
      await once(squatter, "listening");
      const { port } = squatter.address() as AddressInfo;
      try {
        const error = await failure(start({ port }));
        expect(error).to.include({
          code: "PORT_TAKEN",
          message: `Port ${port} on 127.0.0.1 is taken by another program.`,
        });
      } finally {
        squatter.close();
      }
    });

    it("says when the contracts are not there, and when the chain is another", async () => {
      const missing = { ...market.deployment, market: `0x${"9".repeat(40)}` as Address };
      expect(await failure(start({ deployment: missing }))).to.include({ code: "NOT_DEPLOYED" });
      const elsewhere = { ...market.deployment, chainId: 5 };
      expect(await failure(start({ deployment: elsewhere }))).to.include({ code: "WRONG_CHAIN" });
    });
  });

  async function fundedRequest(name: string, replaced: Partial<Request>) {
    const requester = await market.account(name);
    await market.deposit(requester.address, 100_000n);
    return market.request(requester, { maxPrice: 10_000n, ...replaced });
  }

  async function matched(indexer: RunningIndexer, request: Request) {
    const jobId = jobIdOf(market.deployment, request);
    return eventually(`${jobId} is matched`, async () => {
      const { status, body } = await indexer.get(`/jobs/${jobId}`);
      return status === 200 && body.state === "matched" && body;
    });
  }
});

async function failure(promise: Promise<unknown>): Promise<Error & { code?: string; hint?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("it should have failed");
}

function lower(account: string): Address {
  return account.toLowerCase() as Address;
}
