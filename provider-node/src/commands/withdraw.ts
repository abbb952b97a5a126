import { toMarketError } from "@berth/chain";
import { type Address, jobMarketAbi, MarketError, providerStakingAbi } from "@berth/protocol";
import type { Command } from "commander";
import { encodeFunctionData, type Hex } from "viem";
import { type ChainAccess, connectChain } from "../chain/connect.ts";
import { readRegistration, readStake } from "../chain/registration.ts";
import { addressOf, amountOf } from "../cli/arguments.ts";
import type { Run } from "../cli/runner.ts";
import { type Config, need } from "../config.ts";
import type { Context } from "../log.ts";
import { addOperatorFlags, assertSender, type Call, carryOut, type OperatorFlags, operatorAnswer } from "./operator.ts";
import { example, facts, timeText } from "./print.ts";
import { tokenOf } from "./stake.ts";

/** The operator's money in the contracts, in token units as decimal strings. */
export interface FundsAnswer {
  operator: Address;
  token: Address;
  /** Earned, in the market: `withdraw earnings` pays it out. */
  earnings: string;
  /** Left by slashes of others: `withdraw owed` pays it out. */
  owed: string;
  stake: { free: string; locked: string };
  /** Stake on its way out; `readyAt` in unix seconds. Null: none. */
  exit: { amount: string; readyAt: number } | null;
}

interface Funds {
  operator: Address;
  token: Address;
  access: ChainAccess;
  controller: Address;
  earnings: bigint;
  owed: bigint;
  free: bigint;
  locked: bigint;
  exit: { amount: bigint; readyAt: number };
  /** Unix seconds of the newest block. */
  now: number;
}

interface PayFlags extends OperatorFlags {
  to?: string;
}

/** `berth-node withdraw` */
export function addWithdraw(program: Command, run: Run): void {
  const withdraw = program
    .command("withdraw")
    .description("show the operator's money in the contracts, or take it out")
    .addHelpText(
      "after",
      example(
        "berth-node withdraw",
        "berth-node withdraw earnings all --to 0xYOU --operator-key-file operator.key",
        "berth-node withdraw request-exit 1000000000 --prepare exit.json",
      ),
    )
    .action((_flags: object, self: Command) =>
      run(self, async ({ config, context }) => {
        const { json, lines } = describe(await readFunds(config, context));
        return { json, text: facts(lines) };
      }),
    );

  const add = (name: string, description: string) => addOperatorFlags(withdraw.command(name).description(description));
  const to = ["--to <address>", "who is paid; default: who controls the operator"] as const;
  const act = (self: Command, flags: PayFlags, plan: (funds: Funds, to: Address) => Omit<Call, "what">) =>
    run(self, async ({ config, context }) => {
      assertSender(flags);
      const receiver = flags.to === undefined ? undefined : addressOf(flags.to, "--to");
      const funds = await readFunds(config, context);
      const { controller, operator, access } = funds;
      const calls = [{ what: self.name(), ...plan(funds, receiver ?? controller) }];
      const carried = await carryOut(calls, { flags, rpc: access.rpc, operator, controller }, context);
      const { json, lines } = describe(carried.prepared === null ? await readFunds(config, context) : funds);
      return operatorAnswer(json, lines, carried, flags);
    });

  add("earnings", "pay out what the operator earned")
    .argument("<amount>", "token units, or all")
    .option(...to)
    .action((text: string, flags: PayFlags, self: Command) => {
      const amount = text === "all" ? undefined : amountOf(text, "AMOUNT");
      return act(self, flags, (funds, receiver) => earnings(funds, amount, receiver));
    });
  add("owed", "pay out what slashes of others left for the operator")
    .option(...to)
    .action((flags: PayFlags, self: Command) => act(self, flags, owed));
  add("request-exit", "start to take free stake out; it waits seven days")
    .argument("<amount>", "token units, or all")
    .action((text: string, flags: PayFlags, self: Command) => {
      const amount = text === "all" ? undefined : amountOf(text, "AMOUNT");
      return act(self, flags, (funds) => requestExit(funds, amount));
    });
  add("cancel-exit", "make the stake on its way out free again").action((flags: PayFlags, self: Command) =>
    act(self, flags, cancelExit),
  );
  add("exit", "pay out the stake whose wait is over")
    .option(...to)
    .action((flags: PayFlags, self: Command) => act(self, flags, finishExit));
}

function earnings({ operator, token, earnings, access }: Funds, amount: bigint | undefined, to: Address) {
  const paid = amount ?? earnings;
  if (paid === 0n || paid > earnings) throw tooLittle(`${operator} has earned ${earnings} token units`, paid);
  const data = encodeFunctionData({
    abi: jobMarketAbi,
    functionName: "withdraw",
    args: [operator, token, paid, to],
  });
  const description = `Pays ${paid} token units of ${token} from the market balance of ${operator} to ${to}.`;
  return { to: access.deployment.market, data, description };
}

function owed({ operator, token, owed, access }: Funds, to: Address) {
  if (owed === 0n) throw tooLittle(`Nothing is owed to ${operator}`);
  const description = `Pays ${owed} token units of ${token} that slashes left for ${operator} to ${to}.`;
  const args = [operator, token, to] as const;
  return staking(access, encodeFunctionData({ abi: providerStakingAbi, functionName: "collect", args }), description);
}

function requestExit({ operator, token, free, access }: Funds, amount: bigint | undefined) {
  const leaving = amount ?? free;
  if (leaving === 0n || leaving > free) throw tooLittle(`${operator} has ${free} token units of free stake`, leaving);
  const description = `Starts to take ${leaving} token units of ${token} out of the stake of ${operator}; a wait under way starts again.`;
  const args = [operator, token, leaving] as const;
  return staking(
    access,
    encodeFunctionData({ abi: providerStakingAbi, functionName: "requestExit", args }),
    description,
  );
}

function cancelExit({ operator, token, exit, access }: Funds) {
  assertExit(exit, operator);
  const description = `Makes ${exit.amount} token units of ${token} free stake of ${operator} again.`;
  const args = [operator, token] as const;
  return staking(
    access,
    encodeFunctionData({ abi: providerStakingAbi, functionName: "cancelExit", args }),
    description,
  );
}

function finishExit({ operator, token, exit, access, now }: Funds, to: Address) {
  assertExit(exit, operator);
  if (now < exit.readyAt) {
    throw new MarketError("EXIT_NOT_READY", `The stake can leave from ${timeText(exit.readyAt)} on.`, {
      hint: "Come back then; `berth-node withdraw` shows the time.",
      retryable: true,
    });
  }
  const description = `Pays ${exit.amount} token units of ${token}, stake of ${operator}, to ${to}.`;
  const args = [operator, token, to] as const;
  return staking(access, encodeFunctionData({ abi: providerStakingAbi, functionName: "exit", args }), description);
}

function staking({ deployment }: ChainAccess, data: Hex, description: string) {
  return { to: deployment.staking, data, description };
}

function assertExit({ amount }: Funds["exit"], operator: Address): void {
  if (amount > 0n) return;
  throw new MarketError("NO_EXIT", `No stake of ${operator} is on its way out.`, {
    hint: "Start with `berth-node withdraw request-exit AMOUNT`.",
  });
}

function tooLittle(what: string, wanted?: bigint): MarketError {
  const message = wanted === undefined || wanted === 0n ? `${what}.` : `${what}, not ${wanted}.`;
  return new MarketError("BALANCE_TOO_LOW", message, { hint: "`berth-node withdraw` shows what there is." });
}

async function readFunds(config: Config, context: Context): Promise<Funds> {
  const operator = need(config, "operator");
  const token = tokenOf(config);
  const access = await connectChain(config, context);
  const { rpc, deployment } = access;
  const market = { address: deployment.market, abi: jobMarketAbi } as const;
  const stakes = { address: deployment.staking, abi: providerStakingAbi } as const;
  const args = [operator, token] as const;
  const [{ controller }, { free, locked }, earnings, owed, exit, block] = await Promise.all([
    readRegistration(rpc, deployment, { operator, index: config.index }),
    readStake(rpc, deployment, { operator, token }),
    rpc.client.readContract({ ...market, functionName: "balanceOf", args }),
    rpc.client.readContract({ ...stakes, functionName: "owedTo", args }),
    rpc.client.readContract({ ...stakes, functionName: "exitOf", args }),
    rpc.client.getBlock({ blockTag: "latest" }),
  ]).catch((error: unknown) => {
    throw toMarketError(error, { action: "Reading the operator's money" });
  });
  return { operator, token, access, controller, earnings, owed, free, locked, exit, now: Number(block.timestamp) };
}

function describe({ operator, token, earnings, owed, free, locked, exit }: Funds) {
  const leaving = exit.amount === 0n ? null : { amount: String(exit.amount), readyAt: exit.readyAt };
  const stake = { free: String(free), locked: String(locked) };
  const json: FundsAnswer = { operator, token, earnings: String(earnings), owed: String(owed), stake, exit: leaving };
  const lines = [
    ["operator", operator],
    ["token", token],
    ["earnings", json.earnings],
    ["owed", json.owed],
    ["free stake", stake.free],
    ["locked stake", stake.locked],
    ["leaving", leaving === null ? "none" : `${leaving.amount}, ready at ${timeText(leaving.readyAt)}`],
  ] as const;
  return { json, lines };
}
