import { closeSync, existsSync, fsyncSync, linkSync, openSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { toMarketError } from "@berth/chain";
import { type Hex, identityRegistryAbi, MarketError } from "@berth/protocol";
import { formatEther, type LocalAccount } from "viem";
import type { ChainAccess } from "../chain/connect.ts";
import { readKey } from "../chain/keys.ts";
import { type Config, keyFileOf, need, wgKeyFileOf } from "../config.ts";
import { isBusy } from "../core/states.ts";
import type { Context } from "../log.ts";
import { loadOrCreateKey } from "../mesh/keys.ts";
import type { Journal } from "../store/journal.ts";
import type { Database } from "../store/open.ts";

/** Keys that wait beside those in use until the registry has them. */
export interface NextKeys {
  hot: LocalAccount | undefined;
  /** As the registry stores it. */
  wgKey: Hex | undefined;
}

const TRANSFER_GAS = 21_000n;

/** Where the key that will replace the one in `file` waits. */
export function nextKeyFile(file: string): string {
  return `${file}.next`;
}

/** Which keys wait, without reading them. */
export function waitingKeys(config: Config): ("hot" | "wireguard")[] {
  const files = [
    ["hot", keyFileOf(config)],
    ["wireguard", wgKeyFileOf(config)],
  ] as const;
  return files.flatMap(([name, file]) => (existsSync(nextKeyFile(file)) ? [name] : []));
}

/** Throws KEY_EXPOSED, KEY_INVALID, MESH_KEY_EXPOSED, MESH_KEY_INVALID. */
export async function readNextKeys(config: Config): Promise<NextKeys> {
  const waiting = waitingKeys(config);
  const hot = waiting.includes("hot") ? readKey(nextKeyFile(keyFileOf(config)), "next hot key") : undefined;
  const wg = waiting.includes("wireguard") ? await loadOrCreateKey(nextKeyFile(wgKeyFileOf(config))) : undefined;
  return { hot, wgKey: wg?.wgKey };
}

export interface RotationOptions {
  config: Config;
  access: ChainAccess;
  database: Database;
  journal: Journal;
}

/**
 * Puts keys that the registry has by now, deep enough, in the place of those in use. The old files stay under another name,
 * and what the old hot key has of the chain's coin goes to the new one. Nothing of the node may run meanwhile.
 */
export async function takeNextKeys(options: RotationOptions, own: Context): Promise<void> {
  if (waitingKeys(options.config).length === 0) return;
  await takeConfirmed(options, own).catch((error: unknown) => {
    own.signal.throwIfAborted();
    const { code, message, hint } = error as MarketError;
    own.log.error(
      { code, reason: message, hint },
      "new keys cannot be put into use; the node goes on with the old ones",
    );
  });
}

async function takeConfirmed(options: RotationOptions, own: Context): Promise<void> {
  const { config, access } = options;
  const { hot, wireguard } = await confirmedKeys(options);
  if (hot !== undefined && (await isOldKeyDone(options))) {
    const old = readKey(keyFileOf(config), "hot key");
    await moveCoin(old, hot, access, own);
    const kept = replaceKey(keyFileOf(config));
    own.log.info({ key: hot.address, before: old.address, kept }, "hot key replaced");
  }
  if (wireguard !== undefined) {
    const kept = replaceKey(wgKeyFileOf(config));
    own.log.info({ wgKey: wireguard, kept }, "WireGuard key replaced");
  }
}

/** Should a running node stop for `takeNextKeys`? Only when that cuts nothing short. */
export async function areNextKeysDue(options: RotationOptions): Promise<boolean> {
  if (waitingKeys(options.config).length === 0) return false;
  const { hot, wireguard } = await confirmedKeys(options);
  return hot === undefined ? wireguard !== undefined : await isOldKeyDone(options);
}

/**
 * What the old key has under way, only the old key can send again. A job whose evidence names it as the signer of the result
 * is waited for while the chain lets the old key act.
 */
async function isOldKeyDone({ config, access, database, journal }: RotationOptions): Promise<boolean> {
  if (openTransactions(database) > 0) return false;
  const isBound = journal.open().some(({ state, facts }) => isBusy(state) && facts.evidence !== undefined);
  if (!isBound) return true;
  const { rpc, deployment } = access;
  const { address } = readKey(keyFileOf(config), "hot key");
  const call = { address: deployment.identity, abi: identityRegistryAbi, functionName: "mayAct" } as const;
  return !(await rpc.client.readContract({ ...call, args: [need(config, "operator"), config.index, address] }));
}

async function confirmedKeys({ config, access: { rpc, deployment } }: RotationOptions) {
  const next = await readNextKeys(config);
  if (next.hot === undefined && next.wgKey === undefined) return { hot: undefined, wireguard: undefined };
  const head = await rpc.client.getBlockNumber({ cacheTime: 0 });
  const deep = head - BigInt(config.confirmations);
  const call = { address: deployment.identity, abi: identityRegistryAbi, functionName: "nodeOf" } as const;
  const args = [need(config, "operator"), config.index] as const;
  const node = await rpc.client
    .readContract({ ...call, args, blockNumber: deep > 0n ? deep : 0n })
    .catch((error: unknown) => {
      throw toMarketError(error, { action: "Reading the node's publication" });
    });
  return {
    hot: node.key.toLowerCase() === next.hot?.address.toLowerCase() ? next.hot : undefined,
    wireguard: node.wgKey === next.wgKey ? next.wgKey : undefined,
  };
}

/** A crash in between leaves both keys: the old one under two names, the new one still waiting. */
function replaceKey(file: string): string {
  const kept = `${file}.${new Date().toISOString().replace(/[-:]/g, "")}`;
  try {
    linkSync(file, kept);
    renameSync(nextKeyFile(file), file);
    const folder = openSync(dirname(file), "r");
    fsyncSync(folder);
    closeSync(folder);
  } catch (cause) {
    throw new MarketError("KEY_NOT_REPLACED", `The new key cannot take the place of ${file}.`, {
      hint: "The node must be able to write into the key's folder; both keys are still there.",
      cause,
    });
  }
  return kept;
}

/** Leaves a trace in the log and nothing else when it fails: the coin can be moved by hand. The node does not wait for it. */
async function moveCoin(from: LocalAccount, to: LocalAccount, { rpc }: ChainAccess, own: Context): Promise<void> {
  const { client } = rpc;
  try {
    const [balance, { maxFeePerGas, maxPriorityFeePerGas }, nonce] = await Promise.all([
      client.getBalance({ address: from.address }),
      client.estimateFeesPerGas(),
      client.getTransactionCount({ address: from.address }),
    ]);
    // Twice the fee stays: some chains charge for the data on top.
    const value = balance - 2n * TRANSFER_GAS * maxFeePerGas;
    if (value <= 0n) return;
    const fees = { maxFeePerGas, maxPriorityFeePerGas, gas: TRANSFER_GAS };
    const raw = await from.signTransaction({ chainId: rpc.chainId, to: to.address, value, nonce, ...fees });
    const hash = await client.sendRawTransaction({ serializedTransaction: raw });
    own.log.info({ hash, coin: formatEther(value), to: to.address }, "coin sent to the new hot key");
  } catch (error) {
    own.signal.throwIfAborted();
    const reason = (error as Error).message;
    own.log.warn({ reason, from: from.address, to: to.address }, "coin not sent to the new hot key");
  }
}

function openTransactions({ db }: Database): number {
  const table = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").get();
  return table === undefined ? 0 : Number(db.prepare("SELECT count(*) AS n FROM outbox WHERE open = 1").get()?.["n"]);
}
