import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type Hex, jobIdOf, jobMarketAbi, orderToJson } from "@berth/protocol";
import { expect } from "chai";
import { keccak256, parseEventLogs, stringToBytes } from "viem";
import { eventually } from "../../support/eventually.ts";
import { type EventReader, openEvents, type StreamedEvent } from "../support/event-stream.ts";
import { startMarket, type TestMarket, type TestNode } from "../support/market.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { runIndexer } from "../support/running-indexer.ts";

const MAIN = join(import.meta.dirname, "..", "..", "..", "indexer", "src", "main.ts");
const PATIENCE_MS = 60_000;

interface Process {
  child: ChildProcess;
  url: string;
}

describe("three indexers on one PostgreSQL server", () => {
  let server: PostgresServer | undefined;
  let market: TestMarket;
  let node: TestNode;
  let folder: string;
  let readers: EventReader[] = [];
  let running: Process[] = [];
  before(async function () {
    server = await startPostgres();
    if (server === undefined) this.skip();
    market = await startMarket();
    node = await market.node("ada");
    await market.account("matcher");
    folder = await mkdtemp(join(tmpdir(), "berth-indexer-cluster-"));
    await writeFile(join(folder, "deployment.json"), JSON.stringify(market.deployment));
    await writeFile(join(folder, "matcher.key"), keccak256(stringToBytes("matcher")), { mode: 0o600 });
  });
  after(async () => {
    for (const reader of readers) reader.close();
    for (const { child } of running) await kill(child);
    await market?.stop();
    await server?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  it("lose nothing and do nothing twice when the one that leads is killed, and another leads", async function () {
    this.timeout(240_000);
    const requester = await market.account("rex");
    await market.deposit(requester.address, 100_000n);
    const first = Number(await market.anvil.call("eth_blockNumber"));
    running = await Promise.all([start(), start(), start()]);
    const killed = await leader();
    const [near, far] = others(killed);
    readers = await Promise.all([killed, near, far].map(({ url }) => openEvents(`${url}/events?after=0`)));

    // What one of them takes, the one that leads matches.
    const { offer, signature } = await market.offer(node);
    await post(near.url, "/offers", { offer: orderToJson(offer), signature });
    const one = await market.request(requester, { maxPrice: 1000n });
    await post(far.url, "/requests", { request: orderToJson(one.request), signature: one.signature });
    await Promise.all(running.map(({ url }) => matched(url, jobIdOf(market.deployment, one.request))));

    const stop = new AbortController();
    const blocks = mineUntil(stop.signal, readers.slice(1));
    await kill(killed.child);
    const atMs = performance.now();
    const sinceKill = () => `${Math.round(performance.now() - atMs)} ms`;
    running = running.filter((process) => process !== killed);
    const second = await leader();
    const tookOver = sinceKill();
    const height = await mine();
    await Promise.all(readers.slice(1).map((reader) => reader.next(isOf(height))));
    console.log(
      `      another led ${tookOver} after the leader was killed, and streamed a new block after ${sinceKill()}`,
    );
    stop.abort();
    await blocks;
    const back = await start();
    running.push(back);
    expect((await get(back.url, "/status")).role).to.equal("standby");

    // Killed again, with a match in the mempool: the next one waits for that match, and sends no other.
    await market.anvil.call("evm_setAutomine", [false]);
    const two = await market.request(requester, { maxPrice: 1000n });
    await post(back.url, "/requests", { request: orderToJson(two.request), signature: two.signature });
    await eventually(
      "the match is in the mempool",
      async () => Number((await market.anvil.call("txpool_status")).pending) > 0,
      PATIENCE_MS,
    );
    await kill(second.child);
    running = running.filter((process) => process !== second);
    await leader();
    await market.anvil.call("evm_setAutomine", [true]);
    await market.anvil.call("evm_mine");
    await Promise.all(running.map(({ url }) => matched(url, jobIdOf(market.deployment, two.request))));

    const logs = await market.chain.getLogs({ address: market.deployment.market, fromBlock: BigInt(first) });
    const matches = parseEventLogs({ abi: jobMarketAbi, logs, eventName: "JobMatched" });
    expect(matches.map(({ args }) => args.jobId)).to.deep.equal(
      [one, two].map(({ request }) => jobIdOf(market.deployment, request)),
    );
    const matcher = await market.account("matcher");
    expect(Number(await market.anvil.call("eth_getTransactionCount", [matcher.address, "latest"]))).to.equal(2);

    // Whoever was cut off goes on elsewhere, and has each event once.
    const reader = await openEvents(`${back.url}/events`, { lastEventId: lastOf(readers[0]) });
    readers.push(reader);
    await reader.next(isOf(await mine()));
    const far2 = readers[2] as EventReader; // of a process that was never killed, or was cut off with the second one
    const seen = [...idsOf(readers[0]), ...idsOf(reader)];
    expect(seen).to.deep.equal(Array.from({ length: seen.length }, (_, i) => i + 1));
    expect(idsOf(far2)).to.deep.equal(seen.slice(0, idsOf(far2).length));

    const scratch = await runIndexer(market);
    try {
      await scratch.caughtUp();
      for (const { request, signature } of [one, two]) await scratch.postRequest({ request, signature });
      for (const path of ["/jobs", "/nodes", `/accounts/${node.operator.address}`]) {
        const { body } = await scratch.get(path);
        for (const { url } of running) expect(await get(url, path), path).to.deep.equal(body);
      }
    } finally {
      await scratch.close();
    }
  });

  async function start(): Promise<Process> {
    const flags = {
      deployment: join(folder, "deployment.json"),
      rpc: market.anvil.url,
      port: "0",
      finality: "0",
      "matcher-key-file": join(folder, "matcher.key"),
      "poll-ms": "20",
    };
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
    const child = spawn(process.execPath, [MAIN, "start", ...args, "--json"], {
      stdio: ["ignore", "pipe", "inherit", "ipc"],
      env: { ...process.env, DATABASE_URL: server?.url, LOG_LEVEL: process.env["LOG_LEVEL"] ?? "silent" },
    });
    if (child.stdout === null) throw new Error("no output");
    const [line] = await once(createInterface({ input: child.stdout }), "line");
    const { url } = JSON.parse(String(line));
    await eventually("it is ready", async () => (await fetch(`${url}/ready`)).ok, PATIENCE_MS);
    return { child, url };
  }

  /** The one that leads; each of the others says that it does not. */
  async function leader(): Promise<Process> {
    return eventually(
      "one leads",
      async () => {
        const roles = await Promise.all(running.map(async ({ url }) => (await get(url, "/status")).role));
        expect(roles.filter((role) => role === "leader").length).to.be.at.most(1);
        return running[roles.indexOf("leader")];
      },
      PATIENCE_MS,
    );
  }

  function others(than: Process): [Process, Process] {
    const [one, other] = running.filter((process) => process !== than);
    if (one === undefined || other === undefined) throw new Error("two others should run");
    return [one, other];
  }

  /** One block after the other, each when the one before has come to those who listen. */
  async function mineUntil(signal: AbortSignal, listening: readonly EventReader[]): Promise<void> {
    while (!signal.aborted) {
      const height = await mine();
      await Promise.all(listening.map((reader) => reader.next(isOf(height))));
    }
  }

  /** Height of a block that changes a row. */
  async function mine(): Promise<number> {
    await market.stake(node.operator.address, 1n);
    return Number(await market.anvil.call("eth_blockNumber"));
  }

  async function matched(url: string, jobId: Hex): Promise<void> {
    const look = async () => (await get(url, `/jobs/${jobId}`)).state === "matched";
    await eventually(`${url} has the match of ${jobId}`, look, PATIENCE_MS);
  }
});

/** At least as new as the block of this height: several blocks may be one event. */
function isOf(height: number) {
  return ({ data }: StreamedEvent) => (data.block?.number ?? 0) >= height;
}

function idsOf(reader: EventReader | undefined): (number | undefined)[] {
  return reader?.events.map(({ id }) => id) ?? [];
}

function lastOf(reader: EventReader | undefined): number {
  return reader?.events.at(-1)?.id ?? 0;
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
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
