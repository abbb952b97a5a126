import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fetchContent, openEmbeddedStore } from "@berth/content";
import {
  chargeOfDown,
  digestToCid,
  MODE,
  meshAddress,
  meshPrefix,
  meshSubnet,
  parseResult,
  type Result,
  recoverResultSigner,
  replicaCommitment,
} from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { getAddress, sha256 } from "viem";
import type { RunReport } from "../../client/src/actions/run-job.ts";
import { demoImage } from "../../scripts/demo-job/image.ts";
import { openAccounts } from "../../scripts/lib/accounts.ts";
import { pingOverMesh } from "../../scripts/lib/mesh-check.ts";
import {
  berth,
  type Ended,
  identityContract,
  imageCache,
  logsOf,
  type Market,
  type Matched,
  marketContract,
  moneyOf,
  nextMatch,
  openMarket,
  replicaOf,
  states,
  untilPhase,
  useOf,
} from "../support/e2e.ts";
import { inspectRunning, leftOf, statusOf, tracesOfMarket, wireGuardOf } from "../support/e2e-host.ts";

const requester = openAccounts.requester.address;
const MIB = 1024 * 1024;
const [WIDTH, HEIGHT, ITERATIONS] = [640, 480, 12_000]; // some seconds of work: long enough to look at it
const MEMORY_MIB = 256;
const MAX_SECONDS = 120;

describe("a job, seen from outside", function () {
  this.timeout(300_000);
  let market: Market | undefined;
  let seen: Seen;

  before(async () => {
    market = await openMarket();
    seen = await runAndWatch(market).catch(async (error: unknown) => {
      throw new Error(market === undefined ? "no devnet" : await logsOf(market), { cause: error });
    });
  });
  after(() => market?.close());

  describe("while it runs", () => {
    it("has what the requester ordered on chain, word for word", () => {
      const { terms, jobId } = seen.matched;
      const asked = { mode: MODE.batch, replicas: 1, memoryMiB: MEMORY_MIB, maxSeconds: MAX_SECONDS, cpuMilli: 1000 };
      expect(terms.job).to.include({
        jobId,
        requester,
        payer: requester,
        token: getAddress(market?.token ?? "0x"),
        ...asked,
      });
      expect(seen.report.jobId).to.equal(jobId);
    });

    it("is a replica that commits to what request and offer came to", () => {
      const { commitment, state, lastAt } = seen.running.replica;
      expect({ state, lastAt }).to.deep.equal({ state: states.active, lastAt: 0 });
      expect(commitment).to.equal(replicaCommitment(seen.matched.terms));
    });

    it("holds the deposit, the bond and the node's capacity", () => {
      const { deposit, terms } = seen.matched;
      const { job } = terms;
      const { operator, requester: payer, use } = seen.running;
      expect(seen.before.requester.wallet - payer.wallet - payer.balance).to.equal(deposit);
      expect(Number(job.bond)).to.be.greaterThan(0);
      expect(operator.locked).to.equal(job.bond);
      expect(operator.free).to.equal(seen.before.operator.free - job.bond);
      const { active, cpuMilli, memoryMiB, diskMiB, gpus } = use;
      expect({ active, cpuMilli, memoryMiB, diskMiB, gpus }).to.deep.equal({
        active: 1,
        cpuMilli: job.cpuMilli,
        memoryMiB: job.memoryMiB,
        diskMiB: job.diskMiB,
        gpus: 0,
      });
    });

    it("runs the image of the digest that was ordered, in a locked sandbox", () => {
      const { container } = seen.running;
      const { HostConfig: host } = container;
      expect(container.ImageDigest).to.equal(seen.imageDigest);
      expect(container.State.Status).to.equal("running");
      expect(container.EffectiveCaps ?? []).to.deep.equal([]);
      expect(host.CapAdd).to.deep.equal([]);
      expect(host.Privileged).to.equal(false);
      expect(host.SecurityOpt).to.include("no-new-privileges");
      expect(host.ReadonlyRootfs).to.equal(true);
      expect(host.NetworkMode).to.equal("none");
      expect(host.Memory).to.equal(MEMORY_MIB * MIB);
      expect(host.MemorySwap).to.equal(MEMORY_MIB * MIB);
      expect(host.NanoCpus).to.equal(1_000_000_000);
      expect(host.PidsLimit).to.equal(512);
      expect(host.IDMappings).to.deep.equal({ UidMap: ["0:100000:65536"], GidMap: ["0:100000:65536"] });
      expect(["", "no"]).to.include(host.RestartPolicy.Name);
      expect(container.Mounts.filter(({ RW }) => RW).map(({ Destination }) => Destination)).to.deep.equal(["/out"]);
    });

    it("is held by the kernel to what podman says", () => {
      expect(seen.running.process).to.deep.equal({
        uid: "100000",
        capabilities: "0000000000000000",
        noNewPrivileges: "1",
        seccomp: "2",
        interfaces: ["lo"],
      });
    });

    it("is meshed: keys from the registry, addresses from the DID, each node the other's peer", async () => {
      for (const { registered, mesh, derived, other } of seen.mesh) {
        expect(registered.prefix).to.equal(derived);
        expect(`0x${Buffer.from(mesh.publicKey, "base64").toString("hex")}`).to.equal(registered.wgKey);
        expect(mesh.addresses).to.deep.equal([`${meshAddress(derived)}/64`]);
        expect(mesh.peers.map(({ publicKey }) => publicKey)).to.deep.equal([other.mesh.publicKey]);
        expect(mesh.peers.map(({ allowedIps }) => allowedIps)).to.deep.equal([meshSubnet(other.derived)]);
        expect(mesh.peers[0]?.handshakeAt).to.be.greaterThan(0);
      }
      expect(new Set(seen.mesh.map(({ derived }) => derived)).size).to.equal(2);
      expect(seen.pings.map(({ from, to }) => `${from} ${to}`)).to.deep.equal(["node 0 node 1", "node 1 node 0"]);
    });
  });

  describe("when it has ended", () => {
    it("gave the picture and the table", async () => {
      expect(seen.ended.exitCode, seen.ended.stderr).to.equal(0);
      expect((await readdir(seen.out)).sort()).to.deep.equal(["mandelbrot.png", "rows.csv"]);
      const picture = await readFile(join(seen.out, "mandelbrot.png"));
      expect(picture.subarray(0, 8).toString("hex")).to.equal("89504e470d0a1a0a");
      expect(picture.toString("latin1", 12, 16)).to.equal("IHDR");
      expect([picture.readUInt32BE(16), picture.readUInt32BE(20)]).to.deep.equal([WIDTH, HEIGHT]);
      const [head, ...rows] = (await readFile(join(seen.out, "rows.csv"), "utf8")).trimEnd().split("\n");
      expect(head).to.equal("row,inside,mean_escape");
      expect(rows.map((row) => Number(row.split(",")[0]))).to.deep.equal(rows.map((_, at) => at));
      expect(rows).to.have.length(HEIGHT);
      const inside = rows.reduce((sum, row) => sum + Number(row.split(",")[1]), 0);
      const area = (inside / (WIDTH * HEIGHT)) * 3 * ((3 * HEIGHT) / WIDTH);
      expect(area).to.be.within(1.5, 1.52); // the Mandelbrot set has an area of 1.5065…
    });

    it("has its result on chain: one hash of terms and claim, nothing else", () => {
      const { claim, after, matched } = seen;
      expect(after.replica.state).to.equal(states.settled);
      expect(after.replica.commitment).to.equal(replicaCommitment(matched.terms, claim));
      expect(claim.resultHash).to.equal(sha256(seen.recordBytes));
      expect(claim.resultBytes).to.equal(BigInt(seen.recordBytes.length));
    });

    it("is fetched by CID with an empty store from the node's gateway alone, down to the same bytes", async () => {
      const { record, matched } = seen;
      const domain = { chainId: market?.devnet.deployment.chainId ?? 0, market: record.market };
      expect(record).to.include({ jobId: matched.jobId, outcome: "exited", exitCode: 0, attempt: 0, replica: 0 });
      expect(record.imageDigest).to.equal(seen.imageDigest);
      expect((await recoverResultSigner(domain, record)).toLowerCase()).to.equal(matched.node.hotKey.toLowerCase());
      for (const name of ["mandelbrot.png", "rows.csv"]) {
        const [mine, theirs] = await Promise.all(
          [seen.fetchedOutputs, seen.out].map((folder) => readFile(join(folder, name))),
        );
        expect(Buffer.compare(mine ?? Buffer.of(0), theirs ?? Buffer.of(1)), name).to.equal(0);
      }
      expect(seen.fetchedStdout).to.match(
        /^mandelbrot 640x480, 12000 iterations\n(progress \d+%\n){10}area of the set/,
      );
    });

    it("paid the operator its charge and gave the requester the rest; bond and capacity are free again", () => {
      const { before, after, claim, record } = seen;
      const seconds = Math.floor(record.usage.wallMs / 1000);
      expect(seconds).to.be.greaterThan(0);
      expect(claim.charge).to.equal(chargeOfDown(seen.matched.terms, seconds));
      expect(claim.charge < seen.matched.deposit).to.equal(true);
      const worth = ({ wallet, balance }: Seen["after"]["requester"]) => wallet + balance;
      expect(worth(before.requester) - worth(after.requester)).to.equal(claim.charge);
      expect(worth(after.operator) - worth(before.operator)).to.equal(claim.charge);
      expect(after.operator.locked).to.equal(0n);
      expect(after.operator.free).to.equal(before.operator.free);
      const { active, cpuMilli, memoryMiB, diskMiB, gpus } = after.use;
      expect([active, cpuMilli, memoryMiB, diskMiB, gpus]).to.deep.equal([0, 0, 0, 0, 0]);
    });

    it("settled at once by approval; nobody moved the clock", () => {
      const { matchedAt, settledAt, wallSkewSeconds } = seen.times;
      expect(settledAt - matchedAt).to.be.lessThan(MAX_SECONDS);
      expect(seen.matched.terms.job.challengeWindow).to.be.greaterThan(settledAt - matchedAt);
      expect(Math.abs(wallSkewSeconds)).to.be.lessThan(10);
    });

    it("was verified step by step, with evidence that is called software", () => {
      const { ok, checks } = seen.report.verification;
      expect(ok).to.equal(true);
      expect(checks.filter((check) => !check.ok)).to.deep.equal([]);
      const names = [
        "job id",
        "terms",
        "commitment",
        "result record",
        "spec",
        "node signature",
        "outputs",
        "logs",
        "charge",
      ];
      expect(checks.map(({ name }) => name)).to.include.members([...names, "evidence"]);
      expect(checks.find(({ name }) => name === "evidence")?.detail).to.match(/software TPM/);
      expect(seen.record.evidence).to.be.a("string");
    });

    it("tells what each transaction cost, as the chain does", async () => {
      expect(seen.report.transactions.map(({ what }) => what)).to.deep.equal(["deposit", "match", "submit", "approve"]);
      for (const { what, hash, gasUsed } of seen.report.transactions) {
        const receipt = await market?.reader.getTransactionReceipt({ hash: hash as `0x${string}` });
        expect(receipt?.status, what).to.equal("success");
        expect(String(gasUsed), what).to.equal(String(receipt?.gasUsed));
      }
      expect(seen.report.phases.every(({ seconds }) => seconds >= 0)).to.equal(true);
      expect(seen.report.phases.map(({ name }) => name)).to.include.members(["image", "match", "verify", "approve"]);
    });

    it("is taken for unverified by whoever trusts no authority", async () => {
      if (market === undefined) throw new Error("no devnet");
      const nobody = join(market.folder, "nobody.json");
      await writeFile(nobody, "[]");
      const ended = await berth(market, "--tpm-authority", nobody, "verify", seen.matched.jobId);
      expect(ended.exitCode).to.equal(7);
      const { checks } = ended.json as RunReport["verification"];
      expect(checks.filter((check) => !check.ok).map(({ name }) => name)).to.deep.equal(["evidence"]);
    });
  });

  describe("when the devnet stops", () => {
    it("leaves nothing on the machine", async () => {
      if (market === undefined) throw new Error("no devnet");
      const traces = tracesOfMarket(market);
      expect(traces.processes.length).to.be.at.least(6); // chain, indexer, two nodes, two TPMs, and the mesh's daemons
      expect(traces.namespaces).to.have.length(2);
      await market.close();
      expect(await leftOf(traces)).to.deep.equal([]);
    });
  });
});

type Seen = Awaited<ReturnType<typeof runAndWatch>>;

/** Orders the job with `berth run`, and looks at everything from outside while it runs and after it. */
async function runAndWatch(market: Market) {
  const { devnet, reader } = market;
  const image = await demoImage(imageCache);
  const block = await reader.getBlockNumber();
  const before = { requester: await moneyOf(market, requester), operators: await operatorsMoney(market) };
  const out = join(market.folder, "picture");
  const running = berth(
    market,
    "run",
    `oci:${image.dir}`,
    ...["--yes", "--out", out, "--memory", String(MEMORY_MIB), "--max-seconds", String(MAX_SECONDS)],
    ...["--attest", "tpm2", "--", String(WIDTH), String(HEIGHT), String(ITERATIONS)],
  );
  const pings = await pingOverMesh(devnet);
  const matched = await nextMatch(market, block + 1n, running);
  await untilPhase(matched.node, matched.jobId, "running");
  const during = await lookWhileRunning(market, matched);
  const mesh = await lookAtMesh(market);
  const ended = await running;
  const report = ended.json as RunReport;
  if (ended.exitCode !== 0) throw new Error(`\`berth run\` ended with ${ended.exitCode}:\n${ended.stderr}`);
  const operator = before.operators.get(matched.node.operator.address);
  if (operator === undefined) throw new Error("no money noted of the operator");
  return {
    matched,
    report,
    out,
    pings,
    mesh: mesh.map((one, at) => ({ ...one, other: mesh[1 - at] ?? one })),
    ended: ended satisfies Ended,
    imageDigest: image.digest,
    before: { requester: before.requester, operator },
    running: during,
    after: {
      requester: await moneyOf(market, requester),
      operator: await moneyOf(market, matched.node.operator.address),
      replica: await replicaOf(market, matched.jobId),
      use: await useOf(market, matched.node),
    },
    ...(await readChain(market, matched)),
    ...(await fetchWithEmptyStore(market, matched)),
  };
}

async function operatorsMoney(market: Market) {
  const all = market.devnet.nodes.map(
    async ({ operator }) => [operator.address, await moneyOf(market, operator.address)] as const,
  );
  return new Map(await Promise.all(all));
}

async function lookWhileRunning(market: Market, { node, jobId }: Matched) {
  const container = await inspectRunning(node.dataDir, jobId);
  const { Pid: pid } = container.State;
  const interfaces = (await readFile(`/proc/${pid}/net/dev`, "utf8")).matchAll(/^\s*(\S+):/gm);
  return {
    container,
    process: {
      uid: statusOf(pid, "Uid")?.split("\t")[0],
      capabilities: statusOf(pid, "CapEff"),
      noNewPrivileges: statusOf(pid, "NoNewPrivs"),
      seccomp: statusOf(pid, "Seccomp"),
      interfaces: [...interfaces].flatMap(([, name]) => name ?? []),
    },
    replica: await replicaOf(market, jobId),
    operator: await moneyOf(market, node.operator.address),
    requester: await moneyOf(market, requester),
    use: await useOf(market, node),
  };
}

/** Registry, derivation and WireGuard of each node, each asked for itself. */
async function lookAtMesh(market: Market) {
  const { chainId, identity: registry } = market.devnet.deployment;
  return await Promise.all(
    market.devnet.nodes.map(async ({ operator, host }) => {
      const args = [operator.address, 0] as const;
      const registered = await market.reader.readContract({
        ...identityContract(market),
        functionName: "nodeOf",
        args,
      });
      const derived = meshPrefix({ chainId, registry, operator: operator.address, index: 0, salt: 0n });
      return { registered, derived, mesh: await wireGuardOf(host.namespace) };
    }),
  );
}

async function readChain(market: Market, { jobId }: Matched) {
  const { reader } = market;
  const from = { ...marketContract(market), fromBlock: 0n } as const;
  const [submitted] = await reader.getContractEvents({ ...from, eventName: "ResultSubmitted", args: { jobId } });
  const [replica] = await reader.getContractEvents({ ...from, eventName: "ReplicaMatched", args: { jobId } });
  const [settled] = await reader.getContractEvents({ ...from, eventName: "ReplicaSettled", args: { jobId } });
  const { claim } = submitted?.args ?? {};
  if (claim === undefined || settled === undefined || replica === undefined) throw new Error("an event is missing");
  const timeOf = async (blockNumber: bigint) => Number((await reader.getBlock({ blockNumber })).timestamp);
  const head = await reader.getBlock();
  return {
    claim,
    times: {
      matchedAt: await timeOf(replica.blockNumber),
      settledAt: await timeOf(settled.blockNumber),
      wallSkewSeconds: Number(head.timestamp) - Math.floor(Date.now() / 1000),
    },
  };
}

/** Reads record, outputs and log with nothing but the claim on chain and the node's address in the registry. */
async function fetchWithEmptyStore(market: Market, { jobId, node }: Matched) {
  const { claim } = await readChain(market, { jobId, node } as Matched);
  const dir = await mkdtemp(join(tmpdir(), "berth-e2e-store-"));
  const store = await openEmbeddedStore({ dir });
  try {
    const options = { sources: [node.url], store, maxBytes: 64 * MIB, log: pino({ level: "silent" }) };
    const recordCid = digestToCid(claim.resultHash);
    await fetchContent(recordCid, options);
    const recordBytes = await store.getBytes(recordCid, { maxBytes: MIB });
    const record: Result = parseResult(JSON.parse(Buffer.from(recordBytes).toString()));
    if (record.outputs === null || record.stdout === null) throw new Error("the record names no outputs");
    await fetchContent(record.outputs.cid, options);
    await fetchContent(record.stdout.cid, options);
    const fetchedOutputs = join(market.folder, "fetched");
    await store.exportTo(record.outputs.cid, fetchedOutputs, { maxBytes: 64 * MIB });
    const stdout = await store.getBytes(record.stdout.cid, { maxBytes: MIB });
    return { recordBytes, record, fetchedOutputs, fetchedStdout: Buffer.from(stdout).toString() };
  } finally {
    await store.close();
    await rm(dir, { recursive: true, force: true });
  }
}
