// The whole market on this machine until Ctrl-C: chain, contracts, indexer and matching engine, mesh, provider nodes.
import { join } from "node:path";
import { parseArgs } from "node:util";
import { demoImage } from "./demo-job/image.ts";
import { openAccounts } from "./lib/accounts.ts";
import { type Devnet, startDevnet } from "./lib/devnet.ts";
import { stderrProgress, stopSignal } from "./lib/progress.ts";
import { runScript } from "./lib/script.ts";

const root = join(import.meta.dirname, "..");
const HELP = `npm run devnet -- [--nodes 0|1|2] [--rpc-port 8545] [--indexer-port 4000] [--json]

Starts the market on this machine and keeps it up until Ctrl-C. A port of 0 takes a free one.`;

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "2" },
    "rpc-port": { type: "string", default: "8545" },
    "indexer-port": { type: "string", default: "4000" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

await runScript(async () => {
  const signal = stopSignal();
  const progress = stderrProgress();
  const devnet = await startDevnet({
    nodes: Math.min(Number(values.nodes), openAccounts.operators.length),
    rpcPort: Number(values["rpc-port"]),
    indexerPort: Number(values["indexer-port"]),
    progress,
    signal,
  });
  try {
    const image =
      devnet.nodes.length > 0
        ? await progress.step("demo image", () => demoImage(join(root, ".berth", "cache")))
        : undefined;
    console.log(values.json ? JSON.stringify(summary(devnet)) : text(devnet, image?.dir));
    const ended = devnet.children.map(
      async (child) => `The ${child.what} ${await child.ended}. Its log: ${child.logFile}`,
    );
    const stopped = new Promise<undefined>((resolve) => signal.addEventListener("abort", () => resolve(undefined)));
    const why = signal.aborted ? undefined : await Promise.race([...ended, stopped]);
    if (why !== undefined && !signal.aborted) progress.note(why);
    return why === undefined || signal.aborted ? 0 : 1;
  } finally {
    await progress.step("stop everything", () => devnet.stop());
  }
}, values);

function summary(devnet: Devnet) {
  return {
    id: devnet.id,
    rpcUrl: devnet.rpcUrl,
    indexerUrl: devnet.indexerUrl,
    deployment: devnet.deployment,
    config: devnet.clientConfigFile,
    nodes: devnet.nodes.map(({ url, operator, hotKey, dataDir }) => ({
      url,
      operator: operator.address,
      hotKey,
      dataDir,
    })),
    accounts: [openAccounts.requester, ...openAccounts.operators].map(({ name, address, privateKey }) => ({
      name,
      address,
      privateKey,
    })),
  };
}

function text(devnet: Devnet, imageDir: string | undefined): string {
  const accounts = [openAccounts.requester, ...openAccounts.operators];
  const berth = "node client/src/main.ts";
  const lines = [
    "",
    `Chain     ${devnet.rpcUrl}  (chain id ${devnet.deployment.chainId})`,
    `Indexer   ${devnet.indexerUrl}  (API description: ${devnet.indexerUrl}/openapi.json)`,
    `Market    ${devnet.deployment.market}`,
    `Identity  ${devnet.deployment.identity}`,
    ...devnet.deployment.tokens.map((token) => `${token.symbol.padEnd(9)} ${token.address}`),
    ...devnet.nodes.map((node) => `Node ${node.number}    ${node.url}  operator ${node.operator.address}`),
    "",
    "Open keys (everybody knows them; never send them real money):",
    ...accounts.map((account) => `  ${account.name.padEnd(11)} ${account.address}  ${account.privateKey}`),
    "",
    "Try, in another terminal in this folder (with .tools/node_modules/node/bin first on PATH when your Node is older than 24):",
    `  export BERTH_CONFIG=${devnet.clientConfigFile}`,
    ...(imageDir ? [`  ${berth} run oci:${imageDir} --yes --out picture -- 640 480 500`] : []),
    `  ${berth} offers`,
    `  curl ${devnet.indexerUrl}/jobs`,
    "",
    "Ctrl-C stops it.",
  ];
  return lines.join("\n");
}
