import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import {
  chargeOfDown,
  type Deployment,
  evidenceSchema,
  identityRegistryAbi,
  type JobId,
  jobMarketAbi,
  type Result,
  recoverResultSigner,
  replicaCommitment,
  traitsToMask,
} from "@berth/protocol";
import { expect } from "chai";
import { BUBBLEWRAP_POLICY } from "../../../provider-node/src/engine/bubblewrap-policy.ts";
import { policyHash } from "../../../provider-node/src/engine/sandbox-policy.ts";
import { freePort } from "../../../scripts/lib/free-port.ts";
import { eventually } from "../../support/eventually.ts";
import { type MarketBench, type Matched, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { type NodeResults, resultsOf } from "./node-results.ts";

/** Says which container it is by a file, so that a second run would leave a second file. */
const RUN_ONCE = [
  "/bin/sh",
  "-c",
  "echo hello; echo oops >&2; cat /proc/sys/kernel/random/uuid > /out/run-$$-$(cat /proc/uptime | tr -d ' .'); exit 3",
];

describe("berth-node", function () {
  this.timeout(100_000);
  let bench: MarketBench;
  let dataDir: string;
  let flags: string[];
  let url: string;
  let results: NodeResults;
  let node: NodeProcess | undefined;

  before(async () => {
    bench = await openMarketBench();
    dataDir = join(bench.dir, "node");
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    results = resultsOf(bench, url);
    flags = [
      ...["--data-dir", dataDir, "--rpc", bench.anvil.url, "--deployment", bench.deploymentFile],
      ...[
        "--operator",
        bench.operator.address,
        "--run-id",
        `t${(process.pid % 46656).toString(36)}`,
        "--port",
        String(port),
      ],
      ...["--indexer", bench.indexerUrl, "--token", bench.token, "--json"],
      ...Object.entries(settings(port)).flatMap(([path, value]) => ["--set", `${path}=${value}`]),
    ];
    const init = await berthNode([...flags, "init"]);
    expect(init.code, init.stdout + init.stderr).to.equal(0);
    await bench.fund(JSON.parse(init.stdout).key);
    await bench.mint(bench.operator.address, 10_000n);
    const key = ["--operator-key-file", bench.operatorKeyFile];
    const stake = await berthNode([...flags, "stake", "5000", ...key]);
    expect(JSON.parse(stake.stdout), stake.stdout + stake.stderr).to.deep.include({ free: "5000", locked: "0" });
    const register = await berthNode([...flags, "register", ...key]);
    expect(register.code, register.stdout + register.stderr).to.equal(0);
    expect(JSON.parse(register.stdout)).to.deep.include({
      contentUrl: url,
      did: `did:ethr:0x7a69:${bench.operator.address.toLowerCase()}`,
    });
  });

  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    node = undefined;
  });

  after(async () => {
    await node?.kill("SIGKILL");
    const cleaned = bench === undefined ? undefined : await berthNode([...flags, "clean"]);
    await bench?.close();
    expect(cleaned?.code, cleaned?.stdout).to.equal(0);
    expect(readFileSync("/proc/mounts", "utf8")).to.not.include(dataDir);
  });

  it("proves what it needs with doctor", async () => {
    const { code, stdout, stderr } = await berthNode([...flags, "doctor"]);
    const { checks, proven } = JSON.parse(stdout);
    expect(
      checks.filter(({ name, status }: Record<string, string>) => status !== "ok" && name !== "gVisor isolates"),
      stderr,
    ).to.deep.equal([]);
    const gvisor = spawnSync("runsc", ["--version"]).status === 0;
    expect(proven).to.deep.equal({ containers: true, mesh: true, gvisor, gpus: [], attestation: "none" });
    expect(code).to.equal(0);
  });

  it("runs a job from its match to a result that anyone can check", async () => {
    node = startNode(flags);
    const facts = await node.ready;
    expect(facts).to.deep.include({ ready: true, publicUrl: url, chainId: 31337 });
    expect(facts["meshAddress"]).to.match(/^fd/);
    expect((await fetch(`${url}/ready`)).status).to.equal(200);
    const unknown = await fetch(`${url}/jobs/0x${"0".repeat(64)}/0`);
    expect(await unknown.json()).to.deep.include({ status: 404, code: "JOB_UNKNOWN" });
    const matched = await bench.match({ command: RUN_ONCE });
    const claim = await results.claimOf(matched.jobId);
    const { terms } = matched;

    const args = [matched.jobId, 0] as const;
    const stored = await bench.client.readContract({
      address: bench.deployment.market,
      abi: jobMarketAbi,
      functionName: "replicaOf",
      args,
    });
    expect(stored.commitment).to.equal(replicaCommitment(terms, claim));
    const result = await results.resultOf(matched.jobId);
    expect(result).to.deep.include({
      outcome: "exited",
      exitCode: 3,
      attempt: 0,
      jobId: matched.jobId,
      evidence: null,
    });
    expect(await recoverResultSigner({ chainId: 31337, market: bench.deployment.market }, result)).to.equal(
      (
        await bench.client.readContract({
          address: bench.deployment.identity,
          abi: identityRegistryAbi,
          functionName: "nodeOf",
          args: [bench.operator.address, 0],
        })
      ).key,
    );
    expect(BigInt(result.charge)).to.equal(chargeOfDown(terms, Math.floor(result.usage.wallMs / 1000)));
    expect(await results.textOf(result.stdout?.cid)).to.equal("hello\n");
    expect(await results.textOf(result.stderr?.cid)).to.equal("oops\n");
    expect(await filesOf(result)).to.have.length(1);

    await eventually(
      "the node tells that it submitted",
      async () => (await results.phaseOf(matched.jobId)) === "submitted",
      30_000,
    );
    await bench.approve(matched, claim);
    await eventually(
      "the container is cleaned up",
      async () => (await results.phaseOf(matched.jobId)) === "done",
      30_000,
    );
    expect(
      existsSync(join(dataDir, "engine/attempts")) ? readdirSync(join(dataDir, "engine/attempts")) : [],
    ).to.deep.equal([]);
    expect(await results.textOf(result.stdout?.cid)).to.equal("hello\n");
  });

  it("lets a command run on while it is dead, and finds it again", async () => {
    node = startNode(flags);
    await node.ready;
    const matched = await bench.match({ command: ["/bin/sh", "-c", "echo begun; sleep 4; echo ended > /out/file"] });
    await eventually("the command runs", async () => (await results.phaseOf(matched.jobId)) === "running", 60_000);
    await node.kill("SIGKILL");
    node = startNode(flags);
    await results.claimOf(matched.jobId);
    const result = await results.resultOf(matched.jobId);
    expect(result).to.deep.include({ outcome: "exited", exitCode: 0, attempt: 0 });
    expect(result.usage.wallMs).to.be.greaterThan(3500);
    expect(await bench.results(matched.jobId)).to.have.length(1);
  });

  it("runs jobs in bubblewrap when its configuration says so", async () => {
    node = startNode([...flags, "--set", "engine=bubblewrap"]);
    await node.ready;
    const { jobId } = await bench.match({ command: RUN_ONCE });
    await results.claimOf(jobId);
    const result = await results.resultOf(jobId);
    const policy = policyHash(BUBBLEWRAP_POLICY);
    expect(result).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 0, policyHash: policy });
    expect(await results.textOf(result.stdout?.cid)).to.equal("hello\n");
    expect(await filesOf(result)).to.have.length(1);
  });

  it("is paid in the transaction of its result where nobody may challenge it", async () => {
    node = startNode(flags);
    await node.ready;
    const { jobId } = await bench.match({ command: ["/bin/true"] }, { request: { challengeWindow: 0 } });
    await results.claimOf(jobId);
    await eventually("the container is cleaned up", async () => (await results.phaseOf(jobId)) === "done", 30_000);
    const { stdout } = await berthNode([...flags, "status"]);
    const known = JSON.parse(stdout).jobs.find((job: { jobId: JobId }) => job.jobId === jobId);
    expect(known).to.deep.include({ chain: "settled", outcome: "exited" });
    expect(await bench.results(jobId)).to.have.length(1);
  });

  it("is registered once: what is in the registry and the market already is not sent again", async () => {
    const again = await berthNode([...flags, "register", "--operator-key-file", bench.operatorKeyFile]);
    const { transactions } = JSON.parse(again.stdout);
    expect(
      transactions.map(({ what }: { what: string }) => what),
      again.stderr,
    ).to.deep.equal(["publish node"]);
  });

  it("offers nothing, and says why, while its operator does not accept the token", async () => {
    await bench.accept(false);
    try {
      const { stdout } = await berthNode([...flags, "doctor"]);
      const { checks } = JSON.parse(stdout);
      const accepted = checks.find(({ name }: { name: string }) => name === "accepted");
      expect(accepted).to.deep.include({ status: "fail", without: "being matched" });
      const since = Date.now();
      node = startNode(flags);
      await node.ready;
      const running = node;
      const reason = `The operator does not accept ${bench.token} yet`;
      await eventually("it says why", async () => running.log().includes(reason), 30_000);
      expect(bench.hasOffer(since)).to.equal(false);
    } finally {
      await bench.accept(true);
    }
    await bench.offer(Date.now());
  });

  it("reports in its result why a job could not run, and earns the base charge", async () => {
    node = startNode(flags);
    await node.ready;
    const cases: { matched: Matched; outcome: string; message: RegExp }[] = [
      {
        matched: await bench.match({ network: { mode: "mesh" } }),
        outcome: "spec-invalid",
        message: /network mode "mesh" is not served/,
      },
      {
        matched: await bench.match({}, { request: { memoryMiB: 128 } }),
        outcome: "spec-invalid",
        message: /64 memoryMiB, but the request for 128/,
      },
      {
        matched: await bench.match({ timeouts: { startSeconds: 4, runSeconds: 60 }, inputs: [absentInput] }),
        outcome: "inputs-unavailable",
        message: /No source delivered/,
      },
      {
        matched: await bench.match({ image: { digest: `sha256:${"0".repeat(64)}`, cid: bench.imageCid } }),
        outcome: "image-mismatch",
        message: /0{64}/,
      },
    ];
    for (const { matched, outcome, message } of cases) {
      const claim = await results.claimOf(matched.jobId);
      const result = await results.resultOf(matched.jobId);
      expect(result.outcome).to.equal(outcome);
      expect(result.message).to.match(message);
      expect(claim.charge).to.equal(1000n);
      expect(result).to.deep.include({ startedAt: null, outputs: null, exitCode: null });
    }
  });

  it("reports a command or folder that is not in the image, too much memory, and too long a run", async () => {
    node = startNode(flags);
    await node.ready;
    const absent = await bench.match({ command: ["/no/such/program"] });
    const greedy = await bench.match({
      command: ["/bin/sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=200M count=1"],
    });
    const slow = await bench.match({ command: ["/bin/sleep", "60"], timeouts: { startSeconds: 60, runSeconds: 2 } });
    const lost = await bench.match({ command: ["/bin/true"], workdir: "/no/such/folder" });
    expect(await endOf(absent)).to.deep.include({ outcome: "exited", exitCode: 1 });
    expect(await endOf(lost)).to.deep.include({ outcome: "spec-invalid", charge: "1000" });
    expect(await endOf(greedy)).to.deep.include({ outcome: "out-of-memory", exitCode: null });
    expect(await endOf(slow)).to.deep.include({ outcome: "timed-out", exitCode: null });
    async function endOf({ jobId }: Matched) {
      await results.claimOf(jobId);
      return await results.resultOf(jobId);
    }
  });

  it("binds evidence to the replica before the run, and publishes it", async () => {
    const program = join(bench.dir, "attest.sh");
    writeFileSync(program, `#!/bin/sh\ncat > ${bench.dir}/asked; echo '{"format":"test/v1","evidence":"aGVsbG8="}'\n`, {
      mode: 0o755,
    });
    const attestation = JSON.stringify({ type: "exec", command: [program] });
    const since = Date.now();
    node = startNode([...flags, "--set", `attestation=${attestation}`]);
    await node.ready;
    await bench.offer(since);
    const traits = traitsToMask(["attest-exec"]);
    const { jobId } = await bench.match({ command: RUN_ONCE, attestation: "exec" }, { request: { traits } });
    await results.claimOf(jobId);
    const result = await results.resultOf(jobId);
    const evidence = evidenceSchema.parse(JSON.parse(await results.textOf(result.evidence ?? undefined)));
    expect(evidence).to.deep.include({ type: "exec", format: "test/v1" });
    expect(JSON.parse(readFileSync(join(bench.dir, "asked"), "utf8"))).to.deep.include({
      phase: "start",
      reportData: evidence.reportData,
      imageDigest: `0x${result.imageDigest?.slice("sha256:".length)}`,
    });
  });

  it("accepts a posted request by itself when told to", async () => {
    node = startNode([...flags, "--set", "acceptPosted=true"]);
    await node.ready;
    const { jobId } = await bench.post({ command: RUN_ONCE });
    await results.claimOf(jobId);
    expect(await results.resultOf(jobId)).to.deep.include({ outcome: "exited", exitCode: 3 });
  });

  it("refuses a second node on its data folder, a taken port and another node's folder", async () => {
    node = startNode(flags);
    await node.ready;
    const second = await berthNode([...flags, "start"]);
    expect(JSON.parse(second.stdout).error).to.deep.include({ code: "NODE_RUNNING" });
    expect(second.code).to.equal(1);
    await node.kill("SIGTERM");
    node = undefined;

    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(Number(new URL(url).port), "127.0.0.1", resolve));
    const busy = await berthNode([...flags, "start"]);
    await new Promise((resolve) => taken.close(resolve));
    expect(JSON.parse(busy.stdout).error).to.deep.include({ code: "PORT_TAKEN" });

    const stale = await berthNode([...flags, "--index", "1", "start"]);
    expect(JSON.parse(stale.stdout).error).to.deep.include({ code: "DATA_FOLDER_STALE" });
  });

  it("names a wrong chain, a market that is not there, and an RPC that does not answer", async () => {
    const fails = async (change: Partial<Deployment>, rpc = bench.anvil.url) => {
      const file = join(bench.dir, "other.json");
      writeFileSync(file, JSON.stringify({ ...bench.deployment, ...change }));
      const env = { BERTH_DEPLOYMENT: file, BERTH_NODE_RPC_URLS: rpc, BERTH_NODE_OPERATOR: bench.operator.address };
      const ran = await berthNode(["--data-dir", dataDir, "--json", "start"], env);
      expect(ran.code).to.equal(1);
      return JSON.parse(ran.stdout).error.code;
    };
    expect(await fails({ chainId: 1 })).to.equal("WRONG_CHAIN");
    expect(await fails({ market: bench.requester.address })).to.equal("NOT_DEPLOYED");
    expect(await fails({}, "http://127.0.0.1:9")).to.equal("RPC_UNAVAILABLE");
  });

  it("says what its journal knows", async () => {
    const { stdout } = await berthNode([...flags, "status"]);
    const answer = JSON.parse(stdout);
    expect(answer).to.deep.include({ running: false, dataDir });
    expect(answer.jobs.every(({ attempt }: { attempt: number }) => attempt === 0)).to.equal(true);
    expect(answer.jobs).to.not.have.length(0);
  });

  it("stops politely: no process, lock or interface is left, and jobs go on", async () => {
    node = startNode(flags);
    const { meshAddress } = await node.ready;
    expect(meshAddresses()).to.include(meshAddress);
    await node.kill("SIGTERM");
    expect(meshAddresses()).to.not.include(meshAddress);
    expect(existsSync(join(dataDir, "node.pid"))).to.equal(false);
  });

  const absentInput = { cid: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", path: "/in" };

  async function filesOf(result: Result): Promise<string[]> {
    return readdirSync(await results.outputsOf(result));
  }
});

function settings(port: number): Record<string, string> {
  return {
    pollMs: "100",
    confirmations: "1",
    "offers.cpuRateX18": "1000000000000000000",
    "offers.baseCharge": "1000",
    "offers.maxBond": "1000",
    "offers.refreshSeconds": "2",
    "offers.minSubmitMargin": "10",
    "offers.maxSettleSeconds": "3600",
    "offers.capacity": JSON.stringify({ cpuMilli: 2000, memoryMiB: 1024, diskMiB: 1024 }),
    "mesh.listenPort": String(port),
    "content.allowPrivateSources": "true",
  };
}

function meshAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
}
