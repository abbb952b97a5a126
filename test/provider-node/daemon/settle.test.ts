import { type JobId, jobMarketAbi } from "@berth/protocol";
import { expect } from "chai";
import { decodeFunctionData } from "viem";
import { eventually } from "../../support/eventually.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { registerNode } from "./registered-node.ts";

const SETTLED = 6;

describe("berth-node and its earnings", function () {
  this.timeout(100_000);
  let bench: MarketBench;
  let flags: string[];
  let node: NodeProcess | undefined;

  before(async () => {
    bench = await openMarketBench();
    // Two results make a full batch; one would wait for an hour.
    const rules = { "transactions.settle.maxItems": "2", "transactions.settle.holdSeconds": "3600" };
    ({ flags } = await registerNode(bench, "s", rules));
    node = startNode(flags);
    await node.ready;
  });

  after(async function () {
    if (this.test?.parent?.tests.some(({ state }) => state === "failed")) process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    const cleaned = await berthNode([...flags, "clean"]);
    expect(cleaned.code, cleaned.stdout + cleaned.stderr).to.equal(0);
    await bench?.close();
  });

  it("finalizes what nobody disputed, two results in one transaction", async () => {
    const request = { challengeWindow: 1 };
    const [one, two] = [await bench.match({}, { request }), await bench.match({}, { request })];
    await eventually(
      "both are settled",
      async () => (await stateOf(one.jobId)) === SETTLED && (await stateOf(two.jobId)) === SETTLED,
      60_000,
    );
    const hashes = await settlements();
    expect(new Set(hashes)).to.have.length(1);
    const { input } = await bench.client.getTransaction({ hash: hashes[0] as `0x${string}` });
    expect(decodeFunctionData({ abi: jobMarketAbi, data: input }).functionName).to.equal("finalizeMany");
  });

  async function stateOf(jobId: JobId): Promise<number> {
    const market = { address: bench.deployment.market, abi: jobMarketAbi } as const;
    return (await bench.client.readContract({ ...market, functionName: "replicaOf", args: [jobId, 0] })).state;
  }

  /** Transactions that settled a result. */
  async function settlements(): Promise<string[]> {
    const market = { address: bench.deployment.market, abi: jobMarketAbi } as const;
    const events = await bench.client.getContractEvents({ ...market, eventName: "ReplicaSettled", fromBlock: 0n });
    return events.map(({ transactionHash }) => transactionHash);
  }
});
