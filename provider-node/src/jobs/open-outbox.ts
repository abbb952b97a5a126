import { createOutbox, type Outbox, type Rpc, sqliteOutboxStore } from "@berth/chain";
import { jobMarketAbi } from "@berth/protocol";
import type { LocalAccount } from "viem";
import type { Config } from "../config.ts";
import type { Context } from "../log.ts";
import type { Database } from "../store/open.ts";
import { isUrgent, logByKey, replicaOf } from "./submit.ts";

export interface OutboxParts {
  config: Config;
  rpc: Rpc;
  account: LocalAccount;
  database: Database;
  /** A transaction for this replica has come further. */
  onChange(job: string, replica: number): void;
}

/** Sends the node's transactions, with what its configuration lets them cost. */
export function openOutbox(parts: OutboxParts, { signal, log }: Context): Outbox {
  const { config, rpc, account, database, onChange } = parts;
  return createOutbox({
    rpc,
    account,
    chainId: rpc.chainId,
    store: sqliteOutboxStore(database.db),
    log: logByKey(log),
    signal,
    confirmations: config.confirmations,
    abi: jobMarketAbi,
    pollMs: config.pollMs,
    feePolicy: { maxFeePerGas: config.transactions.maxFeePerGas },
    dailyGasBudget: config.transactions.dailyGasBudget,
    isUrgent,
    onChange: ({ key }) => {
      const about = replicaOf(key);
      if (about !== undefined) onChange(about.job, about.replica);
    },
  });
}
