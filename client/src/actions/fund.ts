import { type Address, type Hex, jobMarketAbi, MarketError } from "@berth/protocol";
import { domainSeparator, encodeFunctionData, erc20Abi, formatEther, parseAbi, parseSignature } from "viem";
import { chainNow, marketBalance, tokenBalance } from "../chain-reads.ts";
import { type Client, type Context, walletOf } from "../client.ts";
import { formatMoney, type TokenInfo } from "../format.ts";
import { type Sent, sendCall, signDocument } from "../send.ts";

export interface FundOptions {
  token: TokenInfo;
  /** Token units that the account must have in the market. */
  need: bigint;
  /** Transactions that will follow, such as one approval for each replica: their gas is counted too. */
  furtherTransactions?: number | undefined;
}

/** Generous bounds on gas, to warn before the first transaction rather than to price anything. */
const DEPOSIT_GAS = 250_000n;
const FURTHER_GAS = 250_000n;
const PERMIT_SECONDS = 3600;

const permitAbi = parseAbi([
  "function name() view returns (string)",
  "function nonces(address owner) view returns (uint256)",
  "function DOMAIN_SEPARATOR() view returns (bytes32)",
  "function eip712Domain() view returns (bytes1 fields, string name, string version, uint256 chainId, address verifyingContract, bytes32 salt, uint256[] extensions)",
]);

/**
 * Sees to it that the wallet's account has `need` in the market: checks gas money, tokens and balance first, then
 * deposits what is missing. One transaction with a permit (ERC-2612), two where the token knows none.
 * Throws FUNDS_TOO_LOW with have and need.
 */
export async function fund(
  client: Client,
  { token, need, furtherTransactions = 0 }: FundOptions,
  context: Context = {},
): Promise<Sent[]> {
  const { address: account } = walletOf(client);
  const { signal } = context;
  const [inMarket, inWallet, native, gasPrice] = await Promise.all([
    marketBalance(client, account, token.address),
    tokenBalance(client, account, token.address),
    client.rpc.client.getBalance({ address: account }),
    client.rpc.client.getGasPrice(),
  ]);
  signal?.throwIfAborted();
  const missing = need > inMarket ? need - inMarket : 0n;
  if (missing > inWallet) throw tokensTooLow(token, { account, need, inMarket, inWallet });
  const gas = (missing > 0n ? DEPOSIT_GAS : 0n) + BigInt(furtherTransactions) * FURTHER_GAS;
  if (native < gas * gasPrice) throw gasTooLow(account, native, gas * gasPrice);
  if (missing === 0n) return [];
  return await deposit(client, token, missing, context);
}

/** Moves token units from the wallet into the market. */
export async function deposit(
  client: Client,
  token: TokenInfo,
  amount: bigint,
  context: Context = {},
): Promise<Sent[]> {
  const { address: account } = walletOf(client);
  const { market } = client.deployment;
  const permit = await signPermit(client, token.address, account, amount);
  if (permit !== undefined) {
    const { deadline, signature } = permit;
    const { r, s, v = BigInt(27 + parseSignature(signature).yParity) } = parseSignature(signature);
    const args = [account, token.address, amount, deadline, Number(v), r, s] as const;
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "depositWithPermit", args });
    return [await sendCall(client, { what: "deposit", to: market, data, abi: jobMarketAbi }, context)];
  }
  const allow = encodeFunctionData({ abi: erc20Abi, functionName: "approve", args: [market, amount] });
  const allowed = await sendCall(
    client,
    { what: "allow deposit", to: token.address, data: allow, abi: erc20Abi },
    context,
  );
  const data = encodeFunctionData({
    abi: jobMarketAbi,
    functionName: "deposit",
    args: [account, token.address, amount],
  });
  return [allowed, await sendCall(client, { what: "deposit", to: market, data, abi: jobMarketAbi }, context)];
}

/** Takes token units out of the market, to the wallet's own account. */
export async function withdraw(client: Client, token: TokenInfo, amount: bigint, context: Context = {}): Promise<Sent> {
  const { address } = walletOf(client);
  const args = [address, token.address, amount, address] as const;
  const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "withdraw", args });
  return await sendCall(client, { what: "withdraw", to: client.deployment.market, data, abi: jobMarketAbi }, context);
}

/** A permit for the market; undefined when the token has none whose domain can be known for certain. */
async function signPermit(
  client: Client,
  token: Address,
  owner: Address,
  value: bigint,
): Promise<{ deadline: bigint; signature: Hex } | undefined> {
  const domain = await permitDomain(client, token);
  if (domain === undefined) return undefined;
  const nonce = await client.rpc.client.readContract({
    address: token,
    abi: permitAbi,
    functionName: "nonces",
    args: [owner],
  });
  const deadline = BigInt((await chainNow(client)) + PERMIT_SECONDS);
  const types = {
    Permit: [
      { name: "owner", type: "address" },
      { name: "spender", type: "address" },
      { name: "value", type: "uint256" },
      { name: "nonce", type: "uint256" },
      { name: "deadline", type: "uint256" },
    ],
  };
  const message = { owner, spender: client.deployment.market, value, nonce, deadline };
  const signature = await signDocument(client, "deposit", { domain, types, primaryType: "Permit", message });
  return { deadline, signature };
}

async function permitDomain({ rpc, deployment }: Client, token: Address) {
  const contract = { address: token, abi: permitAbi } as const;
  try {
    const [separator, name] = await Promise.all([
      rpc.client.readContract({ ...contract, functionName: "DOMAIN_SEPARATOR" }),
      rpc.client.readContract({ ...contract, functionName: "name" }),
    ]);
    const described = await rpc.client
      .readContract({ ...contract, functionName: "eip712Domain" })
      .catch(() => undefined);
    const domain = { name, version: described?.[2] ?? "1", chainId: deployment.chainId, verifyingContract: token };
    return domainSeparator({ domain }) === separator ? domain : undefined;
  } catch {
    return undefined; // a token without ERC-2612
  }
}

function tokensTooLow(
  token: TokenInfo,
  at: { account: Address; need: bigint; inMarket: bigint; inWallet: bigint },
): MarketError {
  const money = (units: bigint) => formatMoney(units, token);
  const have = `have ${money(at.inMarket)} in the market and ${money(at.inWallet)} in the wallet, need ${money(at.need)}`;
  return new MarketError("FUNDS_TOO_LOW", `Not enough ${token.symbol}: ${have}.`, {
    hint: `Send ${money(at.need - at.inMarket - at.inWallet)} to ${at.account}, or lower --max-price or the job's time and resources.`,
    retryable: true,
  });
}

function gasTooLow(account: Address, have: bigint, need: bigint): MarketError {
  return new MarketError(
    "FUNDS_TOO_LOW",
    `Not enough money for gas: have ${formatEther(have)} ETH, need about ${formatEther(need)} ETH for the whole job.`,
    { hint: `Send native coins to ${account}.`, retryable: true },
  );
}
