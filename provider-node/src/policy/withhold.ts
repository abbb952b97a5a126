import type { Draining } from "../store/drain.ts";

/** What the node knows of itself without asking the chain. */
export interface Standing {
  draining: Draining | undefined;
  proven: { containers: boolean; isPresent?: boolean };
  freeDiskBytes: number;
  minFreeBytes: number;
  /** Unix milliseconds since when the RPC has been behind or silent; null while it is neither. */
  behindSince: number | null;
  nowMs: number;
}

/** An RPC that falters is asked again, and another one after it; only then is the chain out of sight. */
const BEHIND_MS = 60_000;
/** A transaction is signed with room for the base fee to double. */
const FEE_ROOM = 2n;

/** Why nothing may be offered now, if so. What is already matched is not touched. Pure. */
export function whyWithheld(standing: Standing): string | undefined {
  const { draining, proven, freeDiskBytes, minFreeBytes, behindSince, nowMs } = standing;
  if (draining !== undefined) {
    return `The node is draining${draining.reason === "" ? "" : `: ${draining.reason}`}.`;
  }
  if (!proven.containers) return "This machine did not prove that it can run jobs; see `berth-node doctor`.";
  if (proven.isPresent === false) {
    return "The RPC is catching up, or the newest block is far from this machine's time; see `berth-node doctor`.";
  }
  if (freeDiskBytes < minFreeBytes) {
    return `Less than ${Math.round(minFreeBytes / 2 ** 20)} MiB of the disk are free (minFreeMiB).`;
  }
  if (behindSince !== null && nowMs - behindSince >= BEHIND_MS) {
    return `No RPC has shown the chain as it is for over ${BEHIND_MS / 1000} s; see \`rpcUrls\`.`;
  }
  return undefined;
}

/** Why a node with this balance could not pay for one more result, if so. Pure. */
export function whyNoGas(facts: {
  key: string;
  balanceWei: bigint;
  weiPerGas: bigint;
  gasPerJob: number;
}): string | undefined {
  const { key, balanceWei, weiPerGas, gasPerJob } = facts;
  if (balanceWei >= weiPerGas * BigInt(gasPerJob) * FEE_ROOM && balanceWei > 0n) return undefined;
  return `The hot key ${key} cannot pay the gas of another result; send it some of the chain's coin.`;
}
