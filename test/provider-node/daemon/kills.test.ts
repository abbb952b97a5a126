import { readdirSync, readFileSync } from "node:fs";
import { type Claim, type JobId, jobMarketAbi, type Result } from "@berth/protocol";
import { expect } from "chai";
import { eventually } from "../../support/eventually.ts";
import { attemptOnMachine, WAITING } from "./attempt-on-machine.ts";
import { type MarketBench, type Matched, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { type NodeResults, resultsOf } from "./node-results.ts";
import { type RegisteredNode, registerNode } from "./registered-node.ts";

const [SETTLED, REFUNDED] = [6, 7];
/** Says which run it is by a file, so that a second run would leave a second file. */
const RUN_ONCE = [
  "/bin/sh",
  "-c",
  "echo hello; cat /proc/sys/kernel/random/uuid > /out/run-$$-$(cat /proc/uptime | tr -d ' .'); exit 3",
];
const ONCE: { command: string[]; idempotent: boolean } = { command: RUN_ONCE, idempotent: false };

/**
 * The node is killed with SIGKILL just before and just after every state is written. Before it, an effect is done and
 * unknown; after it, the next effect is only intended. In the end there is one result, gas was spent once, and nothing
 * of the attempt is left.
 */
describe("berth-node killed", function () {
  this.timeout(300_000);
  let bench: MarketBench;
  let registered: RegisteredNode;
  let flags: string[];
  let results: NodeResults;
  let node: NodeProcess;

  before(async () => {
    bench = await openMarketBench();
    registered = await registerNode(bench, "k", { "transactions.settle.holdSeconds": "0" });
    flags = registered.flags;
    results = resultsOf(bench, registered.url);
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
  });

  after(async () => {
    await node?.kill("SIGKILL");
    const cleaned = bench === undefined ? undefined : await berthNode([...(flags ?? []), "clean"]);
    await bench?.close();
    expect(cleaned?.code, cleaned?.stdout).to.equal(0);
    expect(readFileSync("/proc/mounts", "utf8")).to.not.include(registered.dataDir);
  });

  const states = "fetching prepared attested running exited collected published submitting submitted final cleaned";
  for (const state of states.split(" ")) {
    it(`before and after "${state}" ends a job once`, async () => {
      const spent = await startWith(`${state}:before`);
      const matched = await bench.match(ONCE, { request: { challengeWindow: 3600 } });
      if (state === "cleaned") await approve(matched);
      await diesAround(state);
      if (state !== "cleaned") await approve(matched);
      expect(await endedOnce(matched.jobId)).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 0 });
      expect(await spent()).to.equal(1);
    });
  }

  it("before a match takes the job up when it is back", async () => {
    const spent = await startWith();
    await bench.offer();
    await node.kill("SIGKILL");
    const matched = await bench.match(ONCE, { request: { challengeWindow: 3600 } });
    node = startNode(flags);
    await approve(matched);
    await endedOnce(matched.jobId);
    expect(await spent()).to.equal(1);
  });

  it("while its transaction is signed and sent sends that one, and no other", async () => {
    const spent = await startWith();
    const matched = await bench.match(ONCE, { request: { challengeWindow: 3600 } });
    await node.says(moved(`submit:${matched.jobId}`, "signed"));
    await node.kill("SIGKILL");
    node = startNode(flags);
    await approve(matched);
    await endedOnce(matched.jobId);
    expect(await spent()).to.equal(1);
  });

  it("around settling is paid once, by one transaction more", async () => {
    const spent = await startWith("settling:before");
    const { jobId } = await bench.match(ONCE, { request: { challengeWindow: 1 } });
    await diesAround("settling");
    await node.says(moved("finalize:", "signed"));
    await node.kill("SIGKILL");
    node = startNode(flags);
    await endedOnce(jobId);
    expect(await stateOf(jobId)).to.equal(SETTLED);
    expect(await spent()).to.equal(2);
  });

  it('before and after "retried" makes a lost run again, once', async () => {
    const spent = await startWith("retried:before");
    const matched = await bench.match({ command: WAITING, idempotent: true }, { request: { challengeWindow: 3600 } });
    const [first, second] = [0, 1].map((attempt) => attemptOnMachine(registered, matched.jobId, attempt));
    await first?.runs();
    process.kill(first?.monitor() ?? 0, "SIGKILL");
    await diesAround("retried");
    await second?.runs();
    await first?.gone();
    second?.letGo();
    await approve(matched);
    expect(await endedOnce(matched.jobId, 1)).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 1 });
    expect(await spent()).to.equal(1);
  });

  it('before and after "declined" gives a match back once', async () => {
    flags = [...registered.flags, "--set", `offers.deny=${bench.requester.address}`];
    try {
      const spent = await startWith("declined:before");
      const { jobId } = await bench.match(ONCE);
      await diesAround("declined");
      await over(jobId);
      expect(await stateOf(jobId)).to.equal(REFUNDED);
      expect(await bench.results(jobId)).to.deep.equal([]);
      expect(await spent()).to.equal(1);
    } finally {
      flags = registered.flags;
    }
  });

  // The last two, for they move the chain's time.
  it('before and after "cancelled" ends a job whose match is gone, and sends nothing', async () => {
    const spent = await startWith("cancelled:before");
    await bench.offer(Date.now());
    const snapshot = await bench.anvil.call("evm_snapshot");
    const { jobId } = await bench.match({ ...ONCE, command: WAITING });
    await attemptOnMachine(registered, jobId).runs();
    await bench.anvil.call("evm_revert", [snapshot]);
    await bench.anvil.call("anvil_mine", ["0x10"]);
    await node.says((line) => line.includes("chain reorganised"));
    await pass(200);
    await diesAround("cancelled");
    await over(jobId);
    expect(await spent()).to.equal(0);
  });

  it('before and after "expired" ends a job that is too late, and sends nothing', async () => {
    const spent = await startWith("expired:before");
    await bench.offer(Date.now());
    const { jobId } = await bench.match({ ...ONCE, command: WAITING });
    await attemptOnMachine(registered, jobId).runs();
    await pass(400);
    await diesAround("expired");
    await over(jobId);
    expect(await bench.results(jobId)).to.deep.equal([]);
    expect(await spent()).to.equal(0);
  });

  /** Starts the node, which kills itself at `fault`. Returns how many transactions its key has sent since. */
  async function startWith(fault?: string): Promise<() => Promise<number>> {
    node = startNode(flags, fault === undefined ? {} : { BERTH_FAULT_AT: fault });
    const address = (await node.ready)["key"] as `0x${string}`;
    const sent = () => bench.client.getTransactionCount({ address });
    const before = await sent();
    return async () => (await sent()) - before;
  }

  /** It was started to die before `state`, and then dies after it too; the third process lives. */
  async function diesAround(state: string): Promise<void> {
    expect(await node.ended).to.equal("SIGKILL");
    node = startNode(flags, { BERTH_FAULT_AT: `${state}:after` });
    expect(await node.ended).to.equal("SIGKILL");
    node = startNode(flags);
  }

  async function approve(matched: Matched): Promise<void> {
    await bench.approve(matched, await results.claimOf(matched.jobId));
  }

  /** There is one claim, and it is of one run; nothing of any attempt is left. */
  async function endedOnce(jobId: JobId, attempt = 0): Promise<Result> {
    const result = await results.resultOf(jobId);
    const runs = readdirSync(await results.outputsOf(result)).filter((file) => file.startsWith("run-"));
    expect(runs).to.have.length(1);
    await over(jobId, attempt);
    const claims: Claim[] = await bench.results(jobId);
    expect(claims).to.deep.equal([await results.claimOf(jobId)]);
    return result;
  }

  async function over(jobId: JobId, attempt = 0): Promise<void> {
    await eventually("the node is done with it", async () => (await results.phaseOf(jobId)) === "done", 120_000);
    for (let at = 0; at <= attempt; at++) await attemptOnMachine(registered, jobId, at).gone();
  }

  async function stateOf(jobId: JobId): Promise<number> {
    const market = { address: bench.deployment.market, abi: jobMarketAbi } as const;
    return (await bench.client.readContract({ ...market, functionName: "replicaOf", args: [jobId, 0] })).state;
  }

  async function pass(seconds: number): Promise<void> {
    await bench.anvil.call("evm_increaseTime", [seconds]);
    await bench.anvil.call("anvil_mine", ["0x4"]);
  }
});

/** The line that says what became of a transaction. */
function moved(key: string, to: string): (line: string) => boolean {
  return (line) => line.includes(`"key":"${key}`) && line.includes(`"to":"${to}"`);
}
