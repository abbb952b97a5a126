import { type Hex, jobIdOf, jobMarketAbi, type Request } from "@berth/protocol";
import { expect } from "chai";
import { encodeFunctionData, keccak256, parseEther, stringToBytes } from "viem";
import { privateKeyToAddress } from "viem/accounts";
import { eventually } from "../../support/eventually.ts";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { type RunningIndexer, runIndexer } from "../support/running-indexer.ts";

/** A busy machine takes its time. */
const BUSY_MS = 30_000;
const ROOMY = { cpuMilli: 10 ** 6, memoryMiB: 10 ** 6, diskMiB: 10 ** 6 };
const WALLET = "0x00000000000000000000000000000000000012f2";

describe("matches on their way to the chain", function () {
  this.timeout(120_000);
  let market: TestMarket;
  let node: TestNode;
  let indexer: RunningIndexer | undefined;
  let matcherKey: Hex;
  let runs = 0;
  before(async () => {
    market = await startMarket();
    node = await market.node("roomy");
    await market.setLimits(node, { maxActive: 100, ...ROOMY });
  });
  after(() => market?.stop());
  beforeEach(async () => {
    matcherKey = keccak256(stringToBytes(`matcher ${++runs}`));
    const matcher = privateKeyToAddress(matcherKey);
    await market.anvil.call("anvil_setBalance", [matcher, `0x${parseEther("10").toString(16)}`]);
  });
  afterEach(async () => {
    await market.anvil.call("evm_setAutomine", [true]);
    await indexer?.close();
    indexer = undefined;
  });

  it("makes all matches of a round in one transaction", async () => {
    const running = await start();
    const signed = await requestsOf(running, ["ada", "ben", "cleo", "dan"]);
    await offerTo(running);
    const jobs = await Promise.all(signed.map(({ request }) => matched(running, request)));
    expect(new Set(jobs.map(({ matchedTx }) => matchedTx)).size).to.equal(1);
    expect(await sentBy()).to.equal(1);
    for (const { request } of signed) {
      const end = await over(running, request);
      expect(end).to.include({ attempt: 1, state: "done", transaction: jobs[0].matchedTx });
    }
  });

  it("leaves out what fails when it is tried, with the reason and without gas for it", async () => {
    await market.anvil.call("anvil_setCode", [WALLET, "0x631626ba7e60e01b60005260206000f3"]);
    await market.anvil.call("anvil_setBalance", [WALLET, `0x${parseEther("1").toString(16)}`]);
    await market.deposit(WALLET, 1_000_000n);
    const running = await start();
    const good = await requestsOf(running, ["eve", "fay"]);
    const turncoat = await market.request(await market.account("gus"), { requester: WALLET, payer: WALLET });
    await running.postRequest({ ...turncoat, signature: "0x1234" });
    await market.anvil.call("anvil_setCode", [WALLET, "0x63deadbeef60e01b60005260206000f3"]);
    await offerTo(running);
    const jobs = await Promise.all(good.map(({ request }) => matched(running, request)));
    expect(new Set(jobs.map(({ matchedTx }) => matchedTx)).size).to.equal(1);
    const end = await over(running, turncoat.request);
    expect(end).to.include({ attempt: 1, state: "failed", transaction: null });
    expect(end.error.message).to.match(/BadRequestSignature/);
    expect(await sentBy()).to.equal(1);
  });

  it("bars the one that fails between trying and mining, and keeps the others", async () => {
    const running = await start();
    const signed = await requestsOf(running, ["hal", "ivy", "jon"]);
    const [, fickle] = signed as [Signed, Signed, Signed];
    await market.anvil.call("evm_setAutomine", [false]);
    await offerTo(running);
    await eventually("the batch waits to be mined", async () => (await sentBy("pending")) === 1, BUSY_MS);
    await withdrawFirst(fickle.request.payer, 99_999n);
    await market.anvil.call("evm_mine");
    await market.anvil.call("evm_setAutomine", [true]);

    const [first, failed, last] = await Promise.all(signed.map(({ request }) => over(running, request)));
    expect([first.state, failed.state, last.state]).to.deep.equal(["done", "failed", "done"]);
    expect(failed.transaction).to.equal(first.transaction);
    expect(failed.error.message).to.match(/BalanceTooLow/);
    expect((await running.get(`/jobs/${jobIdOf(market.deployment, fickle.request)}`)).status).to.equal(404);

    const other = await requestsOf(running, ["kim"]);
    await over(running, (other[0] as Signed).request);
    expect((await lastTry(running, fickle.request)).attempt).to.equal(1); // nothing changed for it
    await market.deposit(fickle.request.payer, 100_000n);
    await matched(running, fickle.request);
    const end = await over(running, fickle.request, 2);
    expect(end).to.include({ attempt: 2, state: "done" });
    expect(await sentBy()).to.equal(3);
  });

  it("spends no gas on a match that its tip does not pay for, where nothing is given", async () => {
    const gasPolicy = { tipWorthX18: new Map([[market.token, 10n ** 18n * 10n ** 13n]]), givenPerDay: 0n };
    const running = await start({ gasPolicy });
    await offerTo(running);
    const [poor] = await requestsOf(running, ["leo"]);
    const [rich] = await requestsOf(running, ["mia"], { matcherTip: 1000n });
    await matched(running, (rich as Signed).request);
    expect(
      (await running.get(`/requests/${jobIdOf(market.deployment, (poor as Signed).request)}`)).body,
    ).to.not.have.property("lastTry");
    expect(await sentBy()).to.equal(1);
  });

  interface Signed {
    request: Request;
    signature: Hex;
  }

  async function start(more: Parameters<typeof runIndexer>[1] = {}): Promise<RunningIndexer> {
    indexer = await runIndexer(market, { matcherKey, ...more });
    await indexer.caughtUp();
    return indexer;
  }

  async function requestsOf(running: RunningIndexer, names: string[], replaced: Partial<Request> = {}) {
    const all: Signed[] = [];
    for (const name of names) {
      const account = await market.account(name);
      await market.deposit(account.address, 100_000n);
      all.push(await market.request(account, { maxPrice: 10_000n, ...replaced }));
    }
    await running.caughtUp();
    for (const signed of all) expect((await running.postRequest(signed)).status).to.equal(202);
    return all;
  }

  async function offerTo(running: RunningIndexer) {
    expect((await running.postOffer(await market.offer(node, ROOMY))).status).to.equal(202);
  }

  async function lastTry(running: RunningIndexer, request: Request) {
    return (await running.get(`/requests/${jobIdOf(market.deployment, request)}`)).body.lastTry;
  }

  async function over(running: RunningIndexer, request: Request, attempt = 1) {
    return eventually(
      "the try is over",
      async () => {
        const found = await lastTry(running, request);
        return found !== undefined && found.attempt >= attempt && found.state !== "sent" && found;
      },
      BUSY_MS,
    );
  }

  async function matched(running: RunningIndexer, request: Request) {
    const jobId = jobIdOf(market.deployment, request);
    return eventually(
      `${jobId} is matched`,
      async () => {
        const { status, body } = await running.get(`/jobs/${jobId}`);
        return status === 200 && body.state === "matched" && body;
      },
      BUSY_MS,
    );
  }

  const matcher = () => privateKeyToAddress(matcherKey);
  async function sentBy(block = "latest"): Promise<number> {
    return Number(await market.anvil.call("eth_getTransactionCount", [matcher(), block]));
  }

  /** Takes money out, in the next block and before everything that pays less for its gas. */
  async function withdrawFirst(from: Hex, amount: bigint) {
    const args = [from, market.token, amount, from] as const;
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "withdraw", args });
    const fees = { maxFeePerGas: "0x174876e800", maxPriorityFeePerGas: "0x174876e800", gas: "0x30d40" };
    await market.anvil.call("eth_sendTransaction", [{ from, to: market.deployment.market, data, ...fees }]);
  }
});
