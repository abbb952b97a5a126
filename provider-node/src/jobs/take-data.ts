import type { LocalAccount } from "viem";
import { connectChain } from "../chain/connect.ts";
import { readKey } from "../chain/keys.ts";
import { type Config, keyFileOf, need } from "../config.ts";
import type { Context } from "../log.ts";
import { createJournal } from "../store/journal.ts";
import { claimJournal, lockDataFolder, lockKey, openJournalFile } from "../store/open.ts";
import type { Closers } from "./closers.ts";
import { type RotationOptions, takeNextKeys } from "./rotation.ts";

/** What one process alone may have at a time, and the chain that it belongs to. */
export interface NodeData extends RotationOptions {
  /** The hot key. */
  account: LocalAccount;
}

/**
 * Takes the data folder, its journal and the keys, new ones if the registry has them by now. What it took goes into
 * `closers` at once, so that a failure leaves nothing taken. Throws what keeps a node from starting.
 */
export async function takeData(
  config: Config,
  onRpcFailure: (host: string) => void,
  own: Context,
  closers: Closers,
): Promise<NodeData> {
  const lock = lockDataFolder(config.dataDir);
  closers.push(() => lock.release());
  readKey(keyFileOf(config), "hot key");
  const operator = need(config, "operator");
  const access = await connectChain(config, own, onRpcFailure);
  const { rpc, deployment, genesis } = access;
  const database = openJournalFile(config.dataDir);
  closers.push(() => database.close());
  const belonging = { chainId: rpc.chainId, genesis, market: deployment.market, operator, index: config.index };
  claimJournal(database, belonging, config.dataDir);

  const journal = createJournal(database);
  const rotation = { config, access, database, journal };
  await takeNextKeys(rotation, own);
  const account = readKey(keyFileOf(config), "hot key");
  const keyLock = lockKey(account.address, rpc.chainId);
  closers.push(() => keyLock.release());
  return { ...rotation, account };
}
