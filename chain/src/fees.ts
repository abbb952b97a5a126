import type { BlockHeader } from "./parse.ts";
import { bigQuantity } from "./parse.ts";
import type { Rpc } from "./rpc.ts";

/** How much to pay for gas, and when to pay more. */
export interface FeePolicy {
  /** wei per gas; never more than this. */
  maxFeePerGas: bigint;
  /** wei per gas for the block's author; undefined asks the RPC. */
  priorityFeePerGas: bigint | undefined;
  /** A transaction that is next in line and unmined for this long is sent again with a higher fee… */
  stuckMs: number;
  /** …or for this many blocks. */
  stuckBlocks: number;
  /** By how much; nodes refuse less than 10. */
  bumpPercent: bigint;
}

export const DEFAULT_FEE_POLICY: FeePolicy = {
  maxFeePerGas: 500n * 10n ** 9n,
  priorityFeePerGas: undefined,
  stuckMs: 60_000,
  stuckBlocks: 5,
  bumpPercent: 13n,
};

/** wei per gas. On chains without EIP-1559 both are the gas price and `legacy` is true. */
export interface Fees {
  maxFeePerGas: bigint;
  maxPriorityFeePerGas: bigint;
  legacy: boolean;
}

/** Room for the base fee to double, within the policy's ceiling. */
export async function currentFees(rpc: Rpc, head: BlockHeader, policy: FeePolicy, signal: AbortSignal): Promise<Fees> {
  if (head.baseFeePerGas === undefined) {
    const price = bigQuantity(await rpc.request("eth_gasPrice", [], { signal }), "gas price");
    const capped = min(price, policy.maxFeePerGas);
    return { maxFeePerGas: capped, maxPriorityFeePerGas: capped, legacy: true };
  }
  const tip =
    policy.priorityFeePerGas ??
    bigQuantity(await rpc.request("eth_maxPriorityFeePerGas", [], { signal }), "priority fee");
  const maxFeePerGas = min(head.baseFeePerGas * 2n + tip, policy.maxFeePerGas);
  return { maxFeePerGas, maxPriorityFeePerGas: min(tip, maxFeePerGas), legacy: false };
}

/** Fees that replace `old` in a mempool; undefined when the ceiling leaves no room for a bump that nodes accept. */
export function bumpedFees(old: Omit<Fees, "legacy">, fresh: Fees, policy: FeePolicy): Fees | undefined {
  const raise = (fee: bigint) => (fee * (100n + policy.bumpPercent)) / 100n + 1n;
  const maxFeePerGas = max(raise(old.maxFeePerGas), fresh.maxFeePerGas);
  if (maxFeePerGas > policy.maxFeePerGas) return undefined;
  const maxPriorityFeePerGas = max(raise(old.maxPriorityFeePerGas), fresh.maxPriorityFeePerGas);
  return { maxFeePerGas, maxPriorityFeePerGas: min(maxPriorityFeePerGas, maxFeePerGas), legacy: fresh.legacy };
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
