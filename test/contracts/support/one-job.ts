import {
  type Address,
  type Claim,
  identityRegistryAbi,
  jobMarketAbi,
  nodeKeyTypedData,
  offerTypedData,
  providerStakingAbi,
  requestTypedData,
  termsOf,
  testTokenAbi,
} from "@berth/protocol";
import {
  type BaseContract,
  Contract,
  type ContractTransactionResponse,
  ethers,
  type JsonRpcApiProvider,
  Wallet,
} from "ethers";
import { anOffer, aRequest } from "../../support/orders.ts";

const HOUR = 3600;
const MONEY = 1_000_000n;

export interface DeployedOn {
  identity: BaseContract;
  market: BaseContract;
  testToken: BaseContract;
}

/**
 * One job on any chain, from nothing to its payment: people with fresh keys, a node, stake, an offer, a match, a result that
 * settles at once. Returns what the operator earned.
 */
export async function runOneJob(provider: JsonRpcApiProvider, deployed: DeployedOn): Promise<bigint> {
  const funder = await provider.getSigner();
  const person = async () => {
    const wallet = Wallet.createRandom().connect(provider);
    await sent(funder.sendTransaction({ to: wallet.address, value: ethers.parseEther("1") }) as never);
    return wallet;
  };
  const [operator, key, requester] = [await person(), await person(), await person()];
  const { chainId } = await provider.getNetwork();
  const address = async (contract: BaseContract) => (await contract.getAddress()) as Address;
  const at = { chainId: Number(chainId), market: await address(deployed.market) };
  const registry = await address(deployed.identity);
  const token = await address(deployed.testToken);
  const identity = new Contract(registry, identityRegistryAbi, provider);
  const market = new Contract(at.market, jobMarketAbi, provider);
  const testToken = new Contract(token, testTokenAbi, provider);
  const staking = new Contract(await call(market, "staking"), providerStakingAbi, provider);
  const now = (await provider.getBlock("latest"))?.timestamp ?? 0;

  const wgKey = ethers.id("wg") as Address;
  const node = { operator: operator.address as Address, index: 0, wgKey };
  const proof = await signed(key, nodeKeyTypedData({ chainId: at.chainId, registry }, node));
  const profile = { index: 0, key: key.address, wgKey, salt: 0n, validTo: now + 9 * HOUR };
  const services = { wgEndpoint: "", contentUrl: "", profileCid: "" };
  await as(operator, identity, "publishNode", operator.address, { ...profile, ...services }, proof);
  const capacity = { cpuMilli: 4000, memoryMiB: 4096, diskMiB: 1024, gpus: 0 };
  await as(operator, market, "setNodeLimits", operator.address, 0, { maxBond: MONEY, maxActive: 4, ...capacity });
  await as(operator, market, "setAccepted", operator.address, [token], true);
  for (const [owner, vault, into] of [
    [operator, staking, "stake"],
    [requester, market, "deposit"],
  ] as const) {
    await as(owner, testToken, "mint", owner.address, MONEY);
    await as(owner, testToken, "approve", await vault.getAddress(), MONEY);
    await as(owner, vault, into, owner.address, token, MONEY);
  }

  const me = requester.address as Address;
  const request = aRequest({ requester: me, payer: me, token, openUntil: now + HOUR, challengeWindow: 0 });
  const offer = anOffer({ operator: node.operator, token, expiresAt: now + HOUR });
  const signatures = [
    await signed(requester, requestTypedData(at, request)),
    await signed(key, offerTypedData(at, offer)),
  ];
  await as(funder, market, "matchJob", request, signatures[0], "0x", [offer], [signatures[1]], []);
  const claim: Claim = { resultHash: ethers.id("result") as Address, resultBytes: 9n, charge: offer.baseCharge };
  await as(key, market, "submit", termsOf(at, request, offer, 0), claim, "0x");
  return await call(market, "balanceOf", operator.address, token);
}

interface TypedMessage {
  domain: object;
  types: Record<string, readonly { name: string; type: string }[]>;
  message: object;
}

async function signed(wallet: { signTypedData: Wallet["signTypedData"] }, { domain, types, message }: TypedMessage) {
  const mutable = Object.fromEntries(Object.entries(types).map(([name, fields]) => [name, [...fields]]));
  return wallet.signTypedData(domain, mutable, message);
}

async function as(who: ethers.Signer, contract: Contract, name: string, ...args: unknown[]): Promise<void> {
  await sent((contract.connect(who) as Contract).getFunction(name)(...args));
}

async function call(contract: Contract, name: string, ...args: unknown[]) {
  return await contract.getFunction(name).staticCall(...args);
}

async function sent(transaction: Promise<ContractTransactionResponse>): Promise<void> {
  await (await transaction).wait();
}
