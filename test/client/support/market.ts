import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, type Gateway, openEmbeddedStore, startGateway } from "@berth/content";
import {
  type Address,
  type Deployment,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  type NodeLimits,
  nodeKeyTypedData,
  type Offer,
  offerHashOf,
  offerTypedData,
  orderToJson,
  parseDeployment,
  providerStakingAbi,
  type Request,
  requestSchema,
  testTokenAbi,
  traitsToMask,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import pino from "pino";
import { type Abi, createPublicClient, createWalletClient, defineChain, http, parseEther, zeroHash } from "viem";
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";
import { type Client, createClient } from "../../../client/src/client.ts";
import type { Wallet, WalletMaker } from "../../../client/src/wallet.ts";
import { type Anvil, startAnvil } from "../../support/anvil.ts";

export const silent = pino({ level: "silent" });
export const TOKEN = 10n ** 6n;

/** A signed request as an indexer gets it. */
export interface Ordered {
  request: Request;
  signature: Hex;
  sources: string[];
  operators?: Address[];
}

/** A node that the test plays by hand. */
export interface PlayedNode {
  operator: PrivateKeyAccount;
  hotKey: PrivateKeyAccount;
  offer: Offer;
  offerSignature: Hex;
}

/** Everything that surrounds a requester: a chain with the market on it, and nodes that the test plays by hand. */
export interface TestMarket extends PlayedNode {
  anvil: Anvil;
  deployment: Deployment;
  requester: PrivateKeyAccount;
  /** Each of its own operator; the first one is the market's own members. */
  nodes: PlayedNode[];
  /** Content of the nodes, and the gateway that the registry names. */
  store: ContentStore;
  gateway: Gateway;
  indexerUrl: string;
  /** Called by the order book with every signed request. Set it to play the node. */
  onRequest: ((ordered: Ordered) => Promise<void>) | undefined;
  /** What GET /requests/:id/explain says. */
  explanation: object | undefined;
  folder(): Promise<string>;
  client(
    wallet?: Wallet | WalletMaker,
    options?: { indexerUrl?: string | undefined; store?: ContentStore },
  ): Promise<Client>;
  /** Sends a call and waits until it is mined. */
  write(from: PrivateKeyAccount, to: Address, abi: Abi, functionName: string, args: readonly unknown[]): Promise<Hex>;
  /** Matches a request to the nodes' offers, one for each replica. */
  match(request: Request, signature: Hex, proofs?: Hex[][]): Promise<Hex>;
  close(): Promise<void>;
}

const WG_KEY: Hex = `0x${"42".repeat(32)}`;

export async function testMarket({ nodes = 1 } = {}): Promise<TestMarket> {
  const anvil = await startAnvil();
  const undo: (() => Promise<unknown>)[] = [() => anvil.stop()];
  try {
    return await build(anvil, undo, nodes);
  } catch (error) {
    for (const step of undo.reverse()) await step();
    throw error;
  }
}

async function build(anvil: Anvil, undo: (() => Promise<unknown>)[], count: number): Promise<TestMarket> {
  const [deployer, requester, operator] = anvil.accounts;
  const funded = async () => {
    const account = privateKeyToAccount(generatePrivateKey());
    await anvil.call("anvil_setBalance", [account.address, `0x${parseEther("100").toString(16)}`]);
    return account;
  };
  const chain = defineChain({
    id: 31337,
    name: "test",
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [anvil.url] } },
  });
  const reader = createPublicClient({ chain, transport: http(anvil.url), pollingInterval: 20 });
  const walletOf = (account: PrivateKeyAccount) => createWalletClient({ chain, account, transport: http(anvil.url) });

  const deploy = async (name: string, args: readonly unknown[] = []): Promise<Address> => {
    const { abi, bytecode } = artifact(name);
    const hash = await walletOf(deployer).deployContract({ abi, bytecode, args });
    const { contractAddress } = await reader.waitForTransactionReceipt({ hash });
    if (!contractAddress) throw new Error(`${name} was not deployed`);
    return contractAddress;
  };
  const write: TestMarket["write"] = async (account, address, abi, functionName, args) => {
    const hash = await walletOf(account).writeContract({ address, abi, functionName, args });
    const { status } = await reader.waitForTransactionReceipt({ hash });
    if (status !== "success") throw new Error(`${functionName} was refused`);
    return hash;
  };

  const identity = await deploy("identity/IdentityRegistry");
  const desk = await deploy("market/MarketDesk", [identity]);
  const market = await deploy("market/JobMarket", [identity, desk, deployer.address, ZERO_ADDRESS]);
  const token = await deploy("mocks/TestToken");
  const staking = await reader.readContract({ address: market, abi: jobMarketAbi, functionName: "staking" });
  const tokens = [{ address: token, symbol: "tUSD", decimals: 6 }];
  const deployment = parseDeployment({ chainId: 31337, fromBlock: 0, identity, staking, market, tokens });

  const folder = async () => {
    const dir = await mkdtemp(join(tmpdir(), "berth-client-"));
    undo.push(() => rm(dir, { recursive: true, force: true }));
    return dir;
  };
  const openStore = async () => {
    const opened = await openEmbeddedStore({ dir: await folder() });
    undo.push(() => opened.close());
    return opened;
  };
  const store = await openStore();
  const gateway = await startGateway({ store, host: "127.0.0.1", port: 0, log: silent });
  undo.push(() => gateway.close());

  await write(deployer, token, testTokenAbi, "mint", [requester.address, 1000n * TOKEN]);
  const limits: NodeLimits = {
    maxBond: 100n * TOKEN,
    maxActive: 100,
    cpuMilli: 1_000_000,
    memoryMiB: 1_000_000,
    diskMiB: 1_000_000,
    gpus: 0,
  };
  const domain = { chainId: 31337, market: deployment.market };
  const register = async (operator: PrivateKeyAccount): Promise<PlayedNode> => {
    const hotKey = await funded();
    await write(deployer, token, testTokenAbi, "mint", [operator.address, 1000n * TOKEN]);
    await write(operator, token, testTokenAbi, "approve", [staking, 500n * TOKEN]);
    await write(operator, staking, providerStakingAbi, "stake", [operator.address, token, 500n * TOKEN]);
    const profile = {
      index: 0,
      key: hotKey.address,
      wgKey: WG_KEY,
      salt: 0n,
      validTo: 4_000_000_000,
      wgEndpoint: "",
      contentUrl: gateway.url,
      profileCid: "",
    };
    const proof = await hotKey.signTypedData(
      nodeKeyTypedData({ chainId: 31337, registry: identity }, { operator: operator.address, index: 0, wgKey: WG_KEY }),
    );
    await write(operator, identity, identityRegistryAbi, "publishNode", [operator.address, profile, proof]);
    await write(operator, market, jobMarketAbi, "setNodeLimits", [operator.address, 0, limits]);
    await write(operator, market, jobMarketAbi, "setAccepted", [operator.address, [token], true]);
    const offer = offerOf(deployment, operator);
    return { operator, hotKey, offer, offerSignature: await hotKey.signTypedData(offerTypedData(domain, offer)) };
  };
  const first = await register(operator);
  const nodes = [first];
  while (nodes.length < count) nodes.push(await register(await funded()));

  const made: TestMarket = {
    anvil,
    deployment,
    requester,
    ...first,
    nodes,
    store,
    gateway,
    indexerUrl: "",
    onRequest: undefined,
    explanation: undefined,
    folder,
    async client(wallet, options = {}) {
      const own = options.store ?? (await openStore());
      const indexerUrl = "indexerUrl" in options ? options.indexerUrl : made.indexerUrl;
      return await createClient({ rpcUrls: [anvil.url], deployment, indexerUrl, wallet, store: own, pollMs: 20 });
    },
    write,
    match: async (request, signature, proofs = []) =>
      await write(deployer, market, jobMarketAbi, "matchJob", [
        request,
        signature,
        "0x",
        nodes.slice(0, request.replicas).map(({ offer }) => offer),
        nodes.slice(0, request.replicas).map(({ offerSignature }) => offerSignature),
        proofs,
      ]),
    async close() {
      for (const step of undo.splice(0).reverse()) await step();
    },
  };
  const book = await orderBook(made);
  made.indexerUrl = book.url;
  undo.push(book.close);
  return made;
}

function offerOf(deployment: Deployment, operator: PrivateKeyAccount): Offer {
  return {
    operator: operator.address.toLowerCase() as Address,
    index: 0,
    epoch: 0,
    requester: ZERO_ADDRESS,
    token: deployment.tokens[0]?.address as Address,
    cpuRateX18: 10n ** 17n,
    memoryRateX18: 10n ** 15n,
    diskRateX18: 0n,
    gpuRateX18: 0n,
    baseCharge: 100n,
    cpuMilli: 100_000,
    memoryMiB: 100_000,
    diskMiB: 100_000,
    gpus: 0,
    traits: traitsToMask(["arch-amd64", "arch-arm64", "isolation-container", "attest-tpm2"]),
    gpuModel: ZERO_BYTES32,
    region: ZERO_BYTES32,
    maxSeconds: 3600,
    minSubmitMargin: 30,
    minHeartbeatSeconds: 0,
    maxSettleSeconds: 86_400,
    maxBond: 10n * TOKEN,
    maxCompensationBps: 1000,
    verifier: ZERO_ADDRESS,
    verifierData: zeroHash,
    arbiter: ZERO_ADDRESS,
    arbiterData: zeroHash,
    arbiterFee: 0n,
    expiresAt: 4_000_000_000,
  };
}

/** The few answers of an indexer that a client needs. */
async function orderBook(market: TestMarket) {
  const domain = { chainId: 31337, market: market.deployment.market };
  const items = market.nodes.map(({ offer, offerSignature: signature }) => {
    return { offer: orderToJson(offer), offerHash: offerHashOf(domain, offer), signature };
  });
  const requests = new Map<string, Request>();
  const server = createServer((incoming, response) => {
    const answer = (status: number, value: unknown) => {
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    };
    void (async () => {
      const { pathname } = new URL(incoming.url ?? "/", "http://x");
      if (pathname === "/offers") {
        return answer(200, { items, nextCursor: null });
      }
      if (incoming.method === "POST" && pathname === "/requests") {
        const chunks: Buffer[] = [];
        for await (const chunk of incoming) chunks.push(chunk as Buffer);
        const body = JSON.parse(Buffer.concat(chunks).toString());
        const ordered: Ordered = { ...body, request: requestSchema.parse(body.request) };
        requests.set("last", ordered.request);
        answer(202, { jobId: zeroHash });
        return await market.onRequest?.(ordered);
      }
      if (pathname.endsWith("/explain") && market.explanation !== undefined) return answer(200, market.explanation);
      return answer(404, { code: "NOT_FOUND", detail: "There is nothing here." });
    })().catch((error: unknown) => {
      if (!response.headersSent) answer(500, { code: "INTERNAL", detail: String(error) });
      else throw error;
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function artifact(name: string): { abi: Abi; bytecode: Hex } {
  const root = join(import.meta.dirname, "..", "..", "..", "artifacts", "contracts");
  const contract = name.split("/").at(-1);
  return JSON.parse(readFileSync(join(root, `${name}.sol`, `${contract}.json`), "utf8"));
}
