// How fast the indexer is, beside what it could not beat: `npm run bench -- index [backfill live reorg recovery] [--jobs=6000]
// [--rounds=3]`. Real contracts on a real chain, jobs that are posted, taken, done and paid, 7 events each. The reference of a
// backfill is fetching and parsing the same logs with no store, two requests at a time, rounds interleaved. The aims: to
// PostgreSQL at 0.5 of it and to PGlite at 0.4, projections included; mined to queryable in 20 ms (p50) and 40 ms (p95); a
// reorganisation of depth 5 reconciled in 60 ms; ready again after kill -9 within 700 ms.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { connectRpc, type Follower, followChain } from "@berth/chain";
import { jobIdOf } from "@berth/protocol";
import pino from "pino";
import type { Database } from "../indexer/src/store/database.ts";
import { migrate } from "../indexer/src/store/migrate.ts";
import { openPglite } from "../indexer/src/store/pglite-database.ts";
import { openPostgres } from "../indexer/src/store/postgres-database.ts";
import { createFollowerStore, WINDOW } from "../indexer/src/sync/follower-store.ts";
import { startBulk } from "../test/indexer/support/bulk.ts";
import { startMarket } from "../test/indexer/support/market.ts";
import { startPostgres } from "../test/indexer/support/postgres.ts";
import { createReport, median, percentile, timed } from "./lib/report.ts";

/** Blocks in one request of the reference. */
const RANGE = 100;
const SAMPLES = 60;
const MAIN = join(import.meta.dirname, "..", "indexer", "src", "main.ts");

const { values: flags, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: { jobs: { type: "string", default: "6000" }, rounds: { type: "string", default: "3" } },
});
const report = createReport("index");
const { row } = report;
const sections = { backfill: benchBackfill, live: benchLive, reorg: benchReorg, recovery: benchRecovery };
const log = pino({ level: process.env["LOG_LEVEL"] ?? "silent" });
const work = mkdtempSync(join(tmpdir(), "berth-bench-index-"));
let made = 0;
const market = await startMarket();
const bulk = await startBulk(market);
const server = await startPostgres({ durable: true });
try {
  for (const [name, run] of Object.entries(sections)) {
    if (wanted.length === 0 || wanted.includes(name)) await run();
  }
} finally {
  await server?.stop();
  await market.stop();
  rmSync(work, { recursive: true, force: true });
}
report.print();
process.exit(0);

async function benchBackfill(): Promise<void> {
  await bulk.run(Number(flags.jobs));
  await market.anvil.call("anvil_mine", [`0x${(WINDOW + 2).toString(16)}`]);
  const events = await fetchAndParse();
  console.error(`${events} events in ${await height()} blocks`);
  const [raw, embedded, remote]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < Number(flags.rounds); round++) {
    raw.push(await timed(fetchAndParse));
    embedded.push(await timedIndex(await openPglite(join(work, `pglite-${made++}`)), events));
    if (server === undefined) continue;
    raw.push(await timed(fetchAndParse));
    remote.push(await timedIndex(await openPostgres(await newDatabase(server.url), { log }), events));
  }
  const perSecond = (times: number[]) => (events * 1000) / median(times);
  row("backfill to PGlite", "events/s", perSecond(embedded), perSecond(raw));
  if (server !== undefined) row("backfill to PostgreSQL", "events/s", perSecond(remote), perSecond(raw));
}

/** What nobody who indexes this chain could do without. Returns the number of logs. */
async function fetchAndParse(): Promise<number> {
  const { identity, staking, market: jobMarket, fromBlock } = market.deployment;
  const head = await height();
  let next = fromBlock;
  let logs = 0;
  const worker = async () => {
    while (next <= head) {
      const from = next;
      next += RANGE;
      const filter = { address: [identity, staking, jobMarket], fromBlock: hex(from), toBlock: hex(from + RANGE - 1) };
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_getLogs", params: [filter] });
      const headers = { "content-type": "application/json" };
      const response = await fetch(market.anvil.url, { method: "POST", headers, body });
      const { result } = JSON.parse(await response.text()) as { result: unknown[] };
      logs += result.length;
    }
  };
  await Promise.all([worker(), worker()]);
  return logs;
}

/** From an empty, migrated database to the head. Throws unless every log is there. */
async function timedIndex(db: Database, events: number): Promise<number> {
  try {
    await migrate(db);
    const stop = new AbortController();
    let follower: Follower | undefined;
    const ms = await timed(async () => {
      follower = await follow(db, stop.signal);
      await Promise.race([follower.synced, follower.done]);
    });
    stop.abort();
    await follower?.done;
    const [stored] = await db.query<{ n: number }>("SELECT count(*)::int AS n FROM logs");
    if (stored?.n !== events) throw new Error(`${stored?.n} of ${events} logs were stored`);
    return ms;
  } finally {
    await db.close();
  }
}

async function follow(db: Database, signal: AbortSignal): Promise<Follower> {
  const { deployment, anvil } = market;
  const { identity, staking, market: jobMarket, fromBlock } = deployment;
  const rpc = await connectRpc({ urls: [anvil.url], log });
  const store = createFollowerStore({ db, deployment, onCommitted: () => {} });
  return followChain({
    ...{ rpc, fromBlock, store, signal, log, confirmations: 0, windowSize: WINDOW, pollMs: 10 },
    addresses: [identity, staking, jobMarket],
  });
}

/** A request is posted; how long after its block is mined does the API know the job? */
async function benchLive(): Promise<void> {
  await withIndexer(async ({ url }) => {
    const times: number[] = [];
    for (let i = 0; i < SAMPLES; i++) {
      await market.anvil.call("evm_setAutomine", [false]);
      const jobId = jobIdOf(market.deployment, await bulk.post());
      await market.anvil.call("evm_mine");
      times.push(await timed(() => until(async () => (await fetch(`${url}/jobs/${jobId}`)).status === 200)));
    }
    await market.anvil.call("evm_setAutomine", [true]);
    row("mined to queryable, p50", "ms", percentile(times, 0.5), 20);
    row("mined to queryable, p95", "ms", percentile(times, 0.95), 40);
  });
}

/** Five blocks with events are replaced by six others; how long until the API knows the new head? */
async function benchReorg(): Promise<void> {
  await withIndexer(async ({ url }) => {
    const times: number[] = [];
    for (let i = 0; i < 10; i++) {
      const snapshot = await market.anvil.call("evm_snapshot");
      const gone: string[] = [];
      for (let block = 0; block < 5; block++) gone.push(jobIdOf(market.deployment, await bulk.post()));
      await until(async () => (await fetch(`${url}/jobs/${gone[4]}`)).status === 200);
      await market.anvil.call("anvil_setNextBlockBaseFeePerGas", ["0x1"]);
      await market.anvil.call("evm_revert", [snapshot]);
      const kept: string[] = [];
      await market.anvil.call("evm_setAutomine", [false]);
      for (let block = 0; block < 6; block++) kept.push(jobIdOf(market.deployment, await bulk.post()));
      await market.anvil.call("anvil_mine", ["0x6", "0x1"]);
      times.push(
        await timed(() =>
          until(async () => {
            const [lost, there] = await Promise.all([gone[0], kept[5]].map((id) => fetch(`${url}/jobs/${id}`)));
            return lost?.status === 404 && there?.status === 200;
          }),
        ),
      );
      await market.anvil.call("evm_setAutomine", [true]);
    }
    row("reorganisation of depth 5 reconciled", "ms", median(times), 60);
  });
}

async function benchRecovery(): Promise<void> {
  const times: number[] = [];
  await withIndexer(async (running) => {
    for (let i = 0; i < 5; i++) {
      await running.kill();
      await bulk.post();
      times.push(await timed(running.restart));
    }
  });
  row("kill -9 to ready", "ms", median(times), 700);
}

interface RunningProcess {
  url: string;
  kill(): Promise<void>;
  /** Resolves when it is ready. */
  restart(): Promise<void>;
}

/** An indexer in a process of its own, on PostgreSQL where there is one. */
async function withIndexer(use: (running: RunningProcess) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(work, "indexer-"));
  writeFileSync(join(folder, "deployment.json"), JSON.stringify(market.deployment));
  const database = server === undefined ? {} : { DATABASE_URL: await newDatabase(server.url) };
  const env = { LOG_LEVEL: "silent", ...process.env, ...database };
  const args = [
    "start",
    "--json",
    "--deployment",
    join(folder, "deployment.json"),
    "--rpc",
    market.anvil.url,
    "--poll-ms",
    "10",
  ];
  let child: ChildProcess | undefined;
  const running: RunningProcess = {
    url: "",
    async kill() {
      if (child === undefined || child.exitCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
    async restart() {
      const started = spawn(process.execPath, [MAIN, ...args, "--data", join(folder, "data"), "--port", "0"], {
        env,
        stdio: ["ignore", "pipe", "inherit"],
      });
      child = started;
      for await (const line of createInterface({ input: started.stdout })) {
        const url = /"url":"([^"]+)"/.exec(line)?.[1];
        if (url === undefined) continue;
        running.url = url;
        break;
      }
      started.stdout.resume();
      const head = await height();
      await until(async () => {
        const status = (await (await fetch(`${running.url}/status`)).json()) as { state: string; indexed: number };
        return status.state === "following" && status.indexed >= head;
      });
    },
  };
  try {
    await running.restart();
    await use(running);
  } finally {
    await running.kill();
  }
}

async function newDatabase(url: string): Promise<string> {
  const name = `bench_${made++}`;
  const db = await openPostgres(url, { log });
  await db.query(`CREATE DATABASE ${name}`);
  await db.close();
  const target = new URL(url);
  target.pathname = `/${name}`;
  return target.href;
}

async function height(): Promise<number> {
  return Number(await market.anvil.call("eth_blockNumber"));
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 1));
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
