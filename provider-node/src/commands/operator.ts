import { createOutbox, memoryOutboxStore, type Outbox, type Rpc, type Transaction } from "@berth/chain";
import {
  type Address,
  type Hex,
  identityRegistryAbi,
  jobMarketAbi,
  MarketError,
  providerStakingAbi,
} from "@berth/protocol";
import type { Abi, LocalAccount } from "viem";
import { readKey } from "../chain/keys.ts";
import type { Context } from "../log.ts";

export interface Sent {
  what: string;
  hash: Hex;
  gasUsed: string;
  block: number;
}

/** The operator's cold key for the length of one command: its transactions are sent in order and waited for. */
export interface OperatorWallet {
  account: LocalAccount;
  send(what: string, transaction: Omit<Transaction, "key">): Promise<Sent>;
  close(): Promise<void>;
}

const errorAbi: Abi = [...identityRegistryAbi, ...jobMarketAbi, ...providerStakingAbi];

/** Opens the key in `file`. Throws KEY_MISSING, KEY_EXPOSED, KEY_INVALID. */
export function openOperator(file: string, rpc: Rpc, confirmations: number, { signal, log }: Context): OperatorWallet {
  const account = readKey(file, "operator key");
  const stopping = new AbortController();
  const outbox: Outbox = createOutbox({
    rpc,
    account,
    chainId: rpc.chainId,
    store: memoryOutboxStore(),
    log,
    signal: AbortSignal.any([signal, stopping.signal]),
    confirmations,
    abi: errorAbi,
    pollMs: 250,
    onBlocked: "fail",
  });
  return {
    account,
    async send(what, transaction) {
      await outbox.enqueue({ key: what, ...transaction });
      const receipt = await outbox.wait(what, { until: "mined", signal });
      log.info({ what, hash: receipt.transactionHash }, "transaction mined");
      return {
        what,
        hash: receipt.transactionHash,
        gasUsed: String(receipt.gasUsed),
        block: Number(receipt.blockNumber),
      };
    },
    async close() {
      stopping.abort();
      await outbox.done.catch(() => undefined);
    },
  };
}

/** Throws NOT_CONTROLLER unless `account` may act for the operator. */
export function assertController(account: LocalAccount, operator: Address, controller: Address): void {
  if (account.address.toLowerCase() === controller) return;
  throw new MarketError(
    "NOT_CONTROLLER",
    `The key given is ${account.address}, but ${controller} controls ${operator}.`,
    {
      hint: "Give the key file of the controller, or set the operator that this key controls.",
    },
  );
}
