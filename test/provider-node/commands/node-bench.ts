import { join } from "node:path";
import { errorToJson } from "@berth/protocol";
import { expect } from "chai";
import { createProgram } from "../../../provider-node/src/cli/program.ts";
import { createRunner, failureOf } from "../../../provider-node/src/cli/runner.ts";
import { freePort } from "../../../scripts/lib/free-port.ts";
import { type MarketBench, openMarketBench } from "../daemon/market-bench.ts";
import type { Ran } from "../daemon/node-process.ts";

/** A market and the flags of one node on it. */
export interface NodeBench {
  market: MarketBench;
  dataDir: string;
  /** With `--json`. */
  flags: string[];
  /** The node's address for the world. */
  url: string;
  /** Runs a command to its end. */
  run(...args: string[]): Promise<Pick<Ran, "code" | "stdout">>;
  /** Runs a command that has to succeed, and parses its answer. */
  // biome-ignore lint/suspicious/noExplicitAny: answers of commands, asserted by the test
  ask(...args: string[]): Promise<any>;
  /** Runs a command that has to fail, and returns its exit code and error. */
  fail(...args: string[]): Promise<{ exit: number | null; code: string; message: string; hint: string }>;
  /** Takes away what the node left on this machine. */
  close(): Promise<void>;
}

/** A market with an operator that has token units, and a node that has only been made. */
export async function openNodeBench(): Promise<NodeBench> {
  const market = await openMarketBench();
  const dataDir = join(market.dir, "node");
  const port = await freePort();
  const settings = {
    ...{ confirmations: 1, pollMs: 200, "mesh.enabled": false, "content.allowPrivateSources": true },
    ...{
      "offers.cpuRateX18": 10n ** 15n,
      "offers.baseCharge": 100,
      "offers.maxBond": 1000,
      "offers.refreshSeconds": 1,
    },
    "offers.capacity": '{"cpuMilli":1000,"memoryMiB":512,"diskMiB":256}',
    ...{ "offers.minSubmitMargin": 0, "offers.maxSettleSeconds": 604_800, "offers.ttlSeconds": 10 },
  };
  const flags = [
    ...["--data-dir", dataDir, "--rpc", market.anvil.url, "--deployment", market.deploymentFile],
    ...["--operator", market.operator.address, "--run-id", `c${(process.pid % 46656).toString(36)}`],
    ...["--port", String(port), "--indexer", market.indexerUrl, "--token", market.token, "--json"],
    ...Object.entries(settings).flatMap(([path, value]) => ["--set", `${path}=${value}`]),
  ];
  const run = (...args: string[]) => runHere([...flags, ...args]);
  const ask = async (...args: string[]) => {
    const { code, stdout } = await run(...args);
    expect(code, stdout).to.equal(0);
    return JSON.parse(stdout);
  };
  const { key } = await ask("init");
  await market.fund(key);
  await market.mint(market.operator.address, 10_000n);
  return {
    ...{ market, dataDir, flags, url: `http://127.0.0.1:${port}`, run, ask },
    async fail(...args) {
      const { code: exit, stdout } = await run(...args);
      expect(stdout).to.match(/^\{"error":/);
      return { exit, ...JSON.parse(stdout).error };
    },
    async close() {
      const cleaned = await run("clean");
      await market.close();
      expect(cleaned.code, cleaned.stdout).to.equal(0);
    },
  };
}

/** As `berthNode`, in this process: it answers the same, and sooner. */
async function runHere(args: readonly string[]): Promise<Pick<Ran, "code" | "stdout">> {
  const { signal } = new AbortController();
  const before = process.exitCode;
  let stdout = "";
  try {
    const run = createRunner(signal, (text) => {
      stdout += text;
    });
    await createProgram(run).parseAsync(args, { from: "user" });
    return { code: Number(process.exitCode ?? 0), stdout };
  } catch (thrown) {
    const { error, exitCode } = failureOf(thrown, signal);
    return { code: exitCode, stdout: JSON.stringify({ error: errorToJson(error) }) };
  } finally {
    process.exitCode = before;
  }
}
