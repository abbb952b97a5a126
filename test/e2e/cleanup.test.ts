import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { execa } from "execa";
import { busyboxImage } from "../../scripts/demo-job/image.ts";
import { startDevnet } from "../../scripts/lib/devnet.ts";
import { reapNodeData } from "../../scripts/lib/reap-node.ts";
import { reapDeadRuns } from "../../scripts/lib/run-ledger.ts";
import { imageCache, scripts } from "../support/e2e.ts";
import { leftOf, tracesOf } from "../support/e2e-host.ts";
import { type Script, startScript, untilJobRuns, untilMade } from "../support/e2e-scripts.ts";

const owner = join(import.meta.dirname, "..", "support", "e2e-owner.ts");
const LONG = "100000000"; // iterations that nobody waits for

describe("nothing is left", function () {
  this.timeout(300_000);
  let folder: string;
  const started: Script[] = [];
  const start = (file: string, ...args: string[]) => {
    const script = startScript(file, args);
    started.push(script);
    return script;
  };

  before(() => {
    folder = mkdtempSync(join(tmpdir(), "berth-cleanup-"));
  });
  afterEach(async () => {
    await Promise.all(started.splice(0).map((script) => script.dispose()));
  });
  after(async () => {
    await reapDeadRuns(join(folder, "runs"), reapNodeData); // what a test that failed half-way left
    rmSync(folder, { recursive: true, force: true });
  });

  it("of runs at once that do not meet: a demo to its end, a demo that Ctrl-C ends while its job runs, a devnet", async () => {
    const devnet = start(scripts.devnet, "--nodes", "0", "--rpc-port", "0", "--indexer-port", "0", "--json");
    const out = join(folder, "picture");
    const whole = start(scripts.demo, "--json", "--iterations", "100", "--out", out);
    const cut = start(scripts.demo, "--json", "--iterations", LONG, "--out", join(folder, "never"));

    const [cutTraces, wholeTraces] = await Promise.all([
      untilJobRuns(cut),
      untilMade(whole, enoughToTrace).then(tracesOf),
    ]);
    expect(cutTraces.processes.length).to.be.at.least(8);
    cut.process.kill("SIGINT");
    expect((await cut.ended).code, cut.stderr()).to.equal(130);
    expect(JSON.parse(cut.stdout())).to.have.nested.property("error.code", "STOPPED");
    expect(await leftOf(cutTraces)).to.deep.equal([]);
    expect(readdirSync(cut.tmp)).to.deep.equal([]);

    expect(await whole.ended, whole.stderr()).to.deep.equal({ code: 0, signal: null });
    const report = JSON.parse(whole.stdout()) as { id: string; verification: { ok: boolean }; picture: string };
    expect(report.id).to.equal(wholeTraces.id).and.not.to.equal(cutTraces.id);
    expect(report.verification.ok).to.equal(true);
    expect(report.picture).to.equal(join(out, "mandelbrot.png"));
    expect(readdirSync(out).sort()).to.deep.equal(["mandelbrot.png", "rows.csv"]);
    expect(await leftOf(wholeTraces)).to.deep.equal([]);
    expect(readdirSync(whole.tmp)).to.deep.equal([]);

    const facts = JSON.parse(devnet.stdout()) as { id: string; indexerUrl: string };
    const devnetTraces = tracesOf(await untilMade(devnet, () => true));
    expect(devnetTraces.id).to.equal(facts.id);
    expect((await fetch(`${facts.indexerUrl}/ready`)).status).to.equal(200); // as if nothing had been
    devnet.process.kill("SIGINT");
    expect(await devnet.ended, devnet.stderr()).to.deep.equal({ code: 0, signal: null });
    expect(await leftOf(devnetTraces)).to.deep.equal([]);
    expect(readdirSync(devnet.tmp)).to.deep.equal([]);
  });

  it("of a devnet that Ctrl-C ends while it starts", async () => {
    const devnet = start(scripts.devnet, "--rpc-port", "0", "--indexer-port", "0");
    const traces = tracesOf(await untilMade(devnet, enoughToTrace));
    devnet.process.kill("SIGINT");
    const { code } = await devnet.ended;
    expect(code, devnet.stderr()).to.equal(130);
    expect(await leftOf(traces)).to.deep.equal([]);
    expect(readdirSync(devnet.tmp)).to.deep.equal([]);
  });

  it("of a devnet whose owner was killed while a job ran, once the next run starts", async () => {
    const runsFolder = join(folder, "runs");
    const dead = start(owner, runsFolder);
    const { config } = await new Promise<{ config: string }>((resolve, reject) => {
      dead.process.once("message", (message) => resolve(message as { config: string }));
      void dead.ended.then(() => reject(new Error(dead.stderr())));
    });
    const image = await busyboxImage(imageCache);
    const order = [scripts.client, "--config", config, "run", `oci:${image.dir}`, "--yes", "--", "sleep", "600"];
    const requester = execa(process.execPath, order, { reject: false, env: { TMPDIR: dead.tmp } });
    const traces = await untilJobRuns(dead, runsFolder);
    dead.process.kill("SIGKILL");
    await dead.ended;
    expect((await leftOf(traces)).length).to.be.above(5);
    requester.kill("SIGKILL");
    await requester;

    const notes: string[] = [];
    const next = await startDevnet({
      nodes: 0,
      rpcPort: 0,
      indexerPort: 0,
      runsFolder,
      progress: { step: (_, work) => work(), note: (text) => notes.push(text) },
      signal: new AbortController().signal,
    });
    try {
      expect(notes.join("\n")).to.include(traces.id);
      expect(await leftOf(traces)).to.deep.equal([]);
      expect(readdirSync(dead.tmp)).to.deep.equal([]);
      expect(runsIn(runsFolder)).to.deep.equal([next.id]);
    } finally {
      await next.stop();
    }
    expect(runsIn(runsFolder)).to.deep.equal([]);
  });
});

/** The lock beside the runs is a file without meaning when nobody holds it. */
function runsIn(runsFolder: string): string[] {
  return readdirSync(runsFolder).filter((name) => name !== ".reap.lock");
}

/** Both hosts and both data folders are in the ledger: names of everything that follows can be told from them. */
function enoughToTrace(made: { kind: string }[]): boolean {
  return ["namespace", "node-data"].every((kind) => made.filter((one) => one.kind === kind).length === 2);
}
