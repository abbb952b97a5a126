import type { identityRegistryAbi } from "@berth/protocol";
import type { DecodeEventLogReturnType } from "viem";
import type { Replayed } from "./replay.ts";

/** Of identities only what the market reads: whose key counts, and until when. Every operator has one node here. */
export function replayIdentity(known: Replayed, event: DecodeEventLogReturnType<typeof identityRegistryAbi>): Replayed {
  if (event.eventName !== "NodePublished") return known;
  const { operator, key, validTo } = event.args;
  return { ...known, nodes: { ...known.nodes, [operator]: { key, validTo } } };
}
