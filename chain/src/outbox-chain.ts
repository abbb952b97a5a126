import type { Address, Hex } from "@berth/protocol";
import { type Abi, keccak256, type LocalAccount } from "viem";
import type { RpcCall } from "./endpoint.ts";
import { rpcInconsistent, toMarketError } from "./errors.ts";
import type { Fees } from "./fees.ts";
import type { Attempt, Mined, OutboxEntry } from "./outbox-store.ts";
import { bigQuantity, hex, object, quantity, toQuantity } from "./parse.ts";
import type { Rpc } from "./rpc.ts";

/** Everything a look at the account tells. Read in one batch, counts first. */
export interface AccountView {
  /** Nonces below this are used. */
  latestCount: number;
  /** The next nonce by the RPC's mempool. */
  pendingCount: number;
  /** wei */
  balance: bigint;
}

export interface MinedReceipt extends Mined {
  /** wei */
  gasCost: bigint;
}

export async function readAccount(rpc: Rpc, account: Address, signal: AbortSignal): Promise<AccountView> {
  const calls: RpcCall[] = [
    { method: "eth_getTransactionCount", params: [account, "latest"] },
    { method: "eth_getTransactionCount", params: [account, "pending"] },
    { method: "eth_getBalance", params: [account, "latest"] },
  ];
  const [latest, pending, balance] = await results(rpc, calls, signal);
  return {
    latestCount: quantity(latest, "nonce"),
    pendingCount: quantity(pending, "pending nonce"),
    balance: bigQuantity(balance, "balance"),
  };
}

/** For every hash its receipt, or undefined when the RPC has none, which proves nothing. */
export async function readReceipts(
  rpc: Rpc,
  hashes: readonly Hex[],
  signal: AbortSignal,
): Promise<Map<Hex, MinedReceipt>> {
  const calls = hashes.map((hash) => ({ method: "eth_getTransactionReceipt", params: [hash] }));
  const found = new Map<Hex, MinedReceipt>();
  for (const [i, value] of (await results(rpc, calls, signal)).entries()) {
    if (value === null || value === undefined) continue;
    const receipt = object(value, "receipt");
    const hash = hex(receipt["transactionHash"], "hash of a receipt", 32);
    if (hash !== hashes[i]) continue;
    const price = receipt["effectiveGasPrice"] ?? "0x0";
    found.set(hash, {
      hash,
      blockNumber: quantity(receipt["blockNumber"], "block of a receipt"),
      blockHash: hex(receipt["blockHash"], "block hash of a receipt", 32),
      success: quantity(receipt["status"], "status of a receipt") === 1,
      gasCost: bigQuantity(receipt["gasUsed"], "gas of a receipt") * bigQuantity(price, "gas price of a receipt"),
    });
  }
  return found;
}

/** Runs the call without sending it and returns the gas to allow. Throws `REVERTED` with the contract's reason. */
export async function preflight(
  rpc: Rpc,
  entry: OutboxEntry,
  block: "latest" | "pending" | Hex,
  abi: Abi | undefined,
  signal: AbortSignal,
  check?: (entry: OutboxEntry, answer: Hex) => void,
): Promise<bigint> {
  const { from, to, data, value, gasLimit } = entry;
  const call = {
    from,
    to,
    data,
    value: toQuantity(value),
    ...(gasLimit === null ? {} : { gas: toQuantity(gasLimit) }),
  };
  try {
    if (gasLimit !== null) {
      const answer = await rpc.request("eth_call", [call, block], { signal });
      check?.(entry, hex(answer, "answer of a call"));
      return gasLimit;
    }
    const gas = bigQuantity(await rpc.request("eth_estimateGas", [call, block], { signal }), "gas estimate");
    return (gas * 120n) / 100n;
  } catch (error) {
    signal.throwIfAborted();
    throw toMarketError(error, { action: entry.key, ...(abi === undefined ? {} : { abi }) });
  }
}

export async function signAttempt(
  account: LocalAccount,
  { to, data, value, chainId }: OutboxEntry,
  nonce: number,
  gas: bigint,
  { maxFeePerGas, maxPriorityFeePerGas, legacy }: Fees,
): Promise<Attempt> {
  const fees = legacy
    ? ({ type: "legacy", gasPrice: maxFeePerGas } as const)
    : ({ type: "eip1559", maxFeePerGas, maxPriorityFeePerGas } as const);
  const raw = await account.signTransaction({ chainId, to, data, value, nonce, gas, ...fees });
  return { nonce, hash: keccak256(raw), raw, maxFeePerGas, maxPriorityFeePerGas, gas };
}

/**
 * Hands the signed bytes to the RPC: `accepted` when it has them (it may have had them before), else why it did not take
 * them. A refusal never proves that the transaction is not mined. Throws when the RPC does not answer.
 */
export async function broadcast(rpc: Rpc, raw: Hex, signal: AbortSignal): Promise<"accepted" | { refused: string }> {
  const [outcome] = await rpc.requestMany([{ method: "eth_sendRawTransaction", params: [raw] }], { signal });
  if (outcome === undefined || "result" in outcome) return "accepted";
  const reason = outcome.error.details ?? outcome.error.message;
  const known = /already (known|imported|exists)|known transaction|nonce (is )?too low|nonce.*already/i.test(reason);
  return known ? "accepted" : { refused: reason };
}

/**
 * The hash of the mined transaction that used `nonce`, at or below block `upTo`; undefined when none did. Looks at the
 * account's history, so it throws where the RPC has forgotten that state, and when the RPC contradicts itself.
 */
export async function transactionWithNonce(
  rpc: Rpc,
  account: Address,
  nonce: number,
  upTo: number,
  signal: AbortSignal,
): Promise<Hex | undefined> {
  const isUsed = async (block: number) =>
    quantity(await rpc.request("eth_getTransactionCount", [account, toQuantity(block)], { signal }), "nonce") > nonce;
  if (upTo < 0 || !(await isUsed(upTo))) return undefined;
  let used = upTo;
  let unused = upTo - 1;
  for (let back = 1; unused >= 0 && (await isUsed(unused)); back *= 2) {
    used = unused;
    unused = Math.max(-1, unused - back);
  }
  while (used - unused > 1) {
    const middle = Math.floor((used + unused) / 2);
    if (await isUsed(middle)) used = middle;
    else unused = middle;
  }
  const block = object(await rpc.request("eth_getBlockByNumber", [toQuantity(used), true], { signal }), "block");
  const transactions = Array.isArray(block["transactions"]) ? block["transactions"] : [];
  const found = transactions
    .map((item) => object(item, "transaction"))
    .find((t) => String(t["from"]).toLowerCase() === account.toLowerCase() && Number(t["nonce"]) === nonce);
  if (found === undefined) throw rpcInconsistent(`Block ${used} lacks the transaction that used nonce ${nonce}.`);
  return hex(found["hash"], "hash of a transaction", 32);
}

async function results(rpc: Rpc, calls: readonly RpcCall[], signal: AbortSignal): Promise<unknown[]> {
  return (await rpc.requestMany(calls, { signal })).map((outcome) => {
    if ("error" in outcome) throw toMarketError(outcome.error, { action: "Reading the account" });
    return outcome.result;
  });
}
