import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { openEmbeddedStore, startGateway } from "@berth/content";
import { chargeOfDown, type JobId } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import type { RunReport } from "../../client/src/actions/run-job.ts";
import { busyboxImage } from "../../scripts/demo-job/image.ts";
import {
  berth,
  childOf,
  type Ended,
  errorOf,
  imageCache,
  kill9,
  logsOf,
  type Market,
  marketContract,
  moneyOf,
  openMarket,
  program,
  replicaOf,
  scripts,
  states,
  termsOfMatch,
} from "../support/e2e.ts";

const log = pino({ level: "silent" });

describe("what goes wrong is told, with what to do", function () {
  this.timeout(300_000);
  let market: Market;
  let image: { dir: string; digest: string };
  const run = (...args: string[]) => berth(market, "run", ...args);

  before(async () => {
    [market, image] = await Promise.all([openMarket(), busyboxImage(imageCache)]);
  });
  after(() => market?.close());

  /** Exit code, error code, sentence and hint; nothing was paid, and nobody sees a stack. */
  const expectRefusal = (ended: Ended, wanted: { exit: number; code: string; message: RegExp; hint: RegExp }) => {
    const { code, message, hint = "" } = errorOf(ended);
    expect({ exit: ended.exitCode, code }, ended.stderr).to.deep.equal({ exit: wanted.exit, code: wanted.code });
    expect(message).to.match(wanted.message);
    expect(hint).to.match(wanted.hint);
    expect(ended.stderr).to.include(message);
    expect(ended.stderr).not.to.match(/^\s+at .+:\d+:\d+\)?$/m);
  };

  describe("before money moves", () => {
    it("a changed manifest is not the image that its digest names", async () => {
      const dir = join(market.folder, "changed");
      await cp(image.dir, dir, { recursive: true });
      const manifest = join(dir, "blobs", "sha256", image.digest.slice("sha256:".length));
      await writeFile(manifest, `${await readFile(manifest, "utf8")} `);
      expectRefusal(await run(`oci:${dir}`, "--yes", "--", "true"), {
        exit: 2,
        code: "IMAGE_DIGEST_MISMATCH",
        message: new RegExp(image.digest),
        hint: /./,
      });
    });

    it("an image fetched by CID must have the digest that was asked for", async () => {
      const store = await openEmbeddedStore({ dir: join(market.folder, "shelf") });
      const gateway = await startGateway({ store, host: "127.0.0.1", port: 0, log });
      try {
        const { cid } = await store.addPath(image.dir);
        const wrong = `sha256:${"5".repeat(64)}`;
        const ended = await run(`ipfs:${cid}@${wrong}`, "--yes", "--content-gateway", gateway.url, "--", "true");
        expectRefusal(ended, {
          exit: 2,
          code: "IMAGE_BLOB_MISSING",
          message: new RegExp(`lacks its manifest ${wrong}`),
          hint: /check that the digest/,
        });
      } finally {
        await gateway.close();
        await store.close();
      }
    });

    it("a tag is no digest", async () => {
      expectRefusal(await run("docker.io/library/alpine:latest", "--yes"), {
        exit: 2,
        code: "IMAGE_REFERENCE_REFUSED",
        message: /alpine:latest/,
        hint: /skopeo copy/,
      });
    });

    it("a spec with an unknown field is named by that field", async () => {
      const file = join(market.folder, "spec.json");
      await writeFile(file, JSON.stringify({ ...spec(image.digest), colour: "blue" }));
      expectRefusal(await run("--spec", file, "--yes"), {
        exit: 2,
        code: "SPEC_INVALID",
        message: /colour/,
        hint: /./,
      });
    });

    it("an account without tokens is told what it has and what it needs", async () => {
      const keyFile = join(market.folder, "poor.key");
      const key = generatePrivateKey();
      await writeFile(keyFile, key, { mode: 0o600 });
      const ended = await run(`oci:${image.dir}`, "--yes", "--key-file", keyFile, "--", "true");
      expectRefusal(ended, {
        exit: 4,
        code: "FUNDS_TOO_LOW",
        message: /have 0 tUSD in the market and 0 tUSD in the wallet, need 0\.\d+ tUSD/,
        hint: new RegExp(privateKeyToAccount(key).address, "i"),
      });
    });

    it("memory that nobody offers is explained with the numbers", async () => {
      expectRefusal(await run(`oci:${image.dir}`, "--yes", "--memory", "200000", "--", "true"), {
        exit: 3,
        code: "NO_OFFER_FITS",
        message: /2 offers, 0 fit: 2 have less memory than 200000 MiB \(largest 2048\)/,
        hint: /Ask for less/,
      });
    });

    it("a price limit below every offer is told with the cheapest price", async () => {
      expectRefusal(await run(`oci:${image.dir}`, "--yes", "--max-price", "0.000001", "--", "true"), {
        exit: 3,
        code: "NO_OFFER_FITS",
        message: /the cheapest costs 0\.\d+ tUSD, but at most 0\.000001 tUSD may be paid/,
        hint: /--max-price/,
      });
    });

    it("a deployment of another chain is not this chain", async () => {
      const file = await deploymentWith({ chainId: 99 });
      expectRefusal(await run(`oci:${image.dir}`, "--yes", "--deployment", file, "--", "true"), {
        exit: 5,
        code: "WRONG_CHAIN",
        message: /31337.*99|99.*31337/,
        hint: /./,
      });
    });

    it("a stale deployment, whose market is not there, is found out", async () => {
      const gone = "0x00000000000000000000000000000000000b0a75";
      const file = await deploymentWith({ market: gone });
      expectRefusal(await run(`oci:${image.dir}`, "--yes", "--deployment", file, "--", "true"), {
        exit: 5,
        code: "NOT_DEPLOYED",
        message: new RegExp(gone),
        hint: /./,
      });
    });

    after("nothing was paid for any of these", async () => {
      const matched = await market.reader.getContractEvents({
        ...marketContract(market),
        eventName: "JobMatched",
        fromBlock: 0n,
      });
      const deposited = await market.reader.getContractEvents({
        ...marketContract(market),
        eventName: "Deposited",
        fromBlock: 0n,
      });
      expect([matched, deposited]).to.deep.equal([[], []]);
    });
  });

  describe("when the job itself goes wrong, the provider is paid", () => {
    it("a job over its time is stopped, and its seconds are charged", async () => {
      const seconds = 3;
      const { ended, report, paid, earned } = await ordered("--max-seconds", String(seconds), "--", "sleep", "600");
      expect(ended.exitCode, ended.stderr).to.equal(1);
      expect(report.replicas).to.have.length(1);
      expect(report.replicas[0]).to.include({ outcome: "timed-out", exitCode: null, state: "settled" });
      expect(report.verification.ok).to.equal(true);
      expect([earned(seconds - 1), earned(seconds)]).to.include(paid); // whole seconds, of a run a little under or over
      expect(ended.stderr).to.match(/timed-out/);
    });

    it("a job that fails gives its exit code as the result", async () => {
      const { ended, report, paid, earned, out } = await ordered(
        ...["--", "sh", "-c", "echo half > /out/part; echo broken >&2; sleep 1.2; exit 3"],
      );
      expect(ended.exitCode, ended.stderr).to.equal(1);
      expect(report.replicas[0]).to.include({ outcome: "exited", exitCode: 3, state: "settled" });
      expect(report.verification.ok).to.equal(true);
      expect(paid).to.equal(earned(1));
      expect(await readFile(join(out, "part"), "utf8")).to.equal("half\n");
      const logs = await berth(market, "logs", "--stderr", report.jobId);
      expect(logs.json).to.deep.equal({ stderr: "broken", truncated: false });
    });

    it("a job that takes more memory than it paid for is killed, and says so", async () => {
      const { ended, report, paid } = await ordered(
        ...["--memory", "32", "--", "sh", "-c", "head -c 200000000 /dev/zero | tail"],
      );
      expect(ended.exitCode, ended.stderr).to.equal(1);
      expect(report.replicas[0]?.outcome).to.equal("out-of-memory");
      expect(paid > 0n).to.equal(true);
    });
  });

  describe("before anything starts", () => {
    let other: Market;
    let taken: Server;
    let port: number;

    before(async () => {
      other = await openMarket({ nodes: 0 });
      taken = createServer();
      await new Promise<void>((ready) => taken.listen(0, "127.0.0.1", ready));
      port = (taken.address() as { port: number }).port;
    });
    after(async () => {
      taken?.close();
      await other?.close();
    });

    it("a taken chain port is named, and nothing is left of the try", async () => {
      const ended = await devnet("--rpc-port", String(port), "--indexer-port", "0");
      expectRefusal(ended, {
        exit: 1,
        code: "PORT_TAKEN",
        message: new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is taken by another program`),
        hint: /--rpc-port/,
      });
    });

    it("a taken indexer port is named, and nothing is left of the try", async () => {
      const ended = await devnet("--rpc-port", "0", "--indexer-port", String(port));
      expectRefusal(ended, {
        exit: 1,
        code: "PORT_TAKEN",
        message: new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is taken by another program`),
        hint: /--indexer-port/,
      });
    });

    it("a node refuses a folder of data that belongs to another run of the chain", async () => {
      const node = market.devnet.nodes[1];
      if (node === undefined) throw new Error("no second node");
      const child = childOf(market, "node 1");
      child.process.kill("SIGTERM");
      await child.ended;
      const flags = ["--config", node.configFile, "--rpc", other.devnet.rpcUrl, "start"];
      const { exitCode, stderr } = await program([scripts.node, ...flags], market);
      expect(exitCode).to.equal(1);
      expect(stderr).to.match(/DATA_FOLDER_STALE.* belongs to another run of this chain/);
      expect(stderr).to.match(/Use another data folder with --data-dir/);
    });

    it("an indexer refuses a folder of data that belongs to another run of the chain", async () => {
      await kill9(childOf(market, "indexer"));
      const data = join(market.devnet.folder, "indexer");
      const file = join(other.devnet.folder, "deployment.json");
      const at = ["--data", data, "--deployment", file, "--rpc", other.devnet.rpcUrl, "--port", "0"];
      const { exitCode, stderr } = await program([scripts.indexer, "start", ...at], market);
      expect(exitCode).to.equal(1);
      expect(stderr).to.match(
        /its first block of the chain is 0x[0-9a-f]{64}, not 0x[0-9a-f]{64}\. \(DATA_FOLDER_STALE\)/,
      );
      expect(stderr).to.match(/Remove the data folder .* or give another one with --data/);
    });

    it("a client without its indexer says so", async () => {
      const ended = await run(`oci:${image.dir}`, "--yes", "--", "true");
      expectRefusal(ended, { exit: 5, code: "INDEXER_UNAVAILABLE", message: /./, hint: /./ });
    });
  });

  async function deploymentWith(changes: object): Promise<string> {
    const file = join(market.folder, `deployment-${Object.keys(changes).join("-")}.json`);
    await writeFile(file, JSON.stringify({ ...market.devnet.deployment, ...changes }));
    return file;
  }

  /** A job that is ordered, run and paid; with what its operator got and what the offer gives for some seconds. */
  async function ordered(...args: string[]) {
    const out = join(market.folder, "out");
    await rm(out, { recursive: true, force: true });
    const { nodes } = market.devnet;
    const balances = async () =>
      (await Promise.all(nodes.map(({ operator }) => moneyOf(market, operator.address)))).map(({ balance }) => balance);
    const before = await balances();
    const ended = await run(`oci:${image.dir}`, "--yes", "--out", out, ...args);
    const report = ended.json as RunReport;
    if (report?.jobId === undefined) throw new Error(`${ended.stderr}\n${await logsOf(market)}`);
    const after = await balances();
    const paid = after.reduce((sum, balance, at) => sum + balance - (before[at] ?? 0n), 0n);
    const jobId = report.jobId as JobId;
    expect((await replicaOf(market, jobId)).state).to.equal(states.settled);
    const terms = await termsOfMatch(market, 0n, jobId);
    if (terms === undefined) throw new Error("no match on chain");
    return { ended, report, out, paid, earned: (seconds: number) => chargeOfDown(terms, seconds) };
  }

  async function devnet(...args: string[]): Promise<Ended> {
    return await program([scripts.devnet, "--nodes", "0", "--json", ...args], market);
  }
});

function spec(digest: string) {
  return {
    version: 1,
    image: { digest, cid: "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku" },
    command: ["true"],
    env: {},
    inputs: [],
    outputs: { path: "/out", maxBytes: 1, maxFiles: 1 },
    resources: { cpuMilli: 1000, memoryMiB: 64, diskMiB: 64, gpus: 0 },
    network: { mode: "none" },
    timeouts: { startSeconds: 60, runSeconds: 60 },
    isolation: "container",
    idempotent: false,
    verification: "optimistic",
    attestation: "none",
    retentionSeconds: 60,
  };
}
