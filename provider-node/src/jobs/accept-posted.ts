import type { Outbox } from "@berth/chain";
import {
  type Deployment,
  jobMarketAbi,
  misfits,
  type NodeLimits,
  priceOf,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import { encodeFunctionData } from "viem";
import type { Capacity } from "../core/offer.ts";
import type { Self } from "../core/ports.ts";
import type { Logger } from "../log.ts";
import type { ChainStore } from "../store/chain-store.ts";
import type { Journal } from "../store/journal.ts";
import type { SignedOffer } from "./offering.ts";

export interface AcceptOptions {
  self: Self;
  deployment: Deployment;
  chain: ChainStore;
  journal: Journal;
  outbox: Outbox;
  /** As the operator set them. */
  limits: NodeLimits;
  offer(): SignedOffer | undefined;
  now(): number;
  log: Logger;
}

/**
 * Takes posted requests that fit this node's own offer, without anyone between. The market checks everything again; a
 * request that somebody else took first costs nothing, because a transaction that would revert is not sent.
 */
export async function acceptPosted(options: AcceptOptions): Promise<void> {
  const { self, deployment, chain, journal, outbox, limits, log, now } = options;
  const offer = options.offer()?.offer;
  if (offer === undefined) return;
  for (const { jobId, request } of chain.postedRequests()) {
    const forMe = request.matcher === ZERO_ADDRESS || request.matcher === self.account.address.toLowerCase();
    if (!forMe || request.replicas !== 1 || request.openUntil < now()) continue;
    // The chain has only the root of its operators, which proves nothing about this one.
    if (request.operators !== ZERO_BYTES32) continue;
    if (misfits(request, offer, now()).length > 0 || priceOf(request, [offer]) > request.maxPrice) continue;
    if (!leavesRoom(request, limits, journal)) continue;
    const key = `accept:${jobId}`;
    if ((await outbox.get(key)) !== undefined) continue;
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "accept", args: [request, offer, []] });
    await outbox.enqueue({ key, to: deployment.market, data });
    log.info({ job: jobId }, "posted request accepted");
  }
}

/** Does the request still fit beside what this node owes already? The market counts the same way. */
function leavesRoom(request: Capacity, limits: NodeLimits, journal: Journal): boolean {
  const active = journal.jobs().filter((job) => job.chain === "active");
  if (active.length >= limits.maxActive) return false;
  return (["cpuMilli", "memoryMiB", "diskMiB"] as const).every(
    (field) => active.reduce((sum, job) => sum + job.terms.job[field], request[field]) <= limits[field],
  );
}
