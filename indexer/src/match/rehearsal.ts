import { type Rpc, toMarketError } from "@berth/chain";
import { type Address, type ErrorJson, errorToJson, type Hex, jobMarketAbi, operatorTree } from "@berth/protocol";
import { type Abi, encodeFunctionData } from "viem";
import type { BookOffer } from "../book/book.ts";
import { type BatchItem, type BatchLimits, callOf, doneOf, tooLarge } from "./batch.ts";
import type { Match } from "./match.ts";

/** Where matches are tried without being sent. */
export interface Stage {
  rpc: Rpc;
  market: Address;
  /** The account that will send them. */
  from: Address;
  /** Names the contracts' errors. */
  abi: Abi;
  signal: AbortSignal;
}

/** A match that succeeds alone on the chain as it is. */
export interface Rehearsed extends BatchItem {
  match: Match;
}

export interface Refused {
  match: Match;
  callData: Hex;
  error: ErrorJson;
}

/** Servers take bodies of a few MiB: so many bytes of calls are asked about at a time. */
const MAX_ASKED_BYTES = 1024 * 1024;

/**
 * Tries each match alone, in few round trips. One beyond `limits` is refused, for its bytes without being tried. Throws when the
 * RPC says nothing about one of them.
 */
export async function rehearse(
  matches: readonly Match[],
  stage: Stage,
  limits: BatchLimits,
): Promise<{ ready: Rehearsed[]; refused: Refused[] }> {
  const { rpc, market, from, abi, signal } = stage;
  const ready: Rehearsed[] = [];
  const refused: Refused[] = [];
  const items: Pick<Rehearsed, "match" | "callData">[] = [];
  for (const match of matches) {
    const item = { match, callData: callDataOf(match) };
    const error = tooLarge({ ...item, gas: 0n }, limits);
    if (error === undefined) items.push(item);
    else refused.push({ ...item, error: errorToJson(error) });
  }
  for (const chunk of chunksOf(items)) {
    const calls = chunk.map(({ callData }) => ({
      method: "eth_estimateGas",
      params: [{ from, to: market, data: callData }, "latest"],
    }));
    const outcomes = await rpc.requestMany(calls, { signal });
    for (const [i, item] of chunk.entries()) {
      const outcome = outcomes[i];
      if (outcome !== undefined && "result" in outcome) {
        const tried = { ...item, gas: BigInt(outcome.result as Hex) };
        const error = tooLarge(tried, limits);
        if (error === undefined) ready.push(tried);
        else refused.push({ ...item, error: errorToJson(error) });
        continue;
      }
      const error = toMarketError(outcome?.error, { abi, action: `match:${item.match.order.jobId}` });
      if (error.code !== "REVERTED") throw error;
      refused.push({ ...item, error: errorToJson(error) });
    }
  }
  return { ready, refused };
}

/** In their order, together as many as the RPC is asked about at a time. */
function chunksOf<T extends { callData: Hex }>(items: readonly T[]): T[][] {
  const chunks: T[][] = [];
  let room = 0;
  for (const item of items) {
    if (item.callData.length > room) {
      chunks.push([]);
      room = MAX_ASKED_BYTES;
    }
    chunks.at(-1)?.push(item);
    room -= item.callData.length;
  }
  return chunks;
}

/** Tries a batch as a whole: which of its items succeed in it. None when it fails altogether. */
export async function rehearseBatch(batch: readonly Rehearsed[], stage: Stage): Promise<readonly boolean[]> {
  const { rpc, market, from, signal } = stage;
  const { data, gasLimit } = callOf(batch);
  const gas = `0x${(gasLimit ?? 0n).toString(16)}`;
  try {
    return doneOf((await rpc.request("eth_call", [{ from, to: market, data, gas }, "latest"], { signal })) as Hex);
  } catch (error) {
    const failure = toMarketError(error, { abi: stage.abi, action: "A batch of matches" });
    if (failure.code !== "REVERTED") throw failure;
    return batch.map(() => false);
  }
}

/** `matchJob` with everything that the market checks. */
function callDataOf({ order, offers }: Match): Hex {
  const { request, signature, payerSignature } = order;
  return encodeFunctionData({
    abi: jobMarketAbi,
    functionName: "matchJob",
    args: [
      request,
      signature,
      request.payer === request.requester ? "0x" : payerSignature, // not looked at, so it could be anything
      offers.map(({ offer }) => offer),
      offers.map((offer) => offer.signature),
      proofsOf(order.operators, offers),
    ],
  });
}

/** For each offer, that its operator is one whom the request allows; nothing where it allows everyone. */
function proofsOf(operators: readonly Address[] | null, offers: readonly BookOffer[]): Hex[][] {
  if (operators === null) return [];
  const tree = operatorTree(operators);
  return offers.map(({ offer }) => tree.proofOf(offer.operator) ?? []);
}
