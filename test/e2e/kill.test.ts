import { digestToCid, identityRegistryAbi, parseResult, type Result } from "@berth/protocol";
import { expect } from "chai";
import { createWalletClient, http } from "viem";
import type { RunReport } from "../../client/src/actions/run-job.ts";
import { busyboxImage } from "../../scripts/demo-job/image.ts";
import { untilReady } from "../../scripts/lib/children.ts";
import { waitFor, waitForHttp } from "../../scripts/lib/wait.ts";
import {
  berth,
  childOf,
  imageCache,
  kill9,
  logsOf,
  type Market,
  type Matched,
  marketContract,
  nextMatch,
  openMarket,
  replicaOf,
  startAgain,
  states,
  untilPhase,
  useOf,
} from "../support/e2e.ts";
import { inspectJob, inspectRunning, isRunning, wireGuardOf } from "../support/e2e-host.ts";

/** Prints what only one process can know, so that a second start would show. */
const ONCE = "cat /proc/sys/kernel/random/uuid; date +%s%N > /out/started; sleep 6; echo done > /out/done";

describe("kill -9", function () {
  this.timeout(300_000);
  let market: Market;
  let image: { dir: string };

  before(async () => {
    [market, image] = await Promise.all([openMarket(), busyboxImage(imageCache)]);
  });
  after(() => market?.close());

  /** Orders a job and waits until a node runs it. */
  const startJob = async (script: string) => {
    const block = await market.reader.getBlockNumber();
    const args = ["--yes", "--max-seconds", "60", "--", "sh", "-c", script];
    const ended = berth(market, "run", `oci:${image.dir}`, ...args);
    const matched = await nextMatch(market, block + 1n, ended);
    await untilPhase(matched.node, matched.jobId, "running");
    return { ...matched, ended };
  };

  describe("of a node while its job runs", () => {
    let killed: Awaited<ReturnType<typeof killAndRestart>>;
    before(async () => {
      killed = await killAndRestart();
    });

    it("leaves the container running, and the next start takes it up: the same container, started once", () => {
      const { before, between, after } = killed;
      expect(between).to.equal(true); // the container lived while no node did
      expect(after.Id).to.equal(before.Id);
      expect(after.State.StartedAt).to.equal(before.State.StartedAt);
    });

    it("gives the requester a verified result of one run", async () => {
      const { ended, record } = killed;
      expect(ended.exitCode, `${ended.stderr}\n${await logsOf(market)}`).to.equal(0);
      const { replicas, verification } = ended.json as RunReport;
      expect(verification.ok).to.equal(true);
      expect(replicas).to.have.length(1);
      expect(replicas[0]).to.include({ outcome: "exited", exitCode: 0, state: "settled" });
      expect(record.attempt).to.equal(0);
      expect(record.usage.wallMs).to.be.within(6000, 30_000);
      const { json } = await berth(market, "logs", record.jobId);
      expect((json as { stdout: string }).stdout).to.match(/^[0-9a-f]{8}-[0-9a-f-]{27}$/); // one line, so one start
    });

    it("submits one result, in one transaction of the node's key", async () => {
      const { jobId, node } = killed;
      const events = { ...marketContract(market), fromBlock: 0n, args: { jobId } } as const;
      const submitted = await market.reader.getContractEvents({ ...events, eventName: "ResultSubmitted" });
      expect(submitted).to.have.length(1);
      expect(await market.reader.getTransactionCount({ address: node.hotKey })).to.equal(1);
      expect((await replicaOf(market, jobId)).state).to.equal(states.settled);
      expect((await useOf(market, node)).active).to.equal(0);
    });

    async function killAndRestart() {
      const { ended: running, node, jobId } = await startJob(ONCE);
      const before = await inspectRunning(node.dataDir, jobId);
      await kill9(childOf(market, `node ${node.number}`));
      const between = isRunning(before.State.Pid);
      market.devnet.children.push(await node.start());
      const after = await inspectJob(node.dataDir, jobId);
      const ended = await running;
      return { jobId, node, before, between, after, ended, record: await recordOf({ jobId, node }) };
    }

    async function recordOf({ jobId, node }: Pick<Matched, "jobId" | "node">): Promise<Result> {
      const [submitted] = await market.reader.getContractEvents({
        ...marketContract(market),
        fromBlock: 0n,
        eventName: "ResultSubmitted",
        args: { jobId },
      });
      const cid = digestToCid(submitted?.args.claim?.resultHash ?? "0x");
      const answer = await fetch(`${node.url}/ipfs/${cid}?format=raw`);
      return parseResult(await answer.json());
    }
  });

  describe("of the indexer", () => {
    it("loses neither offers nor jobs, and goes on matching", async () => {
      const { indexerUrl } = market.devnet;
      const jobsBefore = await items(`${indexerUrl}/jobs`);
      const nodesBefore = await items(`${indexerUrl}/nodes`);
      const indexer = childOf(market, "indexer");
      await kill9(indexer);
      const again = await startAgain(market, indexer);
      await untilReady(again, waitForHttp(`${indexerUrl}/ready`));

      expect(jobsBefore).to.have.length.above(0);
      expect(await items(`${indexerUrl}/jobs`)).to.deep.equal(jobsBefore);
      expect(await items(`${indexerUrl}/nodes`)).to.deep.equal(nodesBefore);
      await waitFor("the offers of both nodes", async () => {
        const offers = await items(`${indexerUrl}/offers`);
        const operators = new Set(offers.map(({ offer }) => (offer as { operator: string }).operator));
        return operators.size === 2 ? true : undefined;
      });
      const { exitCode, stderr } = await berth(market, "run", `oci:${image.dir}`, "--yes", "--", "true");
      expect(exitCode, stderr).to.equal(0);
    });

    it("while a job runs changes nothing for the job", async () => {
      const { ended, jobId } = await startJob("sleep 4; echo fine");
      const indexer = childOf(market, "indexer");
      await kill9(indexer);
      const state = await waitFor("the result on chain", async () => {
        const { state } = await replicaOf(market, jobId);
        return state >= states.submitted ? state : undefined;
      });
      expect([states.submitted, states.settled]).to.include(state); // without an indexer
      const again = await startAgain(market, indexer);
      await untilReady(again, waitForHttp(`${market.devnet.indexerUrl}/ready`));
      const { exitCode, stderr } = await ended;
      expect(exitCode, stderr).to.equal(0);
    });
  });

  describe("of a node in the mesh", () => {
    it("brings it back as the same peer, and revoking it takes it out of the others' meshes", async () => {
      const [staying, leaving] = market.devnet.nodes;
      if (staying === undefined || leaving === undefined) throw new Error("two nodes");
      const before = await wireGuardOf(leaving.host.namespace);
      await kill9(childOf(market, `node ${leaving.number}`));
      market.devnet.children.push(await leaving.start());
      const after = await wireGuardOf(leaving.host.namespace);
      expect(after.publicKey).to.equal(before.publicKey);
      expect(after.addresses).to.deep.equal(before.addresses);
      expect(after.interfaceName).to.equal(before.interfaceName);

      const [subnet] = before.addresses.map((address) => address.replace(/1\/64$/, "/64"));
      expect((await wireGuardOf(staying.host.namespace)).routes).to.include(subnet);
      const peersOf = async () => (await wireGuardOf(staying.host.namespace)).peers.map(({ publicKey }) => publicKey);
      expect(await peersOf()).to.deep.equal([before.publicKey]);
      await revoke(leaving);
      await waitFor("the peer's end", async () => ((await peersOf()).length === 0 ? true : undefined));
      expect((await wireGuardOf(staying.host.namespace)).routes).not.to.include(subnet);
    });

    async function revoke({ operator }: Market["devnet"]["nodes"][number]): Promise<void> {
      const { chain } = market.reader;
      const wallet = createWalletClient({ chain, transport: http(market.devnet.rpcUrl), account: operator.account });
      const hash = await wallet.writeContract({
        chain: chain ?? null,
        address: market.devnet.deployment.identity,
        abi: identityRegistryAbi,
        functionName: "revokeNode",
        args: [operator.address, 0],
      });
      const receipt = await market.reader.waitForTransactionReceipt({ hash });
      expect(receipt.status).to.equal("success");
    }
  });
});

async function items(url: string): Promise<Record<string, unknown>[]> {
  const answer = await fetch(url);
  return ((await answer.json()) as { items: Record<string, unknown>[] }).items;
}
