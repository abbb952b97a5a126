import { MODE, type Terms } from "@berth/protocol";
import { slashForSilence, unlockBond } from "../bonds.ts";
import { earnedDown, heldUp, isOver, isSilent, leaseOf, paidOut, secondsBy, withLease } from "../lease.ts";
import { add, amountIn } from "../money.ts";
import { pay } from "../payment.ts";
import { commits, isNode, replicaOf, State, vacate, withReplica } from "../replicas.ts";
import { type Calls, type Rule, type Scene, those } from "../scene.ts";
import type { Storage } from "../storage.ts";

export const claim: Rule<Calls["claim"]> = {
  refusals: (scene, { terms }) => [
    ...notALease(scene, terms),
    ...those({ NotNode: !isNode(scene, terms.assignment.operator), LeaseOver: over(scene, terms) }),
  ],
  outcome: ({ storage, now }, { terms }) => {
    const lease = leaseOf(storage, terms);
    const seconds = secondsBy(lease, terms, now);
    const earned = earnedDown(terms, seconds) - paidOut(lease, terms);
    const noted = withReplica(withLease(storage, terms, { chargedSeconds: seconds }), terms, { lastAt: now });
    return add(noted, "balances", terms.assignment.operator, earned);
  },
};

export const topUp: Rule<Calls["topUp"]> = {
  refusals: (scene, args) => {
    const { terms, addedSeconds } = args;
    const { closingAt, paidSeconds } = leaseOf(scene.storage, terms);
    return [
      ...notALease(scene, terms),
      ...those({
        ZeroAmount: addedSeconds === 0,
        LeaseOver: over(scene, terms),
        AlreadyClosing: closingAt !== 0,
        LeaseTooLong: paidSeconds + addedSeconds >= 2 ** 32,
        BalanceTooLow: amountIn(scene.storage, "balances", scene.by) < priceOfTopUp(scene, args),
      }),
    ];
  },
  outcome: (scene, args) => {
    const { terms, addedSeconds } = args;
    const all = leaseOf(scene.storage, terms).addedSeconds + addedSeconds;
    const paid = add(scene.storage, "balances", scene.by, -priceOfTopUp(scene, args));
    return withLease(paid, terms, { addedSeconds: all });
  },
};

export const close: Rule<Calls["close"]> = {
  refusals: (scene, { terms }) => {
    const running = !over(scene, terms);
    return [
      ...notALease(scene, terms),
      ...those({
        NotParty: running && !isParty(scene, terms),
        AlreadyClosing: running && leaseOf(scene.storage, terms).closingAt !== 0,
      }),
    ];
  },
  outcome: (scene, { terms }) => {
    const { storage, now } = scene;
    const { noticeSeconds } = terms.job;
    if (over(scene, terms) || noticeSeconds === 0) return end(scene, terms);
    return withLease(storage, terms, { closingAt: now + noticeSeconds });
  },
};

function end({ storage, facts, now, by }: Scene, terms: Terms): Storage {
  const lease = leaseOf(storage, terms);
  const paid = paidOut(lease, terms);
  const held = heldUp(terms, lease.paidSeconds) - paid;
  const earned = earnedDown(terms, secondsBy(lease, terms, now)) - paid;
  const settled = pay(vacate(storage, terms), terms, held, earned);
  return isSilent(lease, terms, now) ? slashForSilence(settled, facts, terms, by) : unlockBond(settled, terms);
}

function notALease({ storage }: Scene, terms: Terms): string[] {
  const replica = replicaOf(storage, terms);
  return those({
    WrongMode: terms.job.mode !== MODE.lease,
    WrongState: replica.state !== State.Active,
    WrongTerms: !commits(replica, terms),
  });
}

function over({ storage, now }: Scene, terms: Terms): boolean {
  return isOver(leaseOf(storage, terms), terms, now);
}

function isParty(scene: Scene, { job, assignment }: Terms): boolean {
  return scene.by === job.requester || scene.by === job.payer || isNode(scene, assignment.operator);
}

function priceOfTopUp({ storage }: Scene, { terms, addedSeconds }: Calls["topUp"]): bigint {
  const { paidSeconds } = leaseOf(storage, terms);
  return heldUp(terms, paidSeconds + addedSeconds) - heldUp(terms, paidSeconds);
}
