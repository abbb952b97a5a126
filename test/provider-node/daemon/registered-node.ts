import { join } from "node:path";
import { freePort } from "../../../scripts/lib/free-port.ts";
import type { MarketBench } from "./market-bench.ts";
import { berthNode } from "./node-process.ts";

/** A node that can be started: it has keys, gas, stake and a place in the registry. */
export interface RegisteredNode {
  /** Of every command of `berth-node`. */
  flags: string[];
  dataDir: string;
  /** Where others reach it. */
  url: string;
  /** Part of the names of its attempts. */
  runId: string;
}

const SETTINGS = {
  "mesh.enabled": "false",
  "content.allowPrivateSources": "true",
  "offers.capacity": JSON.stringify({ cpuMilli: 8000, memoryMiB: 1024, diskMiB: 1024 }),
  "offers.maxBond": "1000",
  "offers.baseCharge": "100",
  confirmations: "1",
  pollMs: "200",
};

/** @param letter tells its containers from those of other tests in this process */
export async function registerNode(
  bench: MarketBench,
  letter: string,
  settings: Record<string, string> = {},
): Promise<RegisteredNode> {
  const dataDir = join(bench.dir, "node");
  const port = await freePort();
  const runId = `${letter}${(process.pid % 46656).toString(36)}`;
  const flags = [
    ...["--data-dir", dataDir, "--rpc", bench.anvil.url, "--deployment", bench.deploymentFile],
    ...["--operator", bench.operator.address, "--run-id", runId, "--port", String(port)],
    ...["--indexer", bench.indexerUrl, "--token", bench.token, "--json"],
    ...Object.entries({ ...SETTINGS, ...settings }).flatMap(([path, value]) => ["--set", `${path}=${value}`]),
  ];
  const { key } = JSON.parse(await must([...flags, "init"]));
  await bench.fund(key);
  await bench.mint(bench.operator.address, 10_000n);
  await must([...flags, "stake", "5000", "--operator-key-file", bench.operatorKeyFile]);
  await must([...flags, "register", "--operator-key-file", bench.operatorKeyFile]);
  return { flags, dataDir, url: `http://127.0.0.1:${port}`, runId };
}

async function must(args: string[]): Promise<string> {
  const { code, stdout, stderr } = await berthNode(args);
  if (code !== 0) throw new Error(`berth-node ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}
