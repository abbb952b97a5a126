import { join } from "node:path";
import { type JobId, jobMarketAbi } from "@berth/protocol";
import { expect } from "chai";
import { decodeFunctionData } from "viem";
import { eventually } from "../../support/eventually.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";

const SETTLED = 6;

describe("berth-node and its earnings", function () {
  this.timeout(100_000);
  let bench: MarketBench;
  let flags: string[];
  let node: NodeProcess | undefined;

  before(async () => {
    bench = await openMarketBench();
    const settings = {
      "mesh.enabled": "false",
      "offers.capacity": JSON.stringify({ cpuMilli: 2000, memoryMiB: 512, diskMiB: 512 }),
      "offers.maxBond": "1000",
      "offers.baseCharge": "100",
      confirmations: "1",
      pollMs: "200",
      // Two results make a full batch; one would wait for an hour.
      "transactions.settle.maxItems": "2",
      "transactions.settle.holdSeconds": "3600",
    };
    flags = [
      ...["--data-dir", join(bench.dir, "node"), "--rpc", bench.anvil.url, "--deployment", bench.deploymentFile],
      ...["--operator", bench.operator.address, "--run-id", `s${(process.pid % 46656).toString(36)}`, "--port", "0"],
      ...["--indexer", bench.indexerUrl, "--token", bench.token, "--public-url", "http://127.0.0.1:1", "--json"],
      ...Object.entries(settings).flatMap(([path, value]) => ["--set", `${path}=${value}`]),
    ];
    const init = await berthNode([...flags, "init"]);
    await bench.fund(JSON.parse(init.stdout).key);
    await bench.mint(bench.operator.address, 10_000n);
    const key = ["--operator-key-file", bench.operatorKeyFile];
    expect((await berthNode([...flags, "stake", "5000", ...key])).code).to.equal(0);
    expect((await berthNode([...flags, "register", ...key])).code).to.equal(0);
    node = startNode(flags);
    await node.ready;
  });

  after(async function () {
    if (this.test?.parent?.tests.some(({ state }) => state === "failed")) process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    if (bench !== undefined) await berthNode([...flags, "clean"]);
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
