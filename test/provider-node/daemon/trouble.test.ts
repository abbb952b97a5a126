import { cpSync, existsSync, readdirSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { type Claim, type JobId, jobMarketAbi } from "@berth/protocol";
import { expect } from "chai";
import { freePort } from "../../../scripts/lib/free-port.ts";
import { eventually } from "../../support/eventually.ts";
import { type LyingRpc, type RpcMessage, startLyingRpc } from "../../support/lying-rpc.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { type RegisteredNode, registerNode } from "./registered-node.ts";

const ACTIVE = 2;

/** A year's troubles, one after another: each job ends once, with the result that it would have had without. */
describe("berth-node in trouble", function () {
  this.timeout(180_000);
  let bench: MarketBench;
  let rpc: LyingRpc;
  let registered: RegisteredNode;
  let flags: string[];
  let node: NodeProcess | undefined;

  before(async () => {
    bench = await openMarketBench();
    rpc = await startLyingRpc(bench.anvil.url);
    registered = await registerNode(bench, "y", { "transactions.settle.enabled": "false" });
    // From here on the node sees the chain through the proxy.
    flags = registered.flags.map((flag) => (flag === bench.anvil.url ? rpc.url : flag));
  });

  afterEach(async function () {
    rpc.lie = () => undefined;
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    node = undefined;
  });

  after(async () => {
    const cleaned = await berthNode([...flags, "clean"]);
    await rpc.stop();
    await bench.close();
    expect(cleaned.code, cleaned.stdout + cleaned.stderr).to.equal(0);
  });

  const troubles: Record<string, LyingRpc["lie"]> = {
    "does not answer": () => "hang up",
    "is out of order": () => "500",
    "knows no block and no event": ({ method }: RpcMessage) => {
      if (method === "eth_getLogs") return { answer: [] };
      return method.startsWith("eth_getBlockBy") ? { answer: null } : undefined;
    },
    "says that nothing was ever matched": ({ method }: RpcMessage) => {
      if (method === "eth_getLogs") return { answer: [] };
      return method === "eth_call" ? { answer: `0x${"0".repeat(64 * 8)}` } : undefined;
    },
  };
  for (const [what, lie] of Object.entries(troubles)) {
    it(`finishes a job and submits it once though its RPC ${what} for as long as the job runs`, async () => {
      node = startNode(flags);
      await node.ready;
      const { jobId } = await bench.match({ command: ["/bin/sh", "-c", "sleep 2; echo done > /out/file"] });
      await eventually("the command runs", async () => (await phaseOf(jobId)) === "running", 90_000);
      rpc.lie = lie;
      await eventually(
        "the result waits to be sent",
        async () => ["submitted", "done"].includes((await phaseOf(jobId)) ?? "") || reached(jobId, "submitting"),
        90_000,
      );
      const looks = rpc.calls.length;
      await eventually("the node looks at the chain in vain", () => rpc.calls.length > looks + 20, 90_000);
      expect(reached(jobId, "cancelled") || reached(jobId, "expired")).to.equal(false);
      rpc.lie = () => undefined;
      await oneResult(jobId);
      expect(await transactionsOf(jobId)).to.equal(1);
    });
  }

  it("loses nothing though no RPC answers for over a minute, offers nothing from then on, and offers when one does", async () => {
    node = startNode(flags);
    await node.ready;
    const { jobId } = await bench.match({ command: ["/bin/sh", "-c", "sleep 2; echo done > /out/file"] });
    await eventually("the command runs", async () => (await phaseOf(jobId)) === "running", 90_000);
    rpc.lie = () => "hang up";
    const silentAt = Date.now();
    await node.says((line) => line.includes("no offer made") && line.includes("No RPC has shown the chain as it is"));
    const withheldAt = Date.now();
    expect(withheldAt - silentAt).to.be.greaterThan(55_000);
    expect(await hindrances()).to.include("CHAIN_UNAVAILABLE");
    const { offering } = JSON.parse((await berthNode([...flags, "status"])).stdout);
    expect(offering.offers).to.deep.equal([]);
    expect(bench.hasOffer(withheldAt)).to.equal(false);
    expect(reached(jobId, "submitting"), "the work went on").to.equal(true);
    expect(reached(jobId, "cancelled") || reached(jobId, "expired")).to.equal(false);
    rpc.lie = () => undefined;
    await oneResult(jobId);
    expect(await transactionsOf(jobId)).to.equal(1);
    await bench.offer(withheldAt);
    expect(await hindrances()).to.deep.equal([]);
  });

  it("stops a job whose match a reorganisation took away, sends nothing for it, and takes the next one", async () => {
    node = startNode(flags);
    await node.ready;
    await bench.offer(Date.now());
    const snapshot = await bench.anvil.call("evm_snapshot");
    const { jobId } = await bench.match({ command: ["/bin/sleep", "50"] });
    await eventually("the command runs", async () => (await phaseOf(jobId)) === "running", 90_000);
    await bench.anvil.call("evm_revert", [snapshot]);
    // Another history, longer than the one before, and the time in which the match might have come back.
    await bench.anvil.call("anvil_mine", ["0x10"]);
    await eventually("the node sees that the match is gone", hasRolledBack, 90_000);
    await bench.anvil.call("evm_increaseTime", [200]);
    await bench.anvil.call("anvil_mine", ["0x4"]);
    await eventually("the container is gone", () => reached(jobId, "cleaned"), 90_000);
    expect(attempts().filter((name) => name.includes(jobId.slice(2, 34)))).to.deep.equal([]);
    expect(reached(jobId, "cancelled")).to.equal(true);
    expect(reached(jobId, "submitting")).to.equal(false);
    const next = await bench.match({});
    await oneResult(next.jobId);
  });

  it("goes on with a job whose match a reorganisation puts into another block, and runs it once", async () => {
    node = startNode(flags);
    await node.ready;
    await bench.offer(Date.now());
    const snapshot = await bench.anvil.call("evm_snapshot");
    const { jobId } = await bench.match({ command: ["/bin/sh", "-c", "sleep 3; echo once > /out/file"] });
    const [{ transactionHash }] = await bench.anvil.call("eth_getLogs", [
      { fromBlock: "0x0", address: bench.deployment.market, topics: [null, jobId] },
    ]);
    const match = await bench.anvil.call("eth_getRawTransactionByHash", [transactionHash]);
    await eventually("the command runs", async () => (await phaseOf(jobId)) === "running", 90_000);
    await bench.anvil.call("evm_revert", [snapshot]);
    await bench.anvil.call("anvil_mine", ["0x10"]);
    await eventually("the node sees that the match is gone", hasRolledBack, 90_000);
    await bench.anvil.call("eth_sendRawTransaction", [match]);
    await oneResult(jobId);
    expect(reached(jobId, "cancelled")).to.equal(false);
    expect(timesReached(jobId, "running")).to.equal(1);
    expect(await transactionsOf(jobId)).to.equal(1);
  });

  it("finishes what it runs though the machine's clock is two hours ahead when it starts again", async () => {
    node = startNode(flags);
    await node.ready;
    const { jobId } = await bench.match({ command: ["/bin/sh", "-c", "sleep 3; echo done > /out/file"] });
    await eventually("the command runs", async () => (await phaseOf(jobId)) === "running", 90_000);
    await node.kill("SIGKILL");
    const ahead = encodeURIComponent("const { now } = Date; Date.now = () => now() + 7_200_000;");
    node = startNode(flags, { NODE_OPTIONS: `--import=data:text/javascript,${ahead}` });
    await oneResult(jobId);
    expect(reached(jobId, "expired")).to.equal(false);
    expect(await transactionsOf(jobId)).to.equal(1);
  });

  it("publishes once its public address can be reached, and not before it was read back from there", async () => {
    const port = await freePort();
    const publicUrl = `http://127.0.0.1:${port}`;
    node = startNode([...flags, "--public-url", publicUrl]);
    await node.ready;
    const { jobId } = await bench.match({ command: ["/bin/sh", "-c", "echo here > /out/file"] });
    await eventually(
      "reading back failed",
      async () => (await phaseAnswer(jobId))?.message?.includes("delivered"),
      90_000,
    );
    expect(await bench.results(jobId)).to.deep.equal([]);
    const door = await forward(port, registered.url);
    try {
      await oneResult(jobId);
    } finally {
      door.close();
      door.closeAllConnections();
    }
  });

  it("fetches nothing while the disk is nearly full, and runs the job once there is room", async () => {
    node = startNode([...flags, "--set", "minFreeMiB=1000000000"]);
    await node.ready;
    const { jobId } = await bench.match({ command: ["/bin/true"] });
    await eventually("it says why", async () => (await phaseAnswer(jobId))?.message?.includes("DISK_LOW"), 90_000);
    await node.kill("SIGTERM");
    node = startNode(flags);
    await oneResult(jobId);
  });

  it("refuses to start beside a node of this machine that has the same key in another folder", async () => {
    node = startNode(flags);
    await node.ready;
    const copy = join(bench.dir, "copy");
    for (const name of ["hot.key", "wg.key"]) cpSync(join(registered.dataDir, name), join(copy, name));
    const other = flags.map((flag) => (flag === registered.dataDir ? copy : flag));
    const second = await berthNode([...other, "--port", String(await freePort()), "start"]);
    expect(JSON.parse(second.stdout).error, second.stderr).to.deep.include({ code: "NODE_KEY_IN_USE" });
    expect(second.code).to.equal(1);
  });

  /** Codes of what keeps the node from being ready. */
  async function hindrances(): Promise<string[]> {
    const response = await fetch(`${registered.url}/ready`);
    const { reasons = [] } = (await response.json()) as { reasons?: { code: string }[] };
    return reasons.map(({ code }) => code);
  }

  /** The chain has one result, and the replica is no longer open. */
  async function oneResult(jobId: JobId): Promise<Claim | undefined> {
    const market = { address: bench.deployment.market, abi: jobMarketAbi } as const;
    const args = [jobId, 0] as const;
    await eventually(
      "the result is on chain",
      async () => (await bench.client.readContract({ ...market, functionName: "replicaOf", args })).state > ACTIVE,
      120_000,
    );
    // anvil shows the state after a block a moment before the block's events
    await eventually("its event is there", async () => (await bench.results(jobId)).length > 0);
    const results = await bench.results(jobId);
    expect(results).to.have.length(1);
    return results[0];
  }

  /** How many transactions the node signed for the result of a job. */
  async function transactionsOf(jobId: JobId): Promise<number> {
    const key = new RegExp(`"key":"submit:${jobId}[^"]*"[^}]*"to":"signed"`);
    return (node?.log() ?? "").split("\n").filter((line) => key.test(line)).length;
  }

  function reached(jobId: JobId, state: string): boolean {
    return timesReached(jobId, state) > 0;
  }

  function timesReached(jobId: JobId, state: string): number {
    const lines = (node?.log() ?? "").split("\n");
    return lines.filter((line) => line.includes(jobId) && line.includes(`"state":"${state}"`)).length;
  }

  function hasRolledBack(): boolean {
    return (node?.log() ?? "").includes("chain reorganised");
  }

  function attempts(): string[] {
    const folder = join(registered.dataDir, "engine/attempts");
    return existsSync(folder) ? readdirSync(folder) : [];
  }

  async function phaseAnswer(jobId: JobId): Promise<{ phase: string; message?: string } | undefined> {
    const response = await fetch(`${registered.url}/jobs/${jobId}/0`).catch(() => undefined);
    return response?.ok === true ? ((await response.json()) as { phase: string }) : undefined;
  }

  async function phaseOf(jobId: JobId): Promise<string | undefined> {
    return (await phaseAnswer(jobId))?.phase;
  }
});

/** An address in front of `target`, which a node believes to be its own. */
async function forward(port: number, target: string): Promise<Server> {
  const server = createServer(async (request, response) => {
    const answer = await fetch(new URL(request.url ?? "/", target));
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "" });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return server;
}
