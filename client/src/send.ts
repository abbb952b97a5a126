import { toMarketError } from "@berth/chain";
import { type Hex, MarketError } from "@berth/protocol";
import type { Abi } from "viem";
import { type Client, type Context, walletOf } from "./client.ts";
import { pause } from "./wait.ts";
import type { TypedDocument, WalletTransaction } from "./wallet.ts";

/** A mined transaction. */
export interface Sent {
  /** What it did, in one or two words. */
  what: string;
  hash: Hex;
  gasUsed: bigint;
}

export interface Call extends WalletTransaction {
  what: string;
  /** Names the contract's errors. */
  abi: Abi;
}

const MINED_MS = 10 * 60_000;

/**
 * Tries the call, sends it and waits until it is mined. A call that the contract would refuse costs nothing.
 * Throws REVERTED, INSUFFICIENT_GAS_FUNDS, WRONG_CHAIN, NOT_SIGNED, NOT_MINED.
 */
export async function sendCall(
  client: Client,
  { what, abi, ...transaction }: Call,
  context: Context = {},
): Promise<Sent> {
  const wallet = walletOf(client);
  const explain = { abi, action: `"${what}"` };
  await assertWalletChain(client);
  try {
    const { to, data, value } = transaction;
    await client.rpc.client.call({ account: wallet.address, to, data, ...(value === undefined ? {} : { value }) });
  } catch (error) {
    throw toMarketError(error, explain);
  }
  context.signal?.throwIfAborted();
  let hash: Hex;
  try {
    hash = await wallet.sendTransaction(transaction);
  } catch (error) {
    throw isRejection(error) ? notSigned(what, error) : toMarketError(error, explain);
  }
  const log = context.log ?? client.log;
  log.info({ what, hash }, "transaction sent");
  const { gasUsed, reverted } = await mined(client, hash, what, context);
  if (reverted) throw new MarketError("REVERTED", `"${what}" was mined but refused by the contract (${hash}).`);
  return { what, hash, gasUsed };
}

/** Has the wallet sign `document`, on the right chain. Throws WRONG_CHAIN, NOT_SIGNED. */
export async function signDocument(client: Client, what: string, document: TypedDocument): Promise<Hex> {
  await assertWalletChain(client);
  try {
    return await walletOf(client).signTypedData(document);
  } catch (error) {
    if (isRejection(error)) throw notSigned(what, error);
    throw new MarketError("NOT_SIGNED", `The wallet could not sign "${what}": ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/** Throws WRONG_CHAIN when the wallet is set to another chain than the market's. */
async function assertWalletChain(client: Client): Promise<void> {
  const actual = await walletOf(client).chainId?.();
  const { chainId } = client.deployment;
  if (actual === undefined || actual === chainId) return;
  throw new MarketError("WRONG_CHAIN", `The wallet is on chain ${actual}, but the market is on chain ${chainId}.`, {
    hint: `Switch the wallet to chain ${chainId}.`,
  });
}

async function mined(client: Client, hash: Hex, what: string, { signal }: Context) {
  for (const deadline = Date.now() + MINED_MS; Date.now() < deadline; ) {
    const receipt = await receiptOf(client, hash, signal);
    if (receipt !== undefined) return receipt;
    await pause(Math.min(client.pollMs, 250), signal);
  }
  throw new MarketError("NOT_MINED", `"${what}" (${hash}) was sent ten minutes ago and is still not mined.`, {
    hint: "Look at the transaction in the wallet; it may need a higher fee.",
    retryable: true,
  });
}

/** Gas and outcome of a mined transaction; undefined while it is not mined, for all that the RPC says. */
export async function receiptOf(
  client: Client,
  hash: Hex,
  signal?: AbortSignal,
): Promise<{ gasUsed: bigint; reverted: boolean } | undefined> {
  const receipt = (await client.rpc.request("eth_getTransactionReceipt", [hash], { signal })) as {
    gasUsed: Hex;
    status: Hex;
    blockNumber: Hex | null;
  } | null;
  if (receipt === null || receipt.blockNumber === null) return undefined;
  return { gasUsed: BigInt(receipt.gasUsed), reverted: BigInt(receipt.status) === 0n };
}

function isRejection(error: unknown): boolean {
  const { code, message = "" } = error as { code?: unknown; message?: string };
  return code === 4001 || code === "ACTION_REJECTED" || /user (rejected|denied)/i.test(message);
}

function notSigned(what: string, cause: unknown): MarketError {
  return new MarketError("NOT_SIGNED", `The wallet refused to sign "${what}".`, { cause });
}
