import { compensationDown, depositOf, type Terms } from "@berth/protocol";
import { add } from "./money.ts";
import type { Facts } from "./scene.ts";
import { noStake, put, type Storage } from "./storage.ts";

/** `amount` of free stake becomes locked; locked becomes free where it is negative. */
export function lock(storage: Storage, operator: string, amount: bigint): Storage {
  const { free, locked } = storage.stakes[operator] ?? noStake;
  return put(storage, "stakes", operator, { free: free - amount, locked: locked + amount });
}

export function unlockBond(storage: Storage, { job, assignment }: Terms): Storage {
  return lock(storage, assignment.operator, -job.bond);
}

interface Shares {
  /** Token units taken, of which the sink gets what nobody else does. */
  amount: bigint;
  victim?: bigint;
  helper?: { account: string; amount: bigint };
}

/** The bond of the replica ends: `amount` of it is owed to others, the rest is free again. */
export function slash(storage: Storage, facts: Facts, { job, assignment }: Terms, shares: Shares): Storage {
  const { amount, victim = 0n, helper = { account: facts.sink, amount: 0n } } = shares;
  const { free, locked } = storage.stakes[assignment.operator] ?? noStake;
  const stake = { free: free + job.bond - amount, locked: locked - job.bond };
  let after = put(storage, "stakes", assignment.operator, stake);
  after = add(after, "owed", job.payer, victim);
  after = add(after, "owed", helper.account, helper.amount);
  return add(after, "owed", facts.sink, amount - victim - helper.amount);
}

/** The whole bond for a missed deadline: the signed share to the payer, the bounty to the caller, the rest to the sink. */
export function slashForSilence(storage: Storage, facts: Facts, terms: Terms, by: string): Storage {
  const { job } = terms;
  const victim = compensationDown(job, depositOf(terms));
  const left = job.bond - victim;
  const bounty = job.bounty < left ? job.bounty : left;
  return slash(storage, facts, terms, { amount: job.bond, victim, helper: { account: by, amount: bounty } });
}
