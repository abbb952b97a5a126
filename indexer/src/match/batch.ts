import { type OutboxEntry, toMarketError } from "@berth/chain";
import { type Address, type ErrorJson, errorToJson, type Hex, jobMarketAbi, MarketError } from "@berth/protocol";
import {
  type Abi,
  decodeAbiParameters,
  decodeFunctionResult,
  encodeFunctionData,
  toEventSelector,
  toFunctionSelector,
} from "viem";

/** What a batch is made of: the call of a match alone, and the gas with which that was seen to succeed. */
export interface BatchItem {
  /** `matchJob` with its arguments. */
  callData: Hex;
  gas: bigint;
}

/** What one transaction may take. */
export interface BatchLimits {
  gas: bigint;
  bytes: number;
}

/** The market keeps this much of a reason. */
const REASON_BYTES = 132;
const INTRINSIC_GAS = 21_000n;
const MATCH_MANY = toFunctionSelector("matchMany(bytes[],uint256)");
const ITEM_FAILED = toEventSelector("ItemFailed(uint256,bytes)");
/** An item's arguments in a batch: where they begin, how long they are, and the end of the last word. */
const ITEM_BYTES = 96;

/** The most gas that any transaction may have on chains with the Fusaka rules (EIP-7825), whatever their blocks hold. */
const MAX_TRANSACTION_GAS = 2n ** 24n;

/** The most that a match may take to be sent at all: beyond half of a block no miner hurries to take it. */
export function itemLimits(blockGas: bigint, bytes: number): BatchLimits {
  const half = blockGas / 2n;
  return { gas: half < MAX_TRANSACTION_GAS ? half : MAX_TRANSACTION_GAS, bytes };
}

/** Why no transaction can hold an item; undefined when one can. `gas`: as it was seen to succeed, before it was tried 0. */
export function tooLarge({ callData, gas }: BatchItem, limits: BatchLimits): MarketError | undefined {
  const bytes = bytesOf(callData);
  const gasNeeded = (gas * 6n) / 5n;
  if (bytes <= limits.bytes && gasNeeded <= limits.gas) return undefined;
  const values = `bytes: ${bytes}, mostBytes: ${limits.bytes}, gas: ${gasNeeded}, mostGas: ${limits.gas}`;
  return new MarketError("MATCH_TOO_LARGE", `The match fits into no transaction: MatchTooLarge(${values}).`, {
    hint: "Ask for fewer replicas, or sign with a key or a wallet that needs less.",
  });
}

/** Gas to allow for a match that was seen to succeed with `gas`: what it meets on chain may be a little dearer. */
export function gasToAllow(gas: bigint): bigint {
  return (gas * 125n) / 100n;
}

/**
 * Cuts `items` into transactions within `limits`, in their order. In each, the one that needs most gas comes last: the market
 * wants the gas of the largest to be left before every item, and so this is never more than what they need together. An item
 * beyond the limits goes by itself.
 */
export function planBatches<T extends BatchItem>(
  items: readonly T[],
  limits: BatchLimits,
  mustGoAlone: (item: T) => boolean,
): T[][] {
  const fits = (item: T) => gasToAllow(item.gas) <= limits.gas && sizeInBatch(item) <= limits.bytes;
  const isAlone = (item: T) => mustGoAlone(item) || !fits(item);
  const alone = items.filter(isAlone).map((item) => [item]);
  const batches: T[][] = [];
  let room: BatchLimits = { gas: 0n, bytes: 0 };
  for (const item of items) {
    if (isAlone(item)) continue;
    const gas = gasToAllow(item.gas);
    const bytes = sizeInBatch(item);
    if (batches.length === 0 || gas > room.gas || bytes > room.bytes) {
      batches.push([]);
      room = limits;
    }
    batches.at(-1)?.push(item);
    room = { gas: room.gas - gas, bytes: room.bytes - bytes };
  }
  return [...batches.map((batch) => batch.toSorted((a, b) => Number(a.gas - b.gas))), ...alone];
}

function bytesOf(data: Hex): number {
  return (data.length - 2) / 2;
}

function sizeInBatch({ callData }: BatchItem): number {
  return bytesOf(callData) + ITEM_BYTES;
}

/** The one call that makes all these matches; of a single one `matchJob`, which is cheaper. */
export function callOf(batch: readonly BatchItem[]): { data: Hex; gasLimit: bigint | null } {
  const [first] = batch;
  if (batch.length === 1 && first !== undefined) return { data: first.callData, gasLimit: null };
  const most = batch.reduce((gas, item) => (item.gas > gas ? item.gas : gas), 0n);
  const itemGas = ((most - INTRINSIC_GAS) * 115n) / 100n;
  const matches = batch.map(({ callData }): Hex => `0x${callData.slice(10)}`);
  return {
    data: encodeFunctionData({ abi: jobMarketAbi, functionName: "matchMany", args: [matches, itemGas] }),
    gasLimit: batch.reduce((sum, { gas }) => sum + gasToAllow(gas), 0n),
  };
}

/** Which items of a batch succeeded, by what `matchMany` answered. */
export function doneOf(answer: Hex): readonly boolean[] {
  return decodeFunctionResult({ abi: jobMarketAbi, functionName: "matchMany", data: answer });
}

/** Throws REVERTED when a batch is about to be signed of which nothing would succeed any more. */
export function requireUseful({ key, data }: Pick<OutboxEntry, "key" | "data">, answer: Hex): void {
  if (!data.startsWith(MATCH_MANY) || doneOf(answer).includes(true)) return;
  throw new MarketError("REVERTED", `${key} was not sent: none of its matches would succeed any more.`);
}

/** Why items failed, by their place, from a receipt's logs. An empty reason says that the gas of an item was used up. */
export function failuresOf(logs: readonly unknown[], market: Address): Map<number, Hex> {
  const failures = new Map<number, Hex>();
  for (const log of logs as readonly { address: string; topics: Hex[]; data: Hex }[]) {
    if (log.address.toLowerCase() !== market || log.topics[0] !== ITEM_FAILED) continue;
    const [reason] = decodeAbiParameters([{ type: "bytes" }], log.data);
    failures.set(Number(log.topics[1]), reason);
  }
  return failures;
}

/** The contract's reason in words. What the market cut off is shown as zeros, and said to be cut. */
export function wordsOf(reason: Hex, action: string, abi: Abi): ErrorJson {
  const isCut = (reason.length - 2) / 2 >= REASON_BYTES;
  const data = isCut ? (reason.padEnd(2 + 2 * (REASON_BYTES + 32 * 8), "0") as Hex) : reason;
  const said = isCut ? "reverted with a reason that the market cut off" : "reverted without a reason";
  return errorToJson(toMarketError(Object.assign(new Error(said), { data }), { abi, action }));
}
