import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect } from "chai";
import { execa } from "execa";
import hre from "hardhat";
import BerthLocal from "../../ignition/modules/BerthLocal.ts";
import { startAnvil } from "../support/anvil.ts";
import { anOffer } from "../support/orders.ts";
import { runOneJob } from "./support/one-job.ts";

describe("a market on chains of other makers", function () {
  this.timeout(120_000);

  it("is deployed on anvil and pays for a job", async () => {
    const anvil = await startAnvil();
    try {
      expect(await jobOn(anvil.url)).to.equal(anOffer().baseCharge);
    } finally {
      await anvil.stop();
    }
  });

  it("is deployed on geth and pays for a job", async function () {
    const found = await execa("geth", ["version"], { reject: false });
    if (found.exitCode !== 0) return this.skip(); // geth is not installed here
    const folder = await mkdtemp(join(tmpdir(), "berth-geth-"));
    const geth = await startGeth(folder);
    try {
      expect(await jobOn(geth.url)).to.equal(anOffer().baseCharge);
    } finally {
      await geth.stop();
      await rm(folder, { recursive: true, force: true });
    }
  });
});

/** Long before mocha gives up, so that the chain is stopped whatever happens. */
const PATIENCE_MS = 100_000;

/** Deploys with Ignition, runs one job, returns what the operator earned. */
async function jobOn(url: string): Promise<bigint> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("The chain did not come to an end with the job.")), PATIENCE_MS);
  try {
    return await Promise.race([deployAndRun(url), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function deployAndRun(url: string): Promise<bigint> {
  const connection = await hre.network.create({ network: "devnet", override: { url } });
  const deploymentId = `test-${process.pid}-${new URL(url).port}`;
  try {
    const deployed = await connection.ignition.deploy(BerthLocal, { deploymentId });
    return await runOneJob(connection.ethers.provider as never, deployed as never);
  } finally {
    await rm(join(hre.config.paths.ignition, "deployments", deploymentId), { recursive: true, force: true });
    await connection.close();
  }
}

/** A private geth that mines a block a second, since Ignition waits for confirmations, on a free loopback port. */
async function startGeth(folder: string) {
  const http = ["--http", "--http.addr", "127.0.0.1", "--http.port", "0"];
  const alone = [
    "--dev",
    "--dev.period",
    "1",
    "--datadir",
    folder,
    "--ipcdisable",
    "--port",
    "0",
    "--authrpc.port",
    "0",
    "--nodiscover",
  ];
  const child = spawn("geth", [...alone, ...http], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  let url: string | undefined;
  for await (const line of createInterface({ input: child.stderr })) {
    const endpoint = /HTTP server started\s.*endpoint=(127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (endpoint !== undefined) url = `http://${endpoint}`;
    if (url !== undefined) break;
  }
  child.stderr.resume();
  const stop = async () => {
    child.kill("SIGTERM");
    await exited;
  };
  if (url !== undefined) return { url, stop };
  await stop();
  throw new Error("geth ended before it listened");
}
