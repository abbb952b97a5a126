import { chmodSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { eventually } from "../../support/eventually.ts";
import { type MarketBench, openMarketBench } from "./market-bench.ts";
import { berthNode, type NodeProcess, startNode } from "./node-process.ts";
import { registerNode } from "./registered-node.ts";

describe("berth-node on a machine that changes", function () {
  this.timeout(180_000);
  let bench: MarketBench;
  let flags: string[] = [];
  let node: NodeProcess | undefined;

  after(async function () {
    if (this.test?.parent?.tests.some(({ state }) => state === "failed")) process.stderr.write(`${node?.log()}\n`);
    await node?.kill("SIGTERM");
    const cleaned = await berthNode([...flags, "clean"]);
    await bench?.close();
    expect(cleaned.code, cleaned.stdout + cleaned.stderr).to.equal(0);
  });

  it("offers nothing while a check that passed before fails, says which one, and offers again once it passes", async () => {
    bench = await openMarketBench();
    ({ flags } = await registerNode(bench, "r", { recheckSeconds: "1", "offers.refreshSeconds": "1" }));
    const tools = join(bench.dir, "tools");
    const broken = join(bench.dir, "broken");
    mkdirSync(tools);
    // A machine that loses a program and gets it back.
    writeFileSync(
      join(tools, "podman"),
      `#!/bin/sh\n[ -e ${broken} ] && exit 125\nPATH=$\{PATH#*:} exec podman "$@"\n`,
    );
    chmodSync(join(tools, "podman"), 0o755);
    node = startNode(flags, { PATH: `${tools}:${process.env["PATH"]}` });
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
});
