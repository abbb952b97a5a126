import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect } from "chai";
import type { Database } from "../../../indexer/src/store/database.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { projections } from "../../../indexer/src/store/tables.ts";
import { eventually } from "../../support/eventually.ts";
import { type Lie, type LyingRpc, startLyingRpc } from "../../support/lying-rpc.ts";
import { randomOf } from "../support/crowds.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { startMarket, type TestMarket } from "../support/market.ts";
import { expectEqualStorage } from "../support/storage.ts";
import { startTraffic, type Traffic } from "../support/traffic.ts";

/** Set SEED to repeat a run that failed, or for another one. */
const SEED = Number(process.env["SEED"] ?? 20261121);
const MAIN = join(import.meta.dirname, "..", "..", "..", "indexer", "src", "main.ts");
/** Of the reorganisations; the last one is drawn. */
const DEPTHS = [64, undefined];
/** Of a hundred answers of the RPC, how many are wrong. */
const WRONG_PERCENT = 4;
/** What the chain alone decides. Other tables hold orders, and what happened on the way. */
const TABLES = ["origin", "blocks", "logs", "undo", ...Object.values(projections).map(({ name }) => name)];

describe("an indexer under faults", () => {
  let market: TestMarket;
  let traffic: Traffic;
  let proxy: LyingRpc;
  let folder: string;
  let child: ChildProcess | undefined;
  const cleanups: (() => Promise<unknown>)[] = [];
  const story: string[] = [];
  const random = randomOf(SEED);
  const below = (limit: number) => Math.floor(random() * limit);
  /** Apart, as nobody knows how often the RPC is asked while people do something. */
  const chance = randomOf(SEED + 1);
  const lot = (limit: number) => Math.floor(chance() * limit);
  before(async function () {
    this.timeout(180_000);
    market = await startMarket();
    cleanups.push(() => market.stop());
    proxy = await startLyingRpc(market.anvil.url);
    cleanups.push(() => proxy.stop());
    traffic = await startTraffic(market, SEED);
    folder = await mkdtemp(join(tmpdir(), "berth-faults-"));
    cleanups.push(() => rm(folder, { recursive: true, force: true }));
    await writeFile(join(folder, "deployment.json"), JSON.stringify(market.deployment));
  });
  after(async () => {
    for (const cleanup of cleanups.reverse()) await cleanup();
  });

  it(`has the tables of an index from scratch and of the contracts' storage (seed ${SEED})`, async function () {
    this.timeout(400_000);
    try {
      const data = await newFolder();
      let url = await start(data, proxy.url);
      for (const depth of DEPTHS) {
        proxy.lie = lieAtRandom;
        await act();
        await reorganise(url, depth ?? 1 + below(64));
        await act();
        await killInTheMiddle();
        proxy.lie = () => undefined;
        url = await start(data, proxy.url);
      }
      await follows(url);
      await kill();
      const scratch = await newFolder();
      await follows(await start(scratch, market.anvil.url));
      await kill();

      const [followed, fresh] = [await openPglite(data), await openPglite(scratch)];
      cleanups.push(() => Promise.all([followed.close(), fresh.close()]));
      const hashes = await tableHashes(fresh);
      for (const name of ["blocks", "jobs", "logs", "nodes", "replicas", "undo"])
        expect(hashes[name]).to.not.match(/^0 /);
      const held = await tableHashes(followed);
      const different = TABLES.filter((name) => held[name] !== hashes[name]);
      expect(different, "tables that differ").to.deep.equal([]);
      const [undone] = await followed.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM changes WHERE entity = 'reorg'",
      );
      expect(undone?.n, "rolled back").to.be.at.least(DEPTHS.length);
      await expectEqualStorage(followed.query, market, traffic);
    } catch (error) {
      const seed = `Run with SEED=${SEED} to see it again. What happened last:\n${story.slice(-40).join("\n")}`;
      throw new Error(`${(error as Error).message}\n${seed}`, { cause: error });
    }
  });

  async function act(): Promise<void> {
    const done = await traffic.act(3 + below(4));
    story.push(`people did ${[...done].map(([name, count]) => `${count} ${name}`).join(", ")}`);
  }

  /** The newest `depth` blocks, of which it has at least one, are replaced by more of them. */
  async function reorganise(url: string, depth: number): Promise<void> {
    const before = { chain: await market.anvil.call("evm_snapshot"), traffic: traffic.remember() };
    const from = await height();
    await mineTo(from + 1 + below(depth));
    if ((await height()) + 4 < from + depth) await traffic.act(2);
    await mineTo(from + depth);
    const gone = await height();
    await indexes(url, gone - below(depth));
    await market.anvil.call("evm_revert", [before.chain]);
    traffic.restore(before.traffic);
    await act();
    await mineTo(gone + 1);
    story.push(`blocks ${from + 1} to ${gone} were replaced`);
  }

  /** `kill -9` while it asks or writes: so many answers from now on. */
  async function killInTheMiddle(): Promise<void> {
    const until = proxy.calls.length + below(60);
    await market.anvil.call("anvil_mine", [`0x${(1 + below(9)).toString(16)}`]);
    await eventually("the RPC is asked on", () => proxy.calls.length >= until, 120_000);
    await kill();
    story.push(`it was killed after ${proxy.calls.length} calls`);
  }

  async function lieAtRandom({ method, params }: { method: string; params: unknown[] }): Promise<Lie | undefined> {
    if (lot(100) >= WRONG_PERCENT) return undefined;
    const lie = lot(6);
    const lied = (what: string) => story.push(`the RPC ${what} ${method}`);
    if (lie === 0) {
      lied("failed at");
      return { error: { code: -32_000, message: "header not found" } };
    }
    if (lie === 1) return "500";
    if (lie === 2) return "hang up";
    if (method === "eth_getLogs") {
      lied("gave nothing for");
      return { answer: [] };
    }
    if (method !== "eth_getBlockByNumber") return undefined;
    if (params[0] !== "latest") {
      lied(lie === 3 ? "gave null for" : "gave another block for");
      return { answer: lie === 3 ? null : await blockAt(Math.max(0, Number(params[0]) - 1)) };
    }
    const head = await height();
    if (lie === 3) {
      lied("was behind at");
      return { answer: await blockAt(Math.max(0, head - 1 - lot(70))) };
    }
    lied("gave a made-up hash for");
    const made = `0x${lot(2 ** 32)
      .toString(16)
      .padStart(64, "a")}`;
    return { answer: { ...(await blockAt(Math.max(0, head - lot(3)))), hash: made } };
  }

  /** Resolves once its API listens. */
  async function start(data: string, rpcUrl: string): Promise<string> {
    const { DATABASE_URL: _, ...env } = process.env;
    const args = ["--deployment", join(folder, "deployment.json"), "--rpc", rpcUrl, "--data", data];
    const started = spawn(process.execPath, [MAIN, "start", "--json", ...args, "--port", "0", "--poll-ms", "10"], {
      env: { ...env, LOG_LEVEL: "silent" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    child = started;
    cleanups.push(async () => started.kill("SIGKILL"));
    for await (const line of createInterface({ input: started.stdout })) {
      const url = /"url":"([^"]+)"/.exec(line)?.[1];
      if (url === undefined) throw new Error(`the indexer said: ${line}`);
      started.stdout.resume();
      return url;
    }
    throw new Error("the indexer ended before it listened");
  }

  async function kill(): Promise<void> {
    if (child === undefined || child.exitCode !== null) throw new Error(`the indexer ended by itself`);
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  async function follows(url: string): Promise<void> {
    const head = await height();
    await eventually(
      `the indexer has block ${head}`,
      async () => {
        const status = (await (await fetch(`${url}/status`)).json()) as { state: string; indexed: number };
        return status.state === "following" && status.indexed === head;
      },
      120_000,
    );
  }

  async function indexes(url: string, number: number): Promise<void> {
    const status = async () => (await (await fetch(`${url}/status`)).json()) as { indexed: number | null };
    await eventually(`the indexer has block ${number}`, async () => ((await status()).indexed ?? 0) >= number, 120_000);
  }

  async function newFolder(): Promise<string> {
    const made = await newDataFolder();
    cleanups.push(() => rm(made, { recursive: true, force: true }));
    return made;
  }

  async function height(): Promise<number> {
    return Number(await market.anvil.call("eth_blockNumber"));
  }
  async function mineTo(number: number): Promise<void> {
    const missing = number - (await height());
    if (missing > 0) await market.anvil.call("anvil_mine", [`0x${missing.toString(16)}`]);
  }
  const blockAt = (number: number) => market.anvil.call("eth_getBlockByNumber", [`0x${number.toString(16)}`, false]);
});

/** Whatever the order of the rows. */
async function tableHashes({ query }: Database): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const name of TABLES) {
    const [row] = await query<{ hash: string }>(
      `SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(t::text, chr(10) ORDER BY t::text)), '') AS hash
       FROM "${name}" t`,
    );
    hashes[name] = row?.hash ?? "";
  }
  return hashes;
}
