import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, type Gateway, openEmbeddedStore, startGateway } from "@berth/content";
import {
  type Address,
  type Claim,
  canonicalBytes,
  type Deployment,
  documentHash,
  type Hex,
  type JobId,
  jobIdOf,
  jobMarketAbi,
  type Offer,
  offerSchema,
  priceOf,
  type Request,
  requestTypedData,
  type Spec,
  type Terms,
  termsOf,
  ZERO_ADDRESS,
} from "@berth/protocol";
import pino from "pino";
import { type Abi, createPublicClient, createWalletClient, http, type PublicClient } from "viem";
import { generatePrivateKey, type PrivateKeyAccount } from "viem/accounts";
import { buildContracts } from "../../../scripts/lib/chain.ts";
import { type Anvil, startAnvil } from "../../support/anvil.ts";
import { eventually } from "../../support/eventually.ts";
import { busyboxImage } from "../../support/images.ts";
import { aRequest } from "../../support/orders.ts";
import { aSpec } from "../../support/specs.ts";

const root = join(import.meta.dirname, "../../..");
const log = pino({ level: "silent" });

/** A chain with the market on it, a requester with money and content, and an indexer that only remembers. */
export interface MarketBench {
  anvil: Anvil;
  client: PublicClient;
  deployment: Deployment;
  dir: string;
  deploymentFile: string;
  operatorKeyFile: string;
  operator: PrivateKeyAccount;
  requester: PrivateKeyAccount;
  token: Address;
  indexerUrl: string;
  gatewayUrl: string;
  /** The busybox image on the requester's gateway. */
  imageCid: string;
  /** The newest offer that a node posted after `since` (unix milliseconds). */
  offer(since?: number): Promise<{ offer: Offer; signature: Hex }>;
  hasOffer(since: number): boolean;
  /** The operator says whether its nodes may sign for the token. */
  accept(accepted: boolean): Promise<void>;
  fund(address: Address): Promise<void>;
  mint(to: Address, amount: bigint): Promise<void>;
  /** Publishes the spec (image included), and has the requester's own matcher bind it to the node's offer. */
  match(spec: Partial<Spec>, options?: MatchOptions): Promise<Matched>;
  /** Posts the request instead, for a node to accept by itself. */
  post(spec: Partial<Spec>, request?: Partial<Request>): Promise<{ jobId: JobId; spec: Spec }>;
  /** Serves a spec that a match kept back. */
  serve(spec: Spec): Promise<void>;
  results(jobId: JobId): Promise<Claim[]>;
  approve(matched: Matched, claim: Claim): Promise<void>;
  close(): Promise<void>;
}

export interface MatchOptions {
  request?: Partial<Request>;
  /** Bytes to serve instead of the spec's canonical form; null: nothing is served. */
  served?: Uint8Array | null;
}

export interface Matched {
  jobId: JobId;
  spec: Spec;
  terms: Terms;
  matchedAt: number;
}

/** Starts everything; `close` takes it all away again. */
export async function openMarketBench(): Promise<MarketBench> {
  if (process.env["BERTH_TEST_ARTIFACTS"] === undefined) await buildContracts();
  const dir = mkdtempSync(join(tmpdir(), "berth-daemon-"));
  const anvil = await startAnvil();
  const undo: (() => unknown)[] = [() => anvil.stop(), () => rmSync(dir, { recursive: true, force: true })];
  const close = async () => {
    for (const step of undo.splice(0).reverse()) await step();
  };
  try {
    return await furnish(dir, anvil, undo, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function furnish(
  dir: string,
  anvil: Anvil,
  undo: (() => unknown)[],
  close: () => Promise<void>,
): Promise<MarketBench> {
  const [deployer, operator, requester] = anvil.accounts;
  const client = createPublicClient({ transport: http(anvil.url), pollingInterval: 100 }) as PublicClient;
  const wallet = createWalletClient({ transport: http(anvil.url) });
  const mined = async (hash: Hex) => {
    const receipt = await client.waitForTransactionReceipt({ hash });
    if (receipt.status !== "success") throw new Error(`transaction ${hash} reverted`);
    return receipt;
  };
  const deploy = async (path: string, args: unknown[] = []) => {
    const { abi, bytecode } = artifact(path);
    const hash = await wallet.deployContract({ abi, bytecode, args, account: deployer, chain: null });
    const { contractAddress } = await mined(hash);
    return (contractAddress ?? "").toLowerCase() as Address;
  };
  const write = async (account: PrivateKeyAccount, address: Address, abi: Abi, functionName: string, args: unknown[]) =>
    mined(await wallet.writeContract({ address, abi, functionName, args, account, chain: null }));

  const identity = await deploy("identity/IdentityRegistry");
  const token = await deploy("mocks/TestToken");
  const desk = await deploy("market/MarketDesk", [identity]);
  const market = await deploy("market/JobMarket", [identity, desk, deployer.address, ZERO_ADDRESS]);
  const staking = (
    await client.readContract({ address: market, abi: jobMarketAbi, functionName: "staking" })
  ).toLowerCase() as Address;
  const tokens = [{ address: token, symbol: "tUSD", decimals: 6 }];
  const deployment: Deployment = { chainId: 31337, fromBlock: 1, identity, staking, market, tokens };
  const tokenAbi = artifact("mocks/TestToken").abi;
  const mint = async (to: Address, amount: bigint) =>
    void (await write(deployer, token, tokenAbi, "mint", [to, amount]));
  await mint(requester.address, 10n ** 12n);
  await write(requester, token, tokenAbi, "approve", [market, 10n ** 12n]);
  await write(requester, market, jobMarketAbi as Abi, "deposit", [requester.address, token, 10n ** 12n]);
  // From here on blocks come by the clock, so that confirmations move without transactions.
  await anvil.call("evm_setIntervalMining", [1]);

  const deploymentFile = join(dir, "deployment.json");
  writeFileSync(deploymentFile, JSON.stringify(deployment));
  const operatorKeyFile = join(dir, "operator.key");
  // The second account that every development chain funds.
  writeFileSync(operatorKeyFile, "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d\n", {
    mode: 0o600,
  });

  const store = await openEmbeddedStore({ dir: join(dir, "requester") });
  undo.push(() => store.close());
  const gateway: Gateway = await startGateway({ store, host: "127.0.0.1", port: 0, log });
  undo.push(() => gateway.close());
  const indexer = await startIndexer(() => [gateway.url]);
  undo.push(() => indexer.close());
  const image = await busyboxImage();
  const imageCid = (await store.addPath(image.dir)).cid;
  const domain = { chainId: 31337, market };

  const sealed = async (specChange: Partial<Spec>, requestChange: Partial<Request>, served?: Uint8Array | null) => {
    const spec = aSpec({
      image: { digest: image.digest, cid: imageCid },
      command: ["/bin/true"],
      env: {},
      resources: { cpuMilli: 500, memoryMiB: 64, diskMiB: 16, gpus: 0 },
      timeouts: { startSeconds: 60, runSeconds: 60 },
      retentionSeconds: 60,
      ...specChange,
    });
    await publish(store, spec, served);
    const { timestamp } = await client.getBlock();
    const { gpus: _, ...resources } = spec.resources;
    const request = aRequest({
      requester: requester.address,
      payer: requester.address,
      token,
      maxPrice: 10n ** 10n,
      specHash: documentHash(spec),
      ...resources,
      traits: 0n,
      maxSeconds: spec.timeouts.runSeconds,
      openUntil: Number(timestamp) + 600,
      acceptWindow: 30,
      submitWindow: 300,
      challengeWindow: 60,
      bond: 10n,
      compensationBps: 0,
      nonce: generatePrivateKey(),
      ...requestChange,
    });
    return { spec, request, jobId: jobIdOf(domain, request) };
  };

  return {
    ...{ anvil, client, deployment, dir, deploymentFile, operatorKeyFile, operator, requester, token, mint, close },
    indexerUrl: indexer.url,
    gatewayUrl: gateway.url,
    imageCid,
    offer: (since = 0) => eventually("an offer reaches the indexer", () => indexer.newest(since), 60_000),
    hasOffer: (since) => indexer.newest(since) !== undefined,
    async accept(accepted) {
      await write(operator, market, jobMarketAbi as Abi, "setAccepted", [operator.address, [token], accepted]);
    },
    async fund(address) {
      await anvil.call("anvil_setBalance", [address, `0x${(10n ** 19n).toString(16)}`]);
    },
    async match(specChange, { request: requestChange = {}, served } = {}) {
      const { spec, request, jobId } = await sealed(specChange, requestChange, served);
      const { offer, signature } = await eventually("an offer reaches the indexer", () => indexer.newest(0), 60_000);
      const requestSignature = await requester.signTypedData(requestTypedData(domain, request));
      const args = [request, requestSignature, "0x", [offer], [signature], []];
      const { blockNumber } = await write(deployer, market, jobMarketAbi as Abi, "matchJob", args);
      const { timestamp } = await client.getBlock({ blockNumber });
      return { jobId, spec, terms: termsOf(domain, request, offer, 0), matchedAt: Number(timestamp) };
    },
    async post(specChange, requestChange = {}) {
      const { spec, request, jobId } = await sealed(specChange, requestChange);
      const { offer } = await eventually("an offer reaches the indexer", () => indexer.newest(0), 60_000);
      const posted = { ...request, maxPrice: priceOf(request, [offer]) };
      await write(requester, market, jobMarketAbi as Abi, "post", [posted, "0x", "0x"]);
      return { jobId: request.maxPrice === posted.maxPrice ? jobId : jobIdOf(domain, posted), spec };
    },
    serve: (spec) => publish(store, spec, undefined),
    async results(jobId) {
      const options = { address: market, abi: jobMarketAbi, eventName: "ResultSubmitted", fromBlock: 0n } as const;
      const events = await client.getContractEvents(options);
      return events.flatMap(({ args }) => (args.jobId === jobId && args.claim !== undefined ? [args.claim] : []));
    },
    async approve({ terms }, claim) {
      await write(requester, market, jobMarketAbi as Abi, "approve", [terms, claim]);
    },
  };
}

async function publish(store: ContentStore, spec: Spec, served: Uint8Array | null | undefined): Promise<void> {
  if (served !== null) await store.addBytes(served ?? canonicalBytes(spec));
}

/** Takes offers and knows where the requester's content is; decides nothing. */
async function startIndexer(sources: () => string[]) {
  const offers: { at: number; offer: Offer; signature: Hex }[] = [];
  const server: Server = createServer(async (request, response) => {
    const answer = (status: number, body: object) => response.writeHead(status).end(JSON.stringify(body));
    if (request.method === "POST" && request.url === "/offers") {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { offer, signature } = JSON.parse(Buffer.concat(chunks).toString()) as { offer: unknown; signature: Hex };
      offers.push({ at: Date.now(), offer: offerSchema.parse(offer), signature });
      return answer(202, { offerHash: "0x" });
    }
    if (request.url?.startsWith("/jobs/")) return answer(200, { sources: sources() });
    return answer(404, {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    newest: (since: number) => offers.findLast(({ at }) => at > since),
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function artifact(path: string): { abi: Abi; bytecode: Hex } {
  const name = path.split("/").at(-1);
  const base = process.env["BERTH_TEST_ARTIFACTS"] ?? join(root, "artifacts");
  return JSON.parse(readFileSync(join(base, "contracts", `${path}.sol`, `${name}.json`), "utf8"));
}
