import { ZERO_ADDRESS, ZERO_BYTES32 } from "./constants.ts";
import { MODE, type NodeLimits, type Offer, type Request } from "./orders.ts";

/** One reason why an offer cannot serve a request: the contract's field name and both values. */
export interface Misfit {
  field: string;
  /** What the request asks for. */
  wanted: string;
  /** What the offer has. */
  has: string;
}

/**
 * Every reason why `offer` cannot serve `request`, by the two orders alone; empty when it fits. These are the checks
 * of `JobMarket` in the same order and under the same names, so an engine that asks here is never refused for them.
 */
export function misfits(request: Request, offer: Offer, now: number): Misfit[] {
  const found: Misfit[] = [];
  const need = (fits: boolean, field: string, wanted: unknown, has: unknown) => {
    if (!fits) found.push({ field, wanted: String(wanted), has: String(has) });
  };
  need(now <= offer.expiresAt, "expiresAt", now, offer.expiresAt);
  need(same(request.token, offer.token), "token", request.token, offer.token);
  need(
    same(offer.requester, ZERO_ADDRESS) || same(offer.requester, request.requester),
    "requester",
    request.requester,
    offer.requester,
  );
  for (const field of ["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const) {
    need(request[field] <= offer[field], field, request[field], offer[field]);
  }
  need((request.traits & ~offer.traits) === 0n, "traits", request.traits, offer.traits);
  for (const field of ["gpuModel", "region"] as const) {
    need(same(request[field], ZERO_BYTES32) || same(request[field], offer[field]), field, request[field], offer[field]);
  }
  need(request.maxSeconds <= offer.maxSeconds, "maxSeconds", request.maxSeconds, offer.maxSeconds);
  if (request.mode === MODE.lease) {
    const shortest = offer.minHeartbeatSeconds;
    const fits = shortest !== 0 && request.heartbeatSeconds >= shortest;
    need(fits, "heartbeatSeconds", request.heartbeatSeconds, shortest === 0 ? "no leases" : shortest);
    const notice = request.noticeSeconds;
    need(notice <= offer.maxSettleSeconds, "noticeSeconds", notice, offer.maxSettleSeconds);
  } else {
    const margin = request.submitWindow - request.maxSeconds;
    need(margin >= offer.minSubmitMargin, "submitWindow", margin, offer.minSubmitMargin);
  }
  const settle = request.challengeWindow + request.arbiterWindow;
  need(settle <= offer.maxSettleSeconds, "challengeWindow", settle, offer.maxSettleSeconds);
  need(request.bond <= offer.maxBond, "bond", request.bond, offer.maxBond);
  const bps = request.compensationBps;
  need(bps <= offer.maxCompensationBps, "compensationBps", bps, offer.maxCompensationBps);
  for (const field of ["verifier", "verifierData", "arbiter", "arbiterData"] as const) {
    need(same(request[field], offer[field]), field, request[field], offer[field]);
  }
  need(request.arbiterFee === offer.arbiterFee, "arbiterFee", request.arbiterFee, offer.arbiterFee);
  return found;
}

/** What a node has in use, as `JobMarket.useOf` gives it. */
export interface NodeUse {
  epoch: number;
  active: number;
  cpuMilli: number;
  memoryMiB: number;
  diskMiB: number;
  gpus: number;
}

/** Everything else that the market knows of the node behind an offer. */
export interface NodeStanding {
  use: NodeUse;
  limits: NodeLimits;
  /** Unix seconds: the last second in which the node's key counts. */
  keyValidTo: number;
  /** Token units of free stake in the request's token. */
  freeStake: bigint;
  /** Token units that back open replicas, in the same token. */
  lockedStake: bigint;
  /** Tokens, verifiers and arbiters that the operator lets its nodes sign for. */
  accepts: readonly string[];
  deactivated: boolean;
}

/** Every reason why the market would refuse the node behind `offer` now, its state and limits considered. */
export function standingMisfits(request: Request, offer: Offer, node: NodeStanding, now: number): Misfit[] {
  const found: Misfit[] = [];
  const need = (fits: boolean, field: string, wanted: unknown, has: unknown) => {
    if (!fits) found.push({ field, wanted: String(wanted), has: String(has) });
  };
  const lists = (list: readonly string[], item: string) => list.some((entry) => same(entry, item));
  need(!node.deactivated, "operator", "active", "deactivated");
  need(offer.epoch === node.use.epoch, "epoch", offer.epoch, node.use.epoch);
  const lastDeadline =
    now +
    (request.mode === MODE.lease
      ? request.maxSeconds + 2 * request.heartbeatSeconds
      : request.submitWindow + request.challengeWindow + request.arbiterWindow);
  need(node.keyValidTo >= lastDeadline, "keyValidTo", lastDeadline, node.keyValidTo);
  for (const field of ["token", "verifier", "arbiter"] as const) {
    const accepted = (field !== "token" && same(request[field], ZERO_ADDRESS)) || lists(node.accepts, request[field]);
    need(accepted, `accepts ${field}`, request[field], node.accepts);
  }
  need(request.bond <= node.limits.maxBond, "limits.maxBond", request.bond, node.limits.maxBond);
  need(node.use.active < node.limits.maxActive, "limits.maxActive", node.use.active + 1, node.limits.maxActive);
  for (const field of ["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const) {
    const free = Math.min(offer[field], node.limits[field]) - node.use[field];
    need(request[field] <= free, `free ${field}`, request[field], Math.max(0, free));
  }
  need(request.bond <= node.freeStake, "freeStake", request.bond, node.freeStake);
  const staked = node.freeStake + node.lockedStake;
  need(request.minStake <= staked, "minStake", request.minStake, staked);
  return found;
}

function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}
