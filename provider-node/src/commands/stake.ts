import { toMarketError } from "@berth/chain";
import { type Address, MarketError, providerStakingAbi } from "@berth/protocol";
import { encodeFunctionData, erc20Abi } from "viem";
import { connectChain } from "../chain/connect.ts";
import { readStake } from "../chain/registration.ts";
import { type Config, need } from "../config.ts";
import type { Context } from "../log.ts";
import { openOperator, type Sent } from "./operator.ts";

export interface StakeAnswer {
  operator: Address;
  token: Address;
  /** Token units, as decimal strings. */
  added: string;
  free: string;
  locked: string;
  transactions: Sent[];
}

/** Adds `amount` token units to the operator's stake, paid by the account of `operatorKeyFile`. */
export async function stake(
  config: Config,
  { amount, token, operatorKeyFile }: { amount: bigint; token?: Address | undefined; operatorKeyFile: string },
  context: Context,
): Promise<StakeAnswer> {
  const operator = need(config, "operator");
  const { rpc, deployment } = await connectChain(config, context);
  const asset = token ?? config.offers.token;
  if (asset === undefined) {
    throw new MarketError("CONFIG_MISSING", "The token to stake is not set.", {
      hint: "Give --token, or set offers.token.",
    });
  }
  const wallet = openOperator(operatorKeyFile, rpc, 0, context);
  try {
    const from = wallet.account.address;
    const erc20 = { address: asset, abi: erc20Abi } as const;
    const [balance, allowance] = await Promise.all([
      rpc.client.readContract({ ...erc20, functionName: "balanceOf", args: [from] }),
      rpc.client.readContract({ ...erc20, functionName: "allowance", args: [from, deployment.staking] }),
    ]).catch((error: unknown) => {
      throw toMarketError(error, { action: `Reading the balance of ${asset}` });
    });
    if (balance < amount) {
      throw new MarketError("BALANCE_TOO_LOW", `${from} has ${balance} token units of ${asset}, not ${amount}.`, {
        hint: "Send it the token first, or stake less.",
      });
    }
    const transactions: Sent[] = [];
    if (allowance < amount) {
      const data = encodeFunctionData({ abi: erc20Abi, functionName: "approve", args: [deployment.staking, amount] });
      transactions.push(await wallet.send("approve", { to: asset, data }));
    }
    const data = encodeFunctionData({
      abi: providerStakingAbi,
      functionName: "stake",
      args: [operator, asset, amount],
    });
    transactions.push(await wallet.send("stake", { to: deployment.staking, data }));
    const { free, locked } = await readStake(rpc, deployment, { operator, token: asset });
    return { operator, token: asset, added: String(amount), free: String(free), locked: String(locked), transactions };
  } finally {
    await wallet.close();
  }
}
