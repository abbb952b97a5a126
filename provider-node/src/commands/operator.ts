import { writeFileSync } from "node:fs";
import { createOutbox, memoryOutboxStore, type Outbox, type Rpc } from "@berth/chain";
import {
  type Address,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  MarketError,
  providerStakingAbi,
  toJson,
} from "@berth/protocol";
import { type Command, Option } from "commander";
import type { Abi, LocalAccount } from "viem";
import { readKey } from "../chain/keys.ts";
import type { Context } from "../log.ts";
import { type Answer, facts } from "./print.ts";

/** One call of a contract that the operator's key has to send. */
export interface Call {
  /** Names it within one command. */
  what: string;
  /** What it does, for whoever signs it. */
  description: string;
  to: Address;
  data: Hex;
}

export interface Sent {
  what: string;
  hash: Hex;
  gasUsed: string;
  block: number;
}

/** Transactions for any wallet to sign, in this order. Nothing in here is secret. */
export interface Prepared {
  chainId: number;
  /** The account that has to send them. */
  from: Address;
  transactions: { chainId: number; from: Address; to: Address; data: Hex; value: string; description: string }[];
}

/** What became of the calls. One of the two is empty. */
export interface Carried {
  transactions: Sent[];
  prepared: Prepared | null;
}

/** Who sends: the key in a file now, or any wallet later. */
export interface OperatorFlags {
  operatorKeyFile?: string | undefined;
  /** A file, or `-` for stdout. */
  prepare?: string | undefined;
}

const errorAbi: Abi = [...identityRegistryAbi, ...jobMarketAbi, ...providerStakingAbi];

export function addOperatorFlags(command: Command): Command {
  return command
    .addOption(
      new Option("--operator-key-file <file>", "send now, with the operator's private key in this file").env(
        "BERTH_NODE_OPERATOR_KEY_FILE",
      ),
    )
    .option("--prepare <file>", "send nothing: write the transactions for any wallet to sign; - writes them to stdout");
}

/** Throws USAGE unless it is said who sends. */
export function assertSender({ operatorKeyFile, prepare }: OperatorFlags): void {
  if (operatorKeyFile !== undefined || prepare !== undefined) return;
  throw new MarketError("USAGE", "Who sends the operator's transactions is not said.", {
    hint: "Give --operator-key-file FILE to send them now, or --prepare FILE to sign them elsewhere.",
  });
}

/**
 * Sends the calls in order, each after the one before was mined; or writes them down for another wallet.
 * @param controller who has to send them; null: any account may
 * @throws MarketError NOT_CONTROLLER, KEY_MISSING, KEY_EXPOSED, KEY_INVALID, REVERTED, INSUFFICIENT_GAS_FUNDS
 */
export async function carryOut(
  calls: readonly Call[],
  {
    flags,
    rpc,
    operator,
    controller,
  }: { flags: OperatorFlags; rpc: Rpc; operator: Address; controller: Address | null },
  context: Context,
): Promise<Carried> {
  if (flags.prepare !== undefined) {
    const prepared = prepare(calls, rpc.chainId, controller ?? operator);
    if (flags.prepare !== "-") writePrepared(flags.prepare, prepared);
    return { transactions: [], prepared };
  }
  const account = operatorAccount(flags);
  if (controller !== null) assertController(account, operator, controller);
  return { transactions: await sendAll(calls, account, rpc, context), prepared: null };
}

/** The account of the key file. Throws KEY_MISSING, KEY_EXPOSED, KEY_INVALID. */
export function operatorAccount({ operatorKeyFile }: OperatorFlags): LocalAccount {
  return readKey(operatorKeyFile ?? "", "operator key");
}

/** The answer of a command that made transactions: what it says of itself, and then what was sent or written. */
export function operatorAnswer(
  about: object,
  lines: readonly (readonly [string, string])[],
  { transactions, prepared }: Carried,
  { prepare }: OperatorFlags,
): Answer {
  if (prepared === null) {
    const sent = transactions.map(({ what, hash }) => [what, hash] as const);
    return { json: { ...about, transactions }, text: facts([...lines, ...sent]) };
  }
  if (prepare === "-") return { json: prepared, text: toJson(prepared, 2) };
  const steps = prepared.transactions.map(({ description }, at) => [`transaction ${at + 1}`, description] as const);
  const todo = prepared.transactions.length === 0 ? "nothing: all is as it should be" : `signed by ${prepared.from}`;
  const text = facts([...lines, ["written to", prepare ?? ""], ...steps, ["to be sent", todo]]);
  return { json: { ...about, transactions, prepared }, text };
}

async function sendAll(
  calls: readonly Call[],
  account: LocalAccount,
  rpc: Rpc,
  { signal, log }: Context,
): Promise<Sent[]> {
  const stopping = new AbortController();
  const outbox: Outbox = createOutbox({
    rpc,
    account,
    chainId: rpc.chainId,
    store: memoryOutboxStore(),
    log,
    signal: AbortSignal.any([signal, stopping.signal]),
    confirmations: 0,
    abi: errorAbi,
    pollMs: 250,
    onBlocked: "fail",
  });
  const sent: Sent[] = [];
  try {
    for (const { what, to, data } of calls) {
      await outbox.enqueue({ key: what, to, data });
      const { transactionHash, gasUsed, blockNumber } = await outbox.wait(what, { until: "mined", signal });
      log.info({ what, hash: transactionHash }, "transaction mined");
      sent.push({ what, hash: transactionHash, gasUsed: String(gasUsed), block: Number(blockNumber) });
    }
    return sent;
  } finally {
    stopping.abort();
    await outbox.done.catch(() => undefined);
  }
}

function prepare(calls: readonly Call[], chainId: number, from: Address): Prepared {
  const transactions = calls.map(({ to, data, description }) => ({ chainId, from, to, data, value: "0", description }));
  return { chainId, from, transactions };
}

function writePrepared(file: string, prepared: Prepared): void {
  try {
    writeFileSync(file, `${toJson(prepared, 2)}\n`);
  } catch (cause) {
    throw new MarketError("FLAG_INVALID", `The transactions cannot be written to ${file}.`, {
      hint: "Give --prepare a file in a folder that exists, or - for stdout.",
      cause,
    });
  }
}

function assertController(account: LocalAccount, operator: Address, controller: Address): void {
  if (account.address.toLowerCase() === controller) return;
  throw new MarketError(
    "NOT_CONTROLLER",
    `The key given is ${account.address}, but ${controller} controls ${operator}.`,
    {
      hint: "Give the key file of the controller, or set the operator that this key controls.",
    },
  );
}
