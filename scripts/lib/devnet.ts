import { constants } from "node:fs";
import { access, chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Deployment, MarketError, testTokenAbi } from "@berth/protocol";
import { createPublicClient, createWalletClient, defineChain, erc20Abi, http, parseEther } from "viem";
import { stringify } from "yaml";
import { openAccounts } from "./accounts.ts";
import { buildContracts, startChain } from "./chain.ts";
import { type Child, startChild, untilReady } from "./children.ts";
import { type DevnetNode, prepareNode } from "./devnet-node.ts";
import { freePort } from "./free-port.ts";
import { assertPortFree, createNetwork, forwardTcp } from "./network.ts";
import { reapNodeData } from "./reap-node.ts";
import { missingRequirements } from "./requirements.ts";
import { openRun, type RunLedger, reapDeadRuns, takeAway } from "./run-ledger.ts";
import { initAuthority, openAuthority, type TpmAuthority } from "./tpm-authority.ts";
import { waitFor, waitForHttp } from "./wait.ts";

const root = join(import.meta.dirname, "..", "..");
const TOKEN = 10n ** 6n;

/** Tells a person what is going on: one line when a step begins, with what it took when it ends. */
export interface Progress {
  step<T>(what: string, work: () => Promise<T>): Promise<T>;
  note(text: string): void;
}

export interface DevnetOptions {
  /** Provider nodes to start; 0 runs chain and indexer alone. */
  nodes: number;
  /** Ports on 127.0.0.1; 0 takes a free one. */
  rpcPort: number;
  indexerPort: number;
  blockMs?: number;
  /** Where runs keep their things. */
  runsFolder?: string;
  progress: Progress;
  signal: AbortSignal;
}

/** A whole market on this machine. */
export interface Devnet {
  id: string;
  folder: string;
  ledger: RunLedger;
  rpcUrl: string;
  indexerUrl: string;
  /** This machine's address that the nodes reach; undefined without nodes. */
  gateway: string | undefined;
  deployment: Deployment;
  nodes: DevnetNode[];
  children: Child[];
  /** Configuration for `berth`, with the requester's open key. */
  clientConfigFile: string;
  tpmAuthorityFile: string | undefined;
  /** Ends everything and leaves nothing. Safe to call twice. */
  stop(): Promise<void>;
}

/** Starts chain, contracts, indexer, mesh and nodes. What it made is gone when it throws. */
export async function startDevnet(options: DevnetOptions): Promise<Devnet> {
  const { progress, signal } = options;
  const runsFolder = options.runsFolder ?? join(root, ".berth", "runs");
  const missing = options.nodes > 0 ? await missingRequirements() : [];
  for (const { what, cost, fix } of missing) progress.note(`Missing: ${what}. Without it ${cost}. To get it: ${fix}`);
  const fatal = missing.find((entry) => entry.fatal);
  if (fatal)
    throw new MarketError("REQUIREMENT_MISSING", `Cannot start nodes without ${fatal.what}.`, { hint: fatal.fix });
  const lacks = (start: string) => missing.some((entry) => entry.what.toLowerCase().includes(start));

  await assertPortFree(options.rpcPort, "--rpc-port");
  await assertPortFree(options.indexerPort, "--indexer-port");
  await makeWritable(runsFolder);
  const reaped = await reapDeadRuns(runsFolder, reapNodeData);
  if (reaped.length > 0)
    progress.note(`Cleaned up after ${reaped.length} run(s) that had been killed: ${reaped.join(", ")}`);
  const ledger = openRun(runsFolder);
  let stopping: Promise<void> | undefined;
  const closers: (() => Promise<void>)[] = [];
  const stop = () => {
    // The ways to chain and indexer stay open until the nodes have stopped.
    stopping ??= takeAway(ledger, reapNodeData).finally(() => Promise.all(closers.map((close) => close())));
    return stopping;
  };
  try {
    return await build();
  } catch (error) {
    await stop();
    throw error;
  }

  async function build(): Promise<Devnet> {
    const mesh = !lacks("wireguard") && !lacks("/dev/net/tun");
    const chain = await progress.step("Hardhat node with the contracts", async () => {
      await buildContracts();
      return await startChain(ledger, { port: options.rpcPort, blockMs: options.blockMs ?? 500 });
    });
    const children = [chain.child];
    signal.throwIfAborted();
    const { deployment, rpcUrl } = chain;
    const deploymentFile = join(ledger.folder, "deployment.json");
    await writeFile(deploymentFile, JSON.stringify(deployment, null, 2));

    const network = options.nodes > 0 ? await progress.step("private network", () => createNetwork(ledger)) : undefined;
    const [indexer] = await together([
      progress.step("indexer and matching engine", () =>
        startIndexer(ledger, { deploymentFile, rpcUrl, port: options.indexerPort }),
      ),
      fundAccounts(rpcUrl, deployment),
    ]);
    children.push(indexer.child);
    signal.throwIfAborted();

    const nodes: DevnetNode[] = [];
    let tpmAuthorityFile: string | undefined;
    if (network) {
      const rpcForward = await forwardTcp(network.gateway, chain.port);
      const indexerForward = await forwardTcp(network.gateway, Number(new URL(indexer.url).port));
      closers.push(rpcForward.close, indexerForward.close);
      const authority = lacks("swtpm") ? undefined : await makeAuthority(ledger);
      tpmAuthorityFile = authority?.file;
      const prepared = await progress.step(`keys, TPMs and addresses of ${options.nodes} nodes`, () =>
        together(
          openAccounts.operators.slice(0, options.nodes).map(async (operator, number) =>
            prepareNode(ledger, {
              number,
              host: await network.addHost(number),
              operator,
              deployment,
              deploymentFile,
              rpcUrl: `http://${network.gateway}:${rpcForward.port}`,
              indexerUrl: `http://${network.gateway}:${indexerForward.port}`,
              cpuRateX18: BigInt(number + 2) * 10n ** 17n,
              mesh,
              authority: authority?.authority,
            }),
          ),
        ),
      );
      signal.throwIfAborted();
      await progress.step("operators register DID, node keys and limits, and stake", async () => {
        await fundHotKeys(
          rpcUrl,
          deployment,
          prepared.map((node) => node.hotKey),
        );
        await together(prepared.map(registerAndStake));
      });
      signal.throwIfAborted();
      const started = await progress.step("nodes prove what they can do, join the mesh and sign offers", async () => {
        const running = await together(prepared.map((node) => node.start()));
        await waitForOffers(indexer.url, running, signal);
        return running;
      });
      children.push(...started);
      nodes.push(...prepared);
    }
    const clientConfigFile = await writeClientConfig(ledger, {
      rpcUrl,
      indexerUrl: indexer.url,
      deploymentFile,
      contentHost: network?.gateway ?? "127.0.0.1",
      tpmAuthorityFile,
    });
    return {
      id: ledger.id,
      folder: ledger.folder,
      ledger,
      rpcUrl,
      indexerUrl: indexer.url,
      gateway: network?.gateway,
      deployment,
      nodes,
      children,
      clientConfigFile,
      tpmAuthorityFile,
      stop,
    };
  }
}

async function makeWritable(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (cause) {
    throw new MarketError("FOLDER_NOT_WRITABLE", `The folder ${folder} cannot be written.`, {
      hint: "Run as the user who owns this checkout, or give that user the folder with chown.",
      cause,
    });
  }
}

/** `Promise.all` that waits for all even when one fails: nothing may still be in the making when a run is taken away. */
async function together<const T extends readonly Promise<unknown>[]>(work: T) {
  await Promise.allSettled(work);
  return await Promise.all(work);
}

async function startIndexer(ledger: RunLedger, at: { deploymentFile: string; rpcUrl: string; port: number }) {
  const port = at.port === 0 ? await freePort() : at.port;
  const keyFile = await writeKey(ledger, "matcher", openAccounts.matcher.privateKey);
  const main = join(root, "indexer", "src", "main.ts");
  const data = join(ledger.folder, "indexer");
  const args = [main, "start", "--deployment", at.deploymentFile, "--rpc", at.rpcUrl, "--data", data];
  args.push("--host", "127.0.0.1", "--port", String(port), "--matcher-key-file", keyFile);
  const logFile = join(ledger.folder, "indexer.log");
  const child = await startChild(ledger, { what: "indexer", file: process.execPath, args, logFile, ipc: true });
  const url = `http://127.0.0.1:${port}`;
  await untilReady(child, waitForHttp(`${url}/ready`));
  return { child, url };
}

async function registerAndStake(node: DevnetNode): Promise<void> {
  const keyFile = join(node.dataDir, "..", `operator${node.number}.key`);
  await writeFile(keyFile, node.operator.privateKey, { mode: 0o600 });
  await node.command("register", "--operator-key-file", keyFile, "--json");
  await node.command("stake", String(1000n * TOKEN), "--operator-key-file", keyFile, "--json");
}

async function makeAuthority(ledger: RunLedger): Promise<{ authority: TpmAuthority; file: string }> {
  const dir = join(ledger.folder, "tpm-authority");
  const { publicKey } = await initAuthority(dir);
  const file = join(ledger.folder, "tpm-authorities.json");
  await writeFile(file, JSON.stringify([{ publicKey, kind: "software" }], null, 2));
  return { authority: await openAuthority(dir), file };
}

function clients(rpcUrl: string, chainId: number) {
  const chain = defineChain({
    id: chainId,
    name: "devnet",
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [rpcUrl] } },
  });
  const transport = http(rpcUrl);
  return {
    reader: createPublicClient({ chain, transport, pollingInterval: 100 }),
    faucet: createWalletClient({ chain, transport, account: openAccounts.faucet.account }),
  };
}

/** Gives requester and operators tokens to work with. */
async function fundAccounts(rpcUrl: string, deployment: Deployment): Promise<void> {
  const { reader, faucet } = clients(rpcUrl, deployment.chainId);
  const token = tokenOf(deployment);
  let nonce = await reader.getTransactionCount({ address: openAccounts.faucet.address, blockTag: "pending" });
  for (const { address } of [openAccounts.requester, ...openAccounts.operators]) {
    const call = {
      address: token,
      abi: testTokenAbi,
      functionName: "mint",
      args: [address, 1_000_000n * TOKEN],
    } as const;
    await faucet.writeContract({ ...call, nonce: nonce++ });
  }
  await waitFor("the test tokens", async () => {
    const read = { address: token, abi: erc20Abi, functionName: "balanceOf" } as const;
    const last = openAccounts.operators.at(-1)?.address ?? openAccounts.requester.address;
    return (await reader.readContract({ ...read, args: [last] })) > 0n ? true : undefined;
  });
}

async function fundHotKeys(rpcUrl: string, deployment: Deployment, addresses: `0x${string}`[]): Promise<void> {
  const { reader, faucet } = clients(rpcUrl, deployment.chainId);
  let nonce = await reader.getTransactionCount({ address: openAccounts.faucet.address, blockTag: "pending" });
  const hashes: `0x${string}`[] = [];
  for (const to of addresses)
    hashes.push(await faucet.sendTransaction({ to, value: parseEther("10"), nonce: nonce++ }));
  await Promise.all(hashes.map((hash) => reader.waitForTransactionReceipt({ hash })));
}

function tokenOf({ tokens: [token] }: Deployment): `0x${string}` {
  if (token === undefined) throw new MarketError("DEPLOYMENT_INVALID", "A devnet's deployment has a test token.");
  return token.address;
}

/** Waits for an offer of every node. Throws NO_OFFERS with what the nodes complained about. */
async function waitForOffers(indexerUrl: string, nodes: readonly Child[], signal: AbortSignal): Promise<void> {
  const enough = async () => {
    const answer = await fetch(`${indexerUrl}/offers`, { signal });
    const { items } = (await answer.json()) as { items: unknown[] };
    return items.length >= nodes.length ? true : undefined;
  };
  try {
    await waitFor(`${nodes.length} offers at the indexer`, enough, { signal });
  } catch (cause) {
    if (!(cause instanceof MarketError) || cause.code !== "WAITED_TOO_LONG") throw cause;
    const complaints = await Promise.all(nodes.map(complaintsOf));
    throw new MarketError("NO_OFFERS", `Not every node made an offer.\n${complaints.join("\n")}`, {
      hint: "The lines above are the warnings of the nodes. `berth-node doctor` tries everything that a node needs.",
      cause,
    });
  }
}

/** The last warnings and errors in a program's log. */
async function complaintsOf({ what, logFile }: Child): Promise<string> {
  const lines = (await readFile(logFile, "utf8").catch(() => "")).split("\n");
  const grave = lines.filter((line) => /"level":[456]0/.test(line));
  return [`${what}:`, ...grave.slice(-5)].join("\n  ");
}

async function writeKey(ledger: RunLedger, name: string, key: string): Promise<string> {
  const file = join(ledger.folder, `${name}.key`);
  await writeFile(file, key, { mode: 0o600 });
  await chmod(file, 0o600);
  return file;
}

async function writeClientConfig(
  ledger: RunLedger,
  at: {
    rpcUrl: string;
    indexerUrl: string;
    deploymentFile: string;
    contentHost: string;
    tpmAuthorityFile: string | undefined;
  },
): Promise<string> {
  const file = join(ledger.folder, "berth.yaml");
  const keyFile = await writeKey(ledger, "requester", openAccounts.requester.privateKey);
  const config = {
    rpcUrls: [at.rpcUrl],
    indexerUrl: at.indexerUrl,
    deploymentFile: at.deploymentFile,
    keyFile,
    contentDir: join(ledger.folder, "client-content"),
    contentHost: at.contentHost,
    ...(at.tpmAuthorityFile ? { tpmAuthoritiesFile: at.tpmAuthorityFile } : {}),
  };
  await writeFile(file, stringify(config));
  return file;
}
