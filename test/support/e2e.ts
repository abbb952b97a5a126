import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  depositOf,
  type Hex,
  identityRegistryAbi,
  type JobId,
  jobMarketAbi,
  MarketError,
  providerStakingAbi,
  type Terms,
} from "@berth/protocol";
import { execa } from "execa";
import { createPublicClient, defineChain, erc20Abi, http, type PublicClient } from "viem";
import { type Child, startChild } from "../../scripts/lib/children.ts";
import { type Devnet, startDevnet } from "../../scripts/lib/devnet.ts";
import type { DevnetNode } from "../../scripts/lib/devnet-node.ts";
import { waitFor } from "../../scripts/lib/wait.ts";

const root = join(import.meta.dirname, "..", "..");
/** Command lines under test. */
export const scripts = {
  client: join(root, "client", "src", "main.ts"),
  node: join(root, "provider-node", "src", "main.ts"),
  indexer: join(root, "indexer", "src", "main.ts"),
  devnet: join(root, "scripts", "devnet.ts"),
  demo: join(root, "scripts", "demo.ts"),
} as const;

/** Where the tests' images are kept from run to run. */
export const imageCache = join(root, ".berth", "cache");

/** A devnet of a test file's own, and a way to look at its chain that none of the programs under test uses. */
export interface Market {
  devnet: Devnet;
  /** For what the tests write; removed by `close`. */
  folder: string;
  reader: PublicClient;
  token: Hex;
  /** Aborts when the market closes: whatever a test left running ends with it. */
  signal: AbortSignal;
  close(): Promise<void>;
}

/**
 * Starts chain, indexer and nodes. Throws the devnet's own errors, and leaves nothing then. A Ctrl-C of the test run
 * takes the market away first; after a kill -9 the next devnet or test run does.
 */
export async function openMarket({ nodes = 2 } = {}): Promise<Market> {
  const folder = await mkdtemp(join(tmpdir(), "berth-e2e-"));
  const closing = new AbortController();
  let devnet: Devnet | undefined;
  const close = async () => {
    closing.abort();
    await devnet?.stop();
    await rm(folder, { recursive: true, force: true });
    openMarkets.delete(close);
  };
  closeOnInterrupt(close);
  try {
    const progress = { step: <T>(_: string, work: () => Promise<T>) => work(), note: () => {} };
    devnet = await startDevnet({ nodes, rpcPort: 0, indexerPort: 0, progress, signal: closing.signal });
    const token = devnet.deployment.tokens[0]?.address;
    if (token === undefined) throw new Error("a devnet has a token");
    const reader = readerOf(devnet.rpcUrl, devnet.deployment.chainId);
    return { devnet, folder, reader, token, signal: closing.signal, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const openMarkets = new Set<() => Promise<void>>();

function closeOnInterrupt(close: () => Promise<void>): void {
  openMarkets.add(close);
  for (const name of ["SIGINT", "SIGTERM"] as const) process.off(name, closeAllAndExit).on(name, closeAllAndExit);
}

function closeAllAndExit(): void {
  void Promise.allSettled([...openMarkets].map((close) => close())).finally(() => process.exit(130));
}

function readerOf(rpcUrl: string, id: number): PublicClient {
  const nativeCurrency = { name: "Ether", symbol: "ETH", decimals: 18 };
  const chain = defineChain({ id, name: "devnet", nativeCurrency, rpcUrls: { default: { http: [rpcUrl] } } });
  return createPublicClient({ chain, transport: http(rpcUrl), cacheTime: 0, pollingInterval: 100 });
}

/** How a command line ended. */
export interface Ended {
  exitCode: number | undefined;
  stdout: string;
  stderr: string;
  /** What it printed on stdout, when that is one JSON document. */
  json: unknown;
}

/** `berth` as a person calls it, with `--json`. Settings of the person's own environment do not reach it. */
export async function berth(market: Market, ...args: string[]): Promise<Ended> {
  return await program([scripts.client, ...flagsBeforeCommand(market, args)], market);
}

function flagsBeforeCommand({ devnet }: Market, args: string[]): string[] {
  const config = args.includes("--config") ? [] : ["--config", devnet.clientConfigFile];
  return [...config, "--json", ...args];
}

/** Runs one of our programs to its end with Node. */
export async function program(
  args: string[],
  { signal, env = {} }: { signal: AbortSignal; env?: Record<string, string> },
): Promise<Ended> {
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BERTH_")));
  const done = await execa(process.execPath, args, {
    env: { ...own, NO_COLOR: "1", ...env }, // a CI server's own variable turns colours on
    extendEnv: false,
    reject: false,
    stdin: "ignore",
    timeout: 240_000,
    cancelSignal: signal,
    forceKillAfterDelay: 2000,
  });
  return { exitCode: done.exitCode, stdout: done.stdout, stderr: done.stderr, json: parsed(done.stdout) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A match as the chain announced it. */
export interface Matched {
  jobId: JobId;
  node: DevnetNode;
  terms: Terms;
  deposit: bigint;
}

/** Waits for the next match after block `from`, by the market's events. `failed` ends the waiting. */
export async function nextMatch(market: Market, from: bigint, ended: Promise<Ended>): Promise<Matched> {
  let over: Ended | undefined;
  void ended.then((how) => {
    over = how;
  });
  return await waitFor("a match", async () => {
    const terms = await termsOfMatch(market, from);
    if (terms !== undefined) {
      const node = nodeOf(market, terms.assignment.operator);
      return { jobId: terms.job.jobId, node, terms, deposit: depositOf(terms) };
    }
    if (over !== undefined) throw new Error(`\`berth\` ended before a match:\n${over.stderr}`);
    return undefined;
  });
}

/** The terms of the first replica that was matched since block `fromBlock`, or of `jobId`'s. */
export async function termsOfMatch(market: Market, fromBlock: bigint, jobId?: JobId): Promise<Terms | undefined> {
  const wanted = { ...marketContract(market), fromBlock, ...(jobId === undefined ? {} : { args: { jobId } }) };
  const [matched] = await market.reader.getContractEvents({ ...wanted, eventName: "JobMatched" });
  const [replica] = await market.reader.getContractEvents({ ...wanted, eventName: "ReplicaMatched" });
  const { job } = matched?.args ?? {};
  const { assignment } = replica?.args ?? {};
  return job === undefined || assignment === undefined ? undefined : ({ job, assignment } as Terms);
}

function nodeOf({ devnet }: Market, operator: string): DevnetNode {
  const node = devnet.nodes.find((one) => one.operator.address.toLowerCase() === operator.toLowerCase());
  if (node === undefined) throw new Error(`no node of ${operator}`);
  return node;
}

export function marketContract({ devnet }: Market) {
  return { address: devnet.deployment.market, abi: jobMarketAbi } as const;
}

export function identityContract({ devnet }: Market) {
  return { address: devnet.deployment.identity, abi: identityRegistryAbi } as const;
}

/** Everything that money does, read from storage. Token units. */
export async function moneyOf(market: Market, account: Hex) {
  const { reader, token, devnet } = market;
  const staking = { address: devnet.deployment.staking, abi: providerStakingAbi } as const;
  const [wallet, balance, stake] = await Promise.all([
    reader.readContract({ address: token, abi: erc20Abi, functionName: "balanceOf", args: [account] }),
    reader.readContract({ ...marketContract(market), functionName: "balanceOf", args: [account, token] }),
    reader.readContract({ ...staking, functionName: "stakeOf", args: [account, token] }),
  ]);
  return { wallet, balance, free: stake.free, locked: stake.locked };
}

/** What the market's storage says of a replica. */
export async function replicaOf(market: Market, jobId: JobId, replica = 0) {
  const contract = marketContract(market);
  return await market.reader.readContract({ ...contract, functionName: "replicaOf", args: [jobId, replica] });
}

/** Replica states, in the order of the contract's enum. */
export const states = { active: 2, submitted: 3, judging: 4, disputed: 5, settled: 6, refunded: 7 } as const;

export async function useOf(market: Market, node: DevnetNode) {
  const args = [node.operator.address, 0] as const;
  return await market.reader.readContract({ ...marketContract(market), functionName: "useOf", args });
}

/** Waits until the node says of itself that the job is in `phase`. */
export async function untilPhase(node: DevnetNode, jobId: JobId, phase: string): Promise<void> {
  await waitFor(`phase ${phase} of job ${jobId}`, async () => {
    const answer = await fetch(`${node.url}/jobs/${jobId}/0`, { signal: AbortSignal.timeout(2000) }).catch(() => {});
    if (!answer?.ok) return undefined;
    const { phase: now, message } = (await answer.json()) as { phase: string; message?: string };
    if (now === "failed") throw new Error(`the node says: failed (${message})`);
    return now === phase ? true : undefined;
  });
}

/** The process of one of the run's programs, the last one that was started under this name. */
export function childOf({ devnet }: Market, what: string): Child {
  const child = devnet.children.findLast((one) => one.what === what);
  if (child === undefined) throw new Error(`no child "${what}"`);
  return child;
}

/** Ends a program the hard way and waits until it is gone. */
export async function kill9(child: Child): Promise<void> {
  child.process.kill("SIGKILL");
  await child.ended;
}

/** Starts a program of the run again, with the very same command line. */
export async function startAgain({ devnet }: Market, dead: Child): Promise<Child> {
  const { spawnfile, spawnargs } = dead.process;
  const options = { what: dead.what, file: spawnfile, args: spawnargs.slice(1), logFile: dead.logFile, ipc: true };
  const child = await startChild(devnet.ledger, options);
  devnet.children.push(child);
  return child;
}

/** What went wrong, with the ends of the run's logs. For assertions that fail far from the cause. */
export async function logsOf({ devnet }: Market): Promise<string> {
  const ends = devnet.children.map(async ({ what, logFile }) => {
    const text = await readFile(logFile, "utf8").catch(() => "");
    return `--- ${what}\n${text.split("\n").slice(-15).join("\n")}`;
  });
  return (await Promise.all(ends)).join("\n");
}

/** Checks that an error was told as it should be: code, a sentence, what to do; no stack. */
export function errorOf({ json, stderr }: Ended): { code: string; message: string; hint?: string } {
  const { error } = (json ?? {}) as { error?: { code: string; message: string; hint?: string } };
  if (error === undefined) throw new MarketError("NO_ERROR_TOLD", `No error on stdout. On stderr:\n${stderr}`);
  return error;
}
