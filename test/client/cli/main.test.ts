import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { execa } from "execa";
import { stringify } from "yaml";
import type { RunReport } from "../../../client/src/actions/run-job.ts";
import { exitCodes } from "../../../client/src/cli/exit-codes.ts";
import { eventually } from "../../support/eventually.ts";
import { tinyImage } from "../support/images.ts";
import { type TestMarket, testMarket } from "../support/market.ts";
import { OUTPUT, playNode } from "../support/node.ts";

const main = join(import.meta.dirname, "..", "..", "..", "client", "src", "main.ts");
const REQUESTER_KEY = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

describe("berth", function () {
  this.timeout(120_000);
  let market: TestMarket;
  let folder: string;
  let image: string;
  let config: string;
  before(async () => {
    market = await testMarket();
    folder = await market.folder();
    image = `oci:${(await tinyImage(await market.folder())).dir}`;
    await writeFile(join(folder, "deployment.json"), JSON.stringify(market.deployment));
    await writeFile(join(folder, "key"), REQUESTER_KEY, { mode: 0o600 });
    config = join(folder, "berth.yaml");
    const settings = {
      rpcUrls: [market.anvil.url],
      indexerUrl: market.indexerUrl,
      deploymentFile: "deployment.json",
      keyFile: "key",
      contentDir: "content",
      contentHost: "127.0.0.1",
      pollMs: 50,
    };
    await writeFile(config, stringify(settings));
  });
  after(() => market.close());
  afterEach(() => {
    market.onRequest = undefined;
  });

  const start = (...args: string[]) =>
    execa(process.execPath, [main, ...args], {
      reject: false,
      stdin: "ignore",
      env: { BERTH_CONFIG: config, NO_COLOR: "1" },
      extendEnv: false,
    });
  const fails = async (code: number, args: string[], ...words: (string | RegExp)[]) => {
    const { exitCode, stderr, stdout } = await start(...args);
    expect(exitCode, stderr).to.equal(code);
    for (const word of words) expect(stderr).to.match(typeof word === "string" ? new RegExp(word) : word);
    expect(stderr).to.match(/^Error: /m);
    expect(stderr).to.not.match(/\n {4}at /);
    return { stderr, stdout };
  };

  it("run --help and resume --help say what every exit code means", async () => {
    for (const command of ["run", "resume"]) {
      const { exitCode, stdout } = await start(command, "--help");
      expect(exitCode).to.equal(0);
      for (const code of Object.values(exitCodes)) expect(stdout).to.match(new RegExp(`^  ${code} {2,}[a-z]`, "m"));
    }
  });

  let jobId = "";
  it("run: one JSON document on stdout, one line for each step on stderr", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered));
    const out = join(folder, "result");
    const done = await start("run", image, "--json", "--yes", "--max-seconds", "60", "--out", out, "--", "a", "--b");
    expect(done.exitCode, done.stderr).to.equal(0);
    const report = JSON.parse(done.stdout) as RunReport;
    expect(Object.keys(report)).to.deep.equal([
      "jobId",
      "replicas",
      "transactions",
      "phases",
      "verification",
      "outputs",
    ]);
    expect(report.replicas[0]).to.include({ state: "settled", outcome: "exited", exitCode: 0, index: 0 });
    expect(report.outputs).to.equal(out);
    expect(await readFile(join(out, "answer.txt"), "utf8")).to.equal(OUTPUT);
    for (const word of ["checked", "deposited", "signed and handed", "matched to node", "verified", "settled"]) {
      expect(done.stderr).to.include(word);
    }
    expect(done.stderr).to.match(/^ +\d+\.\d s {2}match/m);
    jobId = report.jobId;
  });

  it("show, logs, get, verify and ls find it again, without a key", async () => {
    const read = (...args: string[]) => start(...args, "--key-file", "/nonexistent");
    expect((await read("show", jobId)).stdout).to.match(/state +settled/);
    expect(await read("logs", jobId)).to.include({ stdout: "it works", exitCode: 0 });
    const got = join(folder, "again");
    expect((await read("get", jobId, "-o", got)).exitCode).to.equal(0);
    expect(await readFile(join(got, "answer.txt"), "utf8")).to.equal(OUTPUT);
    const verified = JSON.parse((await read("verify", jobId, "--json")).stdout);
    expect(verified).to.include({ ok: true });
    expect((await read("offers")).stdout).to.include(market.offer.operator);
    await fails(2, ["get", jobId, "-o", got], "already exists");
  });

  it("ends with 1 when the job failed, and tells with which code", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered, { exitCode: 3 }));
    const { exitCode, stdout } = await start("run", image, "--json", "--yes", "--max-seconds", "60");
    expect(exitCode).to.equal(1);
    expect((JSON.parse(stdout) as RunReport).replicas[0]).to.include({ exitCode: 3, state: "settled" });
  });

  it("ends with 7 and pays nothing when the result does not verify", async () => {
    market.onRequest = async (ordered) => void (await playNode(market, ordered, { signer: market.operator }));
    const { exitCode, stdout } = await start("run", image, "--json", "--yes", "--max-seconds", "60");
    expect(exitCode).to.equal(7);
    const report = JSON.parse(stdout) as RunReport;
    expect(report.verification.ok).to.equal(false);
    expect(report.replicas[0]?.state).to.equal("submitted");
    await fails(7, ["get", report.jobId, "-o", join(folder, "unverified")], "does not verify", "node signature");
  });

  it("stops on Ctrl-C with 130 and says how to go on", async () => {
    let ordered = false;
    market.onRequest = async () => {
      ordered = true;
    };
    const running = start("run", image, "--yes", "--max-seconds", "60");
    await eventually("the request is ordered", () => ordered);
    running.kill("SIGINT");
    const { exitCode, stderr } = await running;
    expect(exitCode).to.equal(130);
    expect(stderr).to.match(/The job goes on without you.*berth resume 0x[0-9a-f]{64}/);
  });

  it("asks before it pays, and does not guess where nobody can answer", async () => {
    await fails(2, ["run", image], "nobody is here to agree", "--yes");
  });

  it("tells bad input by name", async () => {
    const spec = join(folder, "spec.yaml");
    await writeFile(spec, "version: 1\nimagee: {}\n");
    await fails(2, ["run", "--spec", spec, "--yes"], '"imagee"');
    await fails(2, ["run", image, "--spec", spec, "--memory", "9", "--yes"], '"memoryMiB" cannot be given beside it');
    await fails(2, ["run", "alpine:3", "--yes"], "a tag can be moved", "skopeo copy docker://alpine:3");
    await fails(2, ["run", image, "--cpu", "many", "--yes"], "number of cores");
    await fails(2, ["run", image, "--gpu-model", "x".repeat(33), "--yes"], "1 to 32 ASCII characters");
    await fails(2, ["run", image, "--isolation", "none", "--yes"], "container, gvisor");
    await fails(2, ["run", image, "--isolation", "gvisor", "--gpus", "1", "--yes"], "Jobs in gVisor get no GPUs");
    await fails(2, ["run", image, "--out", folder, "--yes"], "already exists");
    await fails(2, ["show", "0x12"], "is not a job id");
    await fails(2, ["frob"], "unknown command 'frob'");
    await fails(2, ["run", image, "--token", "GOLD", "--yes"], 'no token "GOLD"', "tUSD");
    await fails(2, ["show", `0x${"0".repeat(64)}`], "does not know the job");
  });

  it("prints an error as JSON too when asked to", async () => {
    const { stdout } = await fails(
      3,
      ["run", image, "--memory", "200000", "--yes", "--json"],
      "less memory than 200000 MiB",
    );
    expect(JSON.parse(stdout).error).to.include({ code: "NO_OFFER_FITS", retryable: true });
  });

  it("tells an empty wallet, a missing key and an exposed one", async () => {
    const poor = join(folder, "poor");
    await writeFile(poor, `0x${"5".repeat(64)}`, { mode: 0o600 });
    await fails(4, ["run", image, "--key-file", poor, "--yes"], "Not enough tUSD: have 0 tUSD", "Hint: Send");
    await fails(2, ["run", image, "--key-file", join(folder, "none"), "--yes"], "cannot be read");
    const open = join(folder, "open");
    await writeFile(open, REQUESTER_KEY, { mode: 0o644 });
    await fails(2, ["run", image, "--key-file", open, "--yes"], "can be read by others", "chmod 600");
  });

  it("tells a wrong chain, a stale deployment, and a chain or an indexer that does not answer", async () => {
    const other = join(folder, "other.json");
    await writeFile(other, JSON.stringify({ ...market.deployment, chainId: 5 }));
    await fails(5, ["offers", "--deployment", other], "serves chain 31337, not 5");
    await writeFile(other, JSON.stringify({ ...market.deployment, market: `0x${"9".repeat(40)}` }));
    await fails(5, ["offers", "--deployment", other], "There is no market at 0x9999", "stale");
    await fails(5, ["offers", "--rpc", "http://127.0.0.1:9"], "No RPC answers at 127.0.0.1:9");
    await fails(5, ["offers", "--indexer", "http://127.0.0.1:9"], "indexer at 127.0.0.1:9 does not answer", "--post");
  });
});
