import { type Check, passed } from "../core/check.ts";

/** Below this, a difference between two clocks is of no account; above the other, one of them is wrong. */
const SMALL_SKEW_SECONDS = 30;
const LARGE_SKEW_SECONDS = 120;
/** Anvil's and Hardhat's: such a chain makes blocks when it is asked to, and its time is moved at will. */
const LOCAL_CHAIN = 31337;

/**
 * Do this machine and the chain agree what time it is, and does the RPC show the chain's present? Pure.
 * @param skew seconds by which this machine's clock is ahead of the newest block's time (negative: behind)
 */
export function clockCheck(skew: number, chainId: number): Check {
  const seconds = Math.abs(skew);
  if (seconds <= SMALL_SKEW_SECONDS) return passed("clock", `within ${seconds} s of the newest block`);
  const detail = `The newest block is ${seconds} s ${skew > 0 ? "behind" : "ahead of"} this machine's clock.`;
  if (chainId === LOCAL_CHAIN) {
    const fix = "Mine a block, or mind that its time was moved: the node goes by the chain's time.";
    return { name: "clock", status: "warn", detail, fix };
  }
  const clock = "Synchronise the clock (NTP; see `timedatectl`).";
  const fix = skew > 0 ? `${clock} If it is right, the RPC is behind: use another one (rpcUrls).` : clock;
  if (seconds <= LARGE_SKEW_SECONDS) return { name: "clock", status: "warn", detail, fix };
  return { name: "clock", status: "fail", detail, fix, without: "offers: matches would be seen too late" };
}

/**
 * Has the RPC caught up with its chain? Pure.
 * @param answer to `eth_syncing`; undefined where the RPC does not tell
 */
export function syncCheck(answer: unknown): Check {
  if (answer === undefined) return passed("rpc", "does not say whether it is catching up");
  if (answer === false) return passed("rpc", "is not catching up");
  const { currentBlock, highestBlock } = (answer ?? {}) as Record<string, unknown>;
  const at = [currentBlock, highestBlock].map(Number);
  const where = at.every((block) => Number.isSafeInteger(block)) ? `, at block ${at[0]} of ${at[1]}` : "";
  const fix = "Wait until it has, or use another one (rpcUrls).";
  const detail = `The RPC is still catching up with the chain${where}.`;
  return { name: "rpc", status: "fail", detail, fix, without: "offers: matches would be seen too late" };
}
