import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { maskToTraits, traitsToMask } from "@berth/protocol";
import { expect } from "chai";
import { eventually } from "../../support/eventually.ts";
import { isRunning } from "../engine/traces.ts";
import { attemptOnMachine, WAITING } from "./attempt-on-machine.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { resultsOf } from "./node-results.ts";
import { type RegisteredNode, registerNode } from "./registered-node.ts";

const hasGvisor = spawnSync("runsc", ["--version"]).status === 0;

describe("berth-node on a machine that changes", function () {
  this.timeout(180_000);
  let bench: MarketBench;
  let registered: RegisteredNode;
  let flags: string[] = [];
  let env: Record<string, string>;
  let node: NodeProcess | undefined;
  let dataDir = "";
  let [broken, stuck, held, withoutGvisor] = ["", "", "", ""];

  before(async () => {
    bench = await openMarketBench();
    registered = await registerNode(bench, "r", { "offers.refreshSeconds": "1" });
    ({ flags, dataDir } = registered);
    const tools = join(bench.dir, "tools");
    [broken, stuck, held, withoutGvisor] = ["broken", "stuck", "held", "without"].map((name) =>
      join(bench.dir, name),
    ) as [string, string, string, string];
    mkdirSync(tools);
    // A machine that loses a program and gets it back, and whose containers cannot always be looked at.
    const lines = [
      "#!/bin/sh",
      `[ -e ${broken} ] && exit 125`,
      `case "$*" in *--runtime=runsc*) [ -e ${withoutGvisor} ] && exit 125;; esac`,
      `case "$*" in *"container inspect"*)`,
      `  trap '' TERM; while [ -e ${stuck} ]; do touch ${held}; sleep 0.1; done;;`,
      "esac",
      `PATH=$\{PATH#*:} exec podman "$@"\n`,
    ];
    writeFileSync(join(tools, "podman"), lines.join("\n"));
    chmodSync(join(tools, "podman"), 0o755);
    env = { PATH: `${tools}:${process.env["PATH"]}` };
  });
  afterEach(async function () {
    if (this.currentTest?.state === "failed") process.stderr.write(`${node?.log()}\n`);
    rmSync(stuck, { force: true });
    await node?.kill("SIGTERM");
    node = undefined;
  });
  after(async () => {
    const cleaned = await berthNode([...flags, "clean"]);
    await bench?.close();
    expect(cleaned.code, cleaned.stdout + cleaned.stderr).to.equal(0);
  });

  it("offers nothing while a check that passed before fails, says which one, and offers again once it passes", async () => {
    node = startNode([...flags, "--set", "recheckSeconds=1"], env);
    await node.ready;
    await bench.offer();

    writeFileSync(broken, "");
    const said = (text: string) => node?.log().includes(text) === true;
    await eventually("a check fails", () => said("check of this machine failed"), 120_000);
    await eventually("it makes no offer", () => said("did not prove that it can run jobs"), 60_000);
    const status = JSON.parse((await berthNode([...flags, "status"])).stdout);
    expect(JSON.stringify(status)).to.include("did not prove that it can run jobs");

    rmSync(broken);
    const since = Date.now();
    await eventually("it offers again", () => bench.hasOffer(since), 120_000);
  });

  it("opens an engine later that did not open at the start, says meanwhile that it has none, and then runs jobs", async () => {
    writeFileSync(broken, "");
    node = startNode(flags, env);
    const { url } = await node.ready;
    const reasons = async () => JSON.stringify(await (await fetch(`${url}/ready`)).json());
    expect(await reasons()).to.match(/ENGINE_DOWN.*\(ENGINE_\w+\)/);

    rmSync(broken);
    const since = Date.now();
    await eventually("it offers", () => bench.hasOffer(since), 120_000);
    expect(await reasons()).to.not.include("ENGINE_DOWN");
    const { jobId } = await bench.match({ command: ["/bin/true"] });
    await eventually("the job has its result", async () => (await bench.results(jobId)).length === 1, 60_000);
    expect(node.log()).to.include('"outcome":"exited"');
  });

  it("stops politely at a first signal and at once at a second one; the job goes on, and the next start has its end", async () => {
    const since = Date.now();
    node = startNode(flags, env);
    await node.ready;
    await bench.offer(since);
    const { jobId } = await bench.match({ command: WAITING, idempotent: true });
    const attempt = attemptOnMachine(registered, jobId);
    await attempt.runs();

    // How another one failed is podman's to say, which cannot be hurried: that holds up the polite stop.
    writeFileSync(stuck, "");
    await bench.offer(Date.now());
    const other = await bench.match({ command: ["/bin/sh", "-c", "exit 4"] });
    await eventually("its container is looked at", () => existsSync(held), 60_000);
    process.kill(node.pid, "SIGTERM");
    await eventually("it stops", () => node?.log().includes("node stopping"), 30_000);
    process.kill(node.pid, "SIGTERM");
    expect(await node.exitCode).to.equal(130);
    expect(node.log()).to.not.include("parts did not stop in time").and.not.include("node stopped");
    const job = attempt.job();
    expect(isRunning(job)).to.equal(true);

    rmSync(stuck);
    node = startNode(flags, env);
    await node.ready;
    expect(isRunning(job)).to.equal(true);
    attempt.letGo();
    const results = resultsOf(bench, registered.url);
    const result = await results.resultOf(jobId);
    expect(result).to.deep.include({ outcome: "exited", exitCode: 3, attempt: 0 });
    const runs = readdirSync(await results.outputsOf(result)).filter((file) => file.startsWith("run-"));
    expect(runs).to.have.length(1);
    expect(await results.resultOf(other.jobId)).to.deep.include({ outcome: "exited", exitCode: 4, attempt: 0 });
    for (const id of [jobId, other.jobId]) expect(await bench.results(id)).to.have.length(1);
    expect(node.log()).to.not.include('"state":"retried"');
  });

  (hasGvisor ? it : it.skip)(
    "charges nothing for a job in gVisor that it offered, and does not say that the requester was wrong, when gVisor is gone",
    async () => {
      const since = Date.now();
      node = startNode(flags, env);
      await node.ready;
      const { offer } = await bench.offer(since);
      expect(maskToTraits(offer.traits)).to.include("isolation-gvisor");
      await node.kill("SIGTERM");
      const request = { traits: traitsToMask(["isolation-gvisor"]), acceptWindow: 1 };
      const { jobId } = await bench.match({ isolation: "gvisor" }, { request });

      writeFileSync(withoutGvisor, "");
      rmSync(join(dataDir, "checks.json"));
      node = startNode(flags, env);
      const [claim] = await eventually(
        "it says so",
        async () => {
          const claims = await bench.results(jobId);
          return claims.length > 0 && claims;
        },
        90_000,
      );
      expect(claim?.charge).to.equal(0n);
      expect(node.log()).to.include("This node offered gVisor, and can no longer run jobs in it.");
      expect(node.log()).to.include('"outcome":"cancelled"').and.to.not.include('"outcome":"spec-invalid"');
    },
  );
});
