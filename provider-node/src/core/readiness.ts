import type { FollowerStatus } from "@berth/chain";

/** One thing that keeps a node from taking jobs. */
export interface Hindrance {
  /** Stable, for programs. */
  code: "STARTING" | "CHAIN_UNAVAILABLE" | "CHAIN_BEHIND" | "ENGINE_DOWN" | "DISK_LOW" | "DRAINING";
  /** One sentence, for people. */
  detail: string;
}

export interface NodeFacts {
  /** The node has followed the chain to its end and checked its machine. */
  started: boolean;
  chain: Pick<FollowerStatus, "state" | "lagBlocks" | "behindSince"> | undefined;
  /** Code of why no engine is open; undefined when one is. */
  engineTrouble: string | undefined;
  draining: { reason: string } | undefined;
  freeBytes: number;
  minFreeBytes: number;
  /** Unix milliseconds. */
  atMs: number;
}

/** A silence of the RPC that is shorter than this is nothing yet. */
const PATIENCE_MS = 15_000;
/** Blocks that a node may have to catch up with while it counts as up to date. */
const MAX_LAG_BLOCKS = 64;

/** Why the node is not ready; empty when it is. Pure. */
export function hindrancesOf(facts: NodeFacts): Hindrance[] {
  const { started, chain, engineTrouble, draining, freeBytes, minFreeBytes, atMs } = facts;
  const found: Hindrance[] = [];
  if (!started) found.push({ code: "STARTING", detail: "The node is still starting." });
  if (chain?.behindSince != null && atMs - chain.behindSince > PATIENCE_MS) {
    const seconds = Math.floor((atMs - chain.behindSince) / 1000);
    found.push(
      chain.state === "behind"
        ? { code: "CHAIN_BEHIND", detail: `The RPC has been behind what this node knows for ${seconds} s.` }
        : { code: "CHAIN_UNAVAILABLE", detail: `The RPC has given no sensible answer for ${seconds} s.` },
    );
  } else if (started && (chain?.lagBlocks ?? 0) > MAX_LAG_BLOCKS) {
    found.push({ code: "CHAIN_BEHIND", detail: `The node is ${chain?.lagBlocks} blocks behind the chain.` });
  }
  if (started && engineTrouble !== undefined) {
    const detail = `This machine cannot run jobs (${engineTrouble}); it is tried again, and the log says why.`;
    found.push({ code: "ENGINE_DOWN", detail });
  }
  if (freeBytes < minFreeBytes) found.push({ code: "DISK_LOW", detail: "The disk has less free than minFreeMiB." });
  if (draining !== undefined) {
    const why = draining.reason === "" ? "." : `: ${draining.reason}`;
    found.push({ code: "DRAINING", detail: `The node drains: it takes nothing new and finishes what it owes${why}` });
  }
  return found;
}
