import { toMarketError } from "@berth/chain";
import { type Address, MarketError, providerStakingAbi } from "@berth/protocol";
import type { Command } from "commander";
import { encodeFunctionData, erc20Abi } from "viem";
import { connectChain } from "../chain/connect.ts";
import { readRegistration, readStake } from "../chain/registration.ts";
import { amountOf } from "../cli/arguments.ts";
import type { Run } from "../cli/runner.ts";
import { type Config, need } from "../config.ts";
import type { Context } from "../log.ts";
import {
  addOperatorFlags,
  assertSender,
  type Call,
  carryOut,
  type OperatorFlags,
  operatorAccount,
  operatorAnswer,
} from "./operator.ts";
import { type Answer, example } from "./print.ts";

export interface StakeAnswer {
  operator: Address;
  token: Address;
  /** Token units, as decimal strings. */
  added: string;
  /** Before the transactions, where they were only prepared. */
  free: string;
  locked: string;
}

/** `berth-node stake` */
export function addStake(program: Command, run: Run): void {
  const command = program
    .command("stake")
    .description("add token units to the operator's stake, from the account that sends")
    .argument("<amount>", "token units");
  addOperatorFlags(command)
    .addHelpText("after", example("berth-node stake 1000000000 --operator-key-file operator.key"))
    .action((text: string, flags: OperatorFlags, self: Command) =>
      run(self, async ({ config, context }) => {
        const amount = amountOf(text, "AMOUNT");
        assertSender(flags);
        return await stake(config, { amount, flags }, context);
      }),
    );
}

/** Adds `amount` token units to the operator's stake, paid by who sends. */
async function stake(
  config: Config,
  { amount, flags }: { amount: bigint; flags: OperatorFlags },
  context: Context,
): Promise<Answer> {
  const operator = need(config, "operator");
  const token = tokenOf(config);
  const { rpc, deployment } = await connectChain(config, context);
  const { controller } = await readRegistration(rpc, deployment, { operator, index: config.index });
  const from = flags.prepare === undefined ? operatorAccount(flags).address : controller;
  const erc20 = { address: token, abi: erc20Abi } as const;
  const [balance, allowance] = await Promise.all([
    rpc.client.readContract({ ...erc20, functionName: "balanceOf", args: [from] }),
    rpc.client.readContract({ ...erc20, functionName: "allowance", args: [from, deployment.staking] }),
  ]).catch((error: unknown) => {
    throw toMarketError(error, { action: `Reading the balance of ${token}` });
  });
  if (balance < amount) {
    throw new MarketError("BALANCE_TOO_LOW", `${from} has ${balance} token units of ${token}, not ${amount}.`, {
      hint: "Send it the token first, or stake less.",
    });
  }
  const calls: Call[] = [];
  if (allowance < amount) {
    const data = encodeFunctionData({ abi: erc20Abi, functionName: "approve", args: [deployment.staking, amount] });
    const description = `Lets the staking contract ${deployment.staking} take ${amount} token units of ${token}.`;
    calls.push({ what: "approve", description, to: token, data });
  }
  const data = encodeFunctionData({
    abi: providerStakingAbi,
    functionName: "stake",
    args: [operator, token, amount],
  });
  const description = `Adds ${amount} token units of ${token} to the stake of ${operator}.`;
  calls.push({ what: "stake", description, to: deployment.staking, data });
  const carried = await carryOut(
    calls,
    { flags, rpc, operator, controller: flags.prepare === undefined ? null : controller },
    context,
  );
  const { free, locked } = await readStake(rpc, deployment, { operator, token });
  const about: StakeAnswer = { operator, token, added: String(amount), free: String(free), locked: String(locked) };
  const lines = [
    ["operator", operator],
    ["free stake", about.free],
    ["locked stake", about.locked],
  ] as const;
  return operatorAnswer(about, lines, carried, flags);
}

/** Throws CONFIG_MISSING. */
export function tokenOf({ offers }: Config): Address {
  if (offers.token !== undefined) return offers.token;
  throw new MarketError("CONFIG_MISSING", "The token is not set.", { hint: "Give --token, or set offers.token." });
}
