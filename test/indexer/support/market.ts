import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Address,
  type Claim,
  type Deployment,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  type NodeLimits,
  nodeKeyTypedData,
  type Offer,
  offerTypedData,
  operatorTree,
  providerStakingAbi,
  type Request,
  requestTypedData,
  type Terms,
  termsOf,
  testTokenAbi,
  ZERO_BYTES32,
} from "@berth/protocol";
import {
  type Abi,
  type ContractFunctionArgs,
  type ContractFunctionName,
  createPublicClient,
  encodeDeployData,
  encodeFunctionData,
  http,
  keccak256,
  type PublicClient,
  stringToBytes,
} from "viem";
import { type PrivateKeyAccount, privateKeyToAccount } from "viem/accounts";
import { type Anvil, startAnvil } from "../../support/anvil.ts";
import { eventually } from "../../support/eventually.ts";
import { anOffer, aRequest } from "../../support/orders.ts";

/** One node with both its keys at hand. */
export interface TestNode {
  operator: PrivateKeyAccount;
  index: number;
  key: PrivateKeyAccount;
}

/** The real contracts on a private chain, and people who use them. */
export interface TestMarket {
  anvil: Anvil;
  chain: PublicClient;
  deployment: Deployment;
  token: Address;
  /** An account that is always the same for a name, with gas money. */
  account(name: string): Promise<PrivateKeyAccount>;
  /** Sends a call as anybody and returns the transaction once it is mined. Throws when it reverts. */
  send<const A extends Abi, F extends ContractFunctionName<A, "nonpayable">>(
    from: Address,
    to: Address,
    abi: A,
    name: F,
    args: ContractFunctionArgs<A, "nonpayable", F>,
  ): Promise<Hex>;
  now(): Promise<number>;
  /** Moves the chain's clock and mines a block. */
  pass(seconds: number): Promise<void>;
  deposit(account: Address, amount: bigint): Promise<void>;
  stake(operator: Address, amount: bigint): Promise<void>;
  publish(node: TestNode, contentUrl?: string): Promise<void>;
  setLimits(node: TestNode, limits?: Partial<NodeLimits>): Promise<void>;
  /** The operator lets its nodes sign for these tokens, verifiers and arbiters, or no longer. */
  setAccepted(operator: Address, what: Address[], accepted?: boolean): Promise<void>;
  /** A published node of operator `name` with limits and stake, that may sign for the token. */
  node(name: string, index?: number): Promise<TestNode>;
  offer(node: TestNode, replaced?: Partial<Offer>): Promise<{ offer: Offer; signature: Hex }>;
  request(requester: PrivateKeyAccount, replaced?: Partial<Request>): Promise<{ request: Request; signature: Hex }>;
  /** `operators`: the list that the request commits to, if it does. */
  match(
    signed: { request: Request; signature: Hex },
    offers: { offer: Offer; signature: Hex }[],
    operators?: readonly Address[],
  ): Promise<void>;
  terms(request: Request, offer: Offer, replica?: number): Terms;
  submit(terms: Terms, claim: Claim, proof?: Hex): Promise<void>;
  stop(): Promise<void>;
}

const root = join(import.meta.dirname, "..", "..", "..");
const MINUTE = 60;
/** Gets what slashes leave after everyone else. */
export const SINK: Address = "0x000000000000000000000000000000000000dead";

export async function startMarket(): Promise<TestMarket> {
  const anvil = await startAnvil();
  try {
    return await deploy(anvil);
  } catch (error) {
    await anvil.stop();
    throw error;
  }
}

async function deploy(anvil: Anvil): Promise<TestMarket> {
  const chain = createPublicClient({ transport: http(anvil.url, { retryCount: 0 }) }) as PublicClient;
  await anvil.call("anvil_autoImpersonateAccount", [true]);
  const deployer = anvil.accounts[0].address;
  let nonce = 0;
  const funded = new Set<string>();

  async function transact(from: Address, data: Hex, to?: Address): Promise<Hex> {
    const call = { from, data, gas: "0x1c9c380", ...(to === undefined ? {} : { to }) };
    const hash: Hex = await anvil.call("eth_sendTransaction", [call]);
    const receipt = await eventually("the transaction is mined", async () => {
      return (await anvil.call("eth_getTransactionReceipt", [hash])) ?? undefined;
    });
    if (receipt.status !== "0x1") {
      await anvil.call("eth_call", [call, "latest"]);
      throw new Error(`reverted: ${hash}`);
    }
    return hash;
  }
  async function create(path: string, args: unknown[] = []): Promise<Address> {
    const { abi, bytecode } = JSON.parse(await readFile(join(root, "artifacts", "contracts", path), "utf8"));
    const hash = await transact(deployer, encodeDeployData({ abi, bytecode, args }));
    return (await anvil.call("eth_getTransactionReceipt", [hash])).contractAddress.toLowerCase();
  }

  const identity = await create("identity/IdentityRegistry.sol/IdentityRegistry.json");
  const desk = await create("market/MarketDesk.sol/MarketDesk.json", [identity]);
  const market = await create("market/JobMarket.sol/JobMarket.json", [identity, desk, SINK, deployer]);
  const token = await create("mocks/TestToken.sol/TestToken.json");
  const staking = (
    await chain.readContract({ address: market, abi: jobMarketAbi, functionName: "staking" })
  ).toLowerCase() as Address;
  const deployment: Deployment = {
    chainId: 31337,
    fromBlock: 1,
    identity,
    staking,
    market,
    tokens: [{ address: token, symbol: "tUSD", decimals: 6 }],
  };
  const domain = { chainId: deployment.chainId, market };

  const self: TestMarket = {
    anvil,
    chain,
    deployment,
    token,
    async account(name) {
      const account = privateKeyToAccount(keccak256(stringToBytes(name)));
      if (!funded.has(name)) await anvil.call("anvil_setBalance", [account.address, "0x56bc75e2d63100000"]);
      funded.add(name);
      return account;
    },
    send: (from, to, abi, name, args) =>
      transact(from, encodeFunctionData({ abi, functionName: name, args } as never), to),
    now: async () => Number((await chain.getBlock({ blockTag: "latest" })).timestamp),
    async pass(seconds) {
      await anvil.call("evm_increaseTime", [seconds]);
      await anvil.call("evm_mine");
    },
    async deposit(account, amount) {
      await self.send(account, token, testTokenAbi, "mint", [account, amount]);
      await self.send(account, token, testTokenAbi, "approve", [market, amount]);
      await self.send(account, market, jobMarketAbi, "deposit", [account, token, amount]);
    },
    async stake(operator, amount) {
      await self.send(operator, token, testTokenAbi, "mint", [operator, amount]);
      await self.send(operator, token, testTokenAbi, "approve", [staking, amount]);
      await self.send(operator, staking, providerStakingAbi, "stake", [operator, token, amount]);
    },
    async publish({ operator, index, key }, contentUrl = "http://127.0.0.1:9999") {
      const wgKey = keccak256(key.address);
      const typed = nodeKeyTypedData(
        { chainId: 31337, registry: identity },
        { operator: operator.address, index, wgKey },
      );
      const keyProof = await key.signTypedData(typed);
      const profile = {
        index,
        key: key.address,
        wgKey,
        salt: 0n,
        validTo: (await self.now()) + 1_000_000,
        wgEndpoint: "127.0.0.1:51820",
        contentUrl,
        profileCid: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
      };
      await self.send(operator.address, identity, identityRegistryAbi, "publishNode", [
        operator.address,
        profile,
        keyProof,
      ]);
    },
    async setLimits({ operator, index }, replaced = {}) {
      const set: NodeLimits = {
        maxBond: 1_000_000n,
        maxActive: 8,
        cpuMilli: 8000,
        memoryMiB: 8192,
        diskMiB: 4096,
        gpus: 0,
        ...replaced,
      };
      await self.send(operator.address, market, jobMarketAbi, "setNodeLimits", [operator.address, index, set]);
    },
    async setAccepted(operator, what, accepted = true) {
      await self.send(operator, market, jobMarketAbi, "setAccepted", [operator, what, accepted]);
    },
    async node(name, index = 0) {
      const operator = await self.account(name);
      const node = { operator, index, key: await self.account(`${name} key ${index}`) };
      await self.publish(node);
      await self.setLimits(node);
      await self.setAccepted(operator.address, [token]);
      await self.stake(operator.address, 1_000_000n);
      return node;
    },
    async offer({ operator, index, key }, replaced = {}) {
      const offer = anOffer({
        operator: operator.address.toLowerCase() as Address,
        index,
        token,
        expiresAt: (await self.now()) + 60 * MINUTE,
        ...replaced,
      });
      return { offer, signature: await key.signTypedData(offerTypedData(domain, offer)) };
    },
    async request(requester, replaced = {}) {
      nonce += 1;
      const address = requester.address.toLowerCase() as Address;
      const request = aRequest({
        requester: address,
        payer: address,
        token,
        openUntil: (await self.now()) + 10 * MINUTE,
        nonce: `0x${nonce.toString(16).padStart(64, "0")}`,
        ...replaced,
      });
      return { request, signature: await requester.signTypedData(requestTypedData(domain, request)) };
    },
    async match({ request, signature }, offers, operators) {
      const tree = operators === undefined ? undefined : operatorTree(operators);
      const args = [
        request,
        signature,
        "0x",
        offers.map(({ offer }) => offer),
        offers.map((one) => one.signature),
        tree === undefined ? [] : offers.map(({ offer }) => tree.proofOf(offer.operator) ?? []),
      ] as const;
      await self.send(deployer, market, jobMarketAbi, "matchJob", args as never);
    },
    terms: (request, offer, replica = 0) => termsOf(domain, request, offer, replica),
    async submit(terms, claim, proof = "0x") {
      await self.send(terms.assignment.operator, market, jobMarketAbi, "submit", [terms, claim, proof]);
    },
    stop: () => anvil.stop(),
  };
  return self;
}

export function aClaim(replaced: Partial<Claim> = {}): Claim {
  return { resultHash: keccak256(ZERO_BYTES32), resultBytes: 100n, charge: 0n, ...replaced };
}
