import { type JobId, jobMarketAbi, textToBytes32 } from "@berth/protocol";
import { expect } from "chai";
import { eventually } from "../../support/eventually.ts";
import { missingSlurm, processesWith, type SlurmCluster, startSlurm } from "../../support/slurm.ts";
import { type MarketBench, openMarketBench } from "../daemon/market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "../daemon/node-process.ts";
import { type RegisteredNode, registerNode } from "../daemon/registered-node.ts";

const REFUNDED = 7;

describe("berth-node that offers a Slurm cluster", function () {
  this.timeout(180_000); // on a machine that does much else
  let cluster: SlurmCluster;
  let bench: MarketBench;
  let registered: RegisteredNode;
  let node: NodeProcess | undefined;
  let checks: { name: string; status: string; detail: string }[];

  before(async function () {
    const missing = missingSlurm();
    if (missing !== undefined) {
      console.log(`    skipped: ${missing}`);
      this.skip();
    }
    cluster = await startSlurm();
    bench = await openMarketBench();
    registered = await registerNode(bench, "s", {
      engine: JSON.stringify({ type: "slurm", slurm: cluster.config }),
      "offers.capacity": JSON.stringify({ cpuMilli: 8000, memoryMiB: 3000, diskMiB: 1024 }), // the sum of both nodes
      gpus: JSON.stringify({ devices: "auto", model: "fake" }),
    });
    // What the checks prove decides how many GPUs the limits name.
    const found = JSON.parse((await berthNode([...registered.flags, "doctor"])).stdout);
    const { proven } = found;
    checks = found.checks;
    expect(proven.gpus).to.deep.equal(["market/gpu=0", "market/gpu=1"]);
    const check = checks.find(({ name }) => name === "GPUs of market");
    expect(check?.detail).to.match(/^one of 2: a job has \/dev\/berth-slurm-\w+-[01]$/);
    await berthNode([...registered.flags, "register", "--operator-key-file", bench.operatorKeyFile]);
    node = startNode(registered.flags);
    await node.ready;
  });

  afterEach(function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
  });

  after(async () => {
    await node?.kill("SIGTERM");
    if (registered !== undefined) await berthNode([...registered.flags, "clean"]);
    await bench?.close();
    await cluster?.close();
  });

  it("is proven there by jobs that try to break each promise", () => {
    const promises = ["engine runs hello", "memory limit", "pids limit", "network none is none", "output quota holds"];
    const kept = checks.filter(({ name }) => promises.includes(name));
    expect(kept.map(({ name }) => name)).to.deep.equal(promises);
    expect(kept.filter(({ status }) => status !== "ok")).to.deep.equal([]);
  });

  it("offers the partition's GPUs, of which a job there has had one", async () => {
    const { offer } = await bench.offer();
    expect([offer.gpus, offer.gpuModel]).to.deep.equal([2, textToBytes32("fake")]);
  });

  it("runs a job there and puts its result on chain, though it is killed and started again in the middle", async () => {
    const resources = { cpuMilli: 500, memoryMiB: 64, diskMiB: 16, gpus: 1 };
    const command = ["/bin/sh", "-c", "echo here >> /out/runs; sleep 5; case $BERTH_GPU in card-*) exit 7 ;; esac"];
    const { jobId } = await bench.match({ command, resources }, { request: { gpus: 1 } });
    await eventually("a compute node runs it", () => processesWith(jobId.slice(2, 34), "conmon").length > 0, 60_000);
    await node?.kill("SIGKILL");
    node = startNode(registered.flags);
    await node.ready;
    await eventually("its result is on chain", async () => (await bench.results(jobId))[0], 60_000);
    const explained = JSON.parse((await berthNode([...registered.flags, "explain", jobId])).stdout);
    expect(JSON.stringify(explained)).to.include('"exitCode":7');
  });

  it("gives back a job that is within the sum, and larger than any node", async () => {
    const { jobId } = await bench.match({ resources: { cpuMilli: 5000, memoryMiB: 64, diskMiB: 16, gpus: 0 } });
    await eventually("it is refunded", async () => (await stateOf(jobId)) === REFUNDED, 60_000);
    const { decisions } = JSON.parse((await berthNode([...registered.flags, "explain", jobId])).stdout);
    expect(decisions[0]).to.include({ code: "too-large", what: "match" });
  });

  async function stateOf(jobId: JobId): Promise<number> {
    const market = { address: bench.deployment.market, abi: jobMarketAbi } as const;
    return (await bench.client.readContract({ ...market, functionName: "replicaOf", args: [jobId, 0] })).state;
  }
});
