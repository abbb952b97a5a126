import { MODE, type Terms } from "@berth/protocol";
import { slash, unlockBond } from "../bonds.ts";
import { heldUp, leaseOf } from "../lease.ts";
import { refund } from "../payment.ts";
import { commits, isNode, replicaOf, State, vacate } from "../replicas.ts";
import { type Calls, type Rule, type Scene, those } from "../scene.ts";
import { noUse, put, replicaKey, type Storage } from "../storage.ts";

const FREE_EVERY = 3600;
const FEE_BPS = 100n;

export const decline: Rule<Calls["decline"]> = {
  refusals: (scene, args) => {
    const { terms } = args;
    const replica = replicaOf(scene.storage, terms);
    return those({
      NotNode: !isNode(scene, terms.assignment.operator),
      WrongState: replica.state !== State.Active,
      WrongTerms: !commits(replica, terms),
      // A first claim takes a lease on for good.
      WindowClosed: replica.lastAt !== 0 || scene.now > replica.matchedAt + windowOf(scene, args),
    });
  },
  outcome: (scene, args) => {
    const { storage, facts, now } = scene;
    const { terms } = args;
    const { operator } = terms.assignment;
    const held = heldUp(terms, leaseOf(storage, terms).paidSeconds);
    const refunded = refund(vacate(storage, terms), terms, held);
    if (isBroken(storage, args)) return unlockBond(refunded, terms);

    const use = refunded.uses[operator] ?? noUse;
    if (isFree(use.declinedAt, now)) {
      return unlockBond(put(refunded, "uses", operator, { ...use, declinedAt: now }), terms);
    }
    return slash(refunded, facts, terms, { amount: feeDown(terms, held) });
  },
};

/** One decline an hour is free. */
export function isFree(declinedAt: number, now: number): boolean {
  return declinedAt === 0 || now >= declinedAt + FREE_EVERY;
}

/** Another costs a hundredth of the deposit, out of the bond. */
function feeDown({ job }: Terms, held: bigint): bigint {
  const fee = (held * FEE_BPS) / 10_000n;
  return fee < job.bond ? fee : job.bond;
}

function isBroken(storage: Storage, { terms, sibling }: Calls["decline"]): boolean {
  const other = storage.replicas[replicaKey(terms.job.jobId, sibling)];
  return sibling !== terms.assignment.replica && other?.state === State.Refunded;
}

function windowOf({ storage }: Scene, args: Calls["decline"]): number {
  const { job } = args.terms;
  if (!isBroken(storage, args)) return job.acceptWindow;
  return job.mode === MODE.lease ? job.heartbeatSeconds : job.submitWindow;
}
