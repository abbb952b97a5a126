import type { Terms } from "@berth/protocol";
import { X18 } from "@berth/protocol";
import { replicaOf } from "./replicas.ts";
import { type Lease, noLease, put, replicaKey, type Storage } from "./storage.ts";

/** A lease as its rules see it. */
export interface LeaseView extends Lease {
  /** Unix seconds of the last claim; of the match before the first. */
  since: number;
  claimed: boolean;
  /** Seconds that were paid for, by the deposit and by top-ups. */
  paidSeconds: number;
}

export function leaseOf(storage: Storage, terms: Terms): LeaseView {
  const { matchedAt, lastAt } = replicaOf(storage, terms);
  const lease = storage.leases[replicaKey(terms.job.jobId, terms.assignment.replica)] ?? noLease;
  const claimed = lastAt !== 0;
  return {
    ...lease,
    since: claimed ? lastAt : matchedAt,
    claimed,
    paidSeconds: terms.job.maxSeconds + lease.addedSeconds,
  };
}

/** `storage` with some members of the lease of `terms` replaced. */
export function withLease(storage: Storage, terms: Terms, replaced: Partial<Lease>): Storage {
  const { chargedSeconds, addedSeconds, closingAt } = leaseOf(storage, terms);
  const lease = { chargedSeconds, addedSeconds, closingAt, ...replaced };
  return put(storage, "leases", replicaKey(terms.job.jobId, terms.assignment.replica), lease);
}

/** Seconds without a claim after which the lease is over. */
const patienceOf = ({ job }: Terms) => 2 * job.heartbeatSeconds;

/** Over for its node's silence, although the node was paid for all that time and nobody gave notice. */
export function isSilent(lease: LeaseView, terms: Terms, now: number): boolean {
  const paidFor = lease.paidSeconds - lease.chargedSeconds >= patienceOf(terms);
  return lease.closingAt === 0 && paidFor && now > lease.since + patienceOf(terms);
}

/** Its notice has run out, its deposit is used up, or nobody heard of its node. */
export function isOver(lease: LeaseView, terms: Terms, now: number): boolean {
  const noticeOver = lease.closingAt !== 0 && now > lease.closingAt;
  const usedUp = now > lease.since + lease.paidSeconds - lease.chargedSeconds;
  return noticeOver || usedUp || now > lease.since + patienceOf(terms);
}

/** Seconds to be paid for by now: at most a heartbeat past the last claim, never past the notice or the deposit. */
export function secondsBy(lease: LeaseView, { job }: Terms, now: number): number {
  const end = lease.closingAt === 0 ? now : Math.min(now, lease.closingAt);
  const elapsed = Math.min(Math.max(0, end - lease.since), job.heartbeatSeconds);
  return Math.min(lease.chargedSeconds + elapsed, lease.paidSeconds);
}

/** Token units that `seconds` of the lease come to, the base charge included. */
export function earnedDown({ assignment }: Terms, seconds: number): bigint {
  return assignment.baseCharge + (assignment.rateX18 * BigInt(seconds)) / X18;
}

/** Token units that claims have paid. */
export function paidOut(lease: LeaseView, terms: Terms): bigint {
  return lease.claimed ? earnedDown(terms, lease.chargedSeconds) : 0n;
}

/** Token units that deposit and top-ups came to. */
export function heldUp({ assignment }: Terms, paidSeconds: number): bigint {
  return assignment.baseCharge + (assignment.rateX18 * BigInt(paidSeconds) + X18 - 1n) / X18;
}
