import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { jobIdOf, jobMarketAbi, orderToJson } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, parseEventLogs, stringToBytes } from "viem";
import { eventually } from "../support/eventually.ts";
import { newDataFolder } from "./support/data-folder.ts";
import { startMarket, type TestMarket, type TestNode } from "./support/market.ts";
import { runIndexer } from "./support/running-indexer.ts";

const MAIN = join(import.meta.dirname, "..", "..", "indexer", "src", "main.ts");

describe("berth-indexer start", () => {
  let market: TestMarket;
  let node: TestNode;
  let folder: string;
  let data: string;
  const children: ChildProcess[] = [];
  before(async () => {
    market = await startMarket();
    node = await market.node("ada");
    await market.account("matcher");
    folder = await mkdtemp(join(tmpdir(), "berth-indexer-cli-"));
    data = await newDataFolder();
    await writeFile(join(folder, "deployment.json"), JSON.stringify(market.deployment));
    await writeFile(join(folder, "matcher.key"), keccak256(stringToBytes("matcher")), { mode: 0o600 });
  });
  afterEach(async () => {
    for (const child of children.splice(0)) await kill(child, "SIGKILL");
  });
  after(async () => {
    await market?.stop();
    await rm(folder, { recursive: true, force: true });
    await rm(data, { recursive: true, force: true });
  });

  it("killed at any moment, sends each match once and misses or repeats no event", async function () {
    this.timeout(120_000);
    const requester = await market.account("rex");
    await market.deposit(requester.address, 100_000n);
    let { child, url } = await start();
    const signed = await market.request(requester, { maxPrice: 1000n });
    const { offer, signature } = await market.offer(node);
    await post(url, "/offers", { offer: orderToJson(offer), signature });
    const head = Number(await market.anvil.call("eth_blockNumber"));

    await market.anvil.call("evm_setAutomine", [false]);
    await post(url, "/requests", { request: orderToJson(signed.request), signature: signed.signature });
    await eventually("the match is in the mempool", async () => {
      return Number((await market.anvil.call("txpool_status")).pending) > 0;
    });
    await kill(child, "SIGKILL");
    ({ child, url } = await start());
    await market.anvil.call("evm_setAutomine", [true]);
    await market.anvil.call("evm_mine");
    const jobId = jobIdOf(market.deployment, signed.request);
    await eventually("the job is matched", async () => (await get(url, `/jobs/${jobId}`)).state === "matched");

    for (let i = 0; i < 2; i++) {
      for (let j = 0; j < 4; j++) await market.stake(node.operator.address, 10n);
      await kill(child, "SIGKILL");
      await market.stake(node.operator.address, 1n);
      ({ child, url } = await start());
    }
    const scratch = await runIndexer(market);
    try {
      await scratch.caughtUp();
      await scratch.postRequest(signed); // the chain has the terms of the job, not the whole request
      for (const path of ["/jobs", "/nodes", `/accounts/${node.operator.address}`]) {
        expect(await get(url, path), path).to.deep.equal((await scratch.get(path)).body);
      }
    } finally {
      await scratch.close();
    }
    const logs = await market.chain.getLogs({ address: market.deployment.market, fromBlock: BigInt(head) });
    const matches = parseEventLogs({ abi: jobMarketAbi, logs, eventName: "JobMatched" });
    expect(matches.map(({ args }) => args.jobId)).to.deep.equal([jobId]);
    const matcher = await market.account("matcher");
    expect(Number(await market.anvil.call("eth_getTransactionCount", [matcher.address, "latest"]))).to.equal(1);
  });

  it("prints its URL as JSON, and ends politely on SIGTERM", async () => {
    const { child } = await start();
    child.kill("SIGTERM");
    const [code] = await once(child, "exit");
    expect(code).to.equal(0);
  });

  it("ends when the parent that holds its channel is gone", async () => {
    const { child } = await start();
    child.disconnect();
    const [code] = await once(child, "exit");
    expect(code).to.equal(0);
  });

  it("names every missing setting, and exits 1", async () => {
    const child = spawn(process.execPath, [MAIN, "start", "--json"], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { PATH: process.env["PATH"] },
    });
    children.push(child);
    let text = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      text += String(chunk);
    });
    const [code] = await once(child, "close");
    expect(code).to.equal(1);
    const { error } = JSON.parse(text);
    expect(error.code).to.equal("CONFIG_INVALID");
    expect(error.message).to.match(/deployment[\s\S]*rpc|rpc[\s\S]*deployment/);
  });

  /** Starts the program and waits until its tables are as new as the chain. */
  async function start(): Promise<{ child: ChildProcess; url: string }> {
    const flags = {
      deployment: join(folder, "deployment.json"),
      rpc: market.anvil.url,
      data,
      port: "0",
      finality: "0",
    };
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
    const rest = ["--matcher-key-file", join(folder, "matcher.key"), "--poll-ms", "20", "--json"];
    const child = spawn(process.execPath, [MAIN, "start", ...args, ...rest], {
      stdio: ["ignore", "pipe", "ignore", "ipc"],
    });
    children.push(child);
    if (child.stdout === null) throw new Error("no output");
    const [line] = await once(createInterface({ input: child.stdout }), "line");
    const { url } = JSON.parse(String(line));
    await eventually("it is ready", async () => (await fetch(`${url}/ready`)).ok, 20_000);
    return { child, url };
  }
});

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

// biome-ignore lint/suspicious/noExplicitAny: answers of the API, asserted by the test
async function get(url: string, path: string): Promise<any> {
  return (await fetch(`${url}${path}`)).json();
}

async function post(url: string, path: string, body: unknown): Promise<void> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  expect(response.status, await response.text()).to.equal(202);
}
