import { type Address, type Job, type JobId, replicaCommitment, type Terms } from "@berth/protocol";
import { add } from "./money.ts";
import type { Replayed } from "./replay.ts";
import type { MarketEvent } from "./replay-market.ts";
import { State } from "./replicas.ts";
import { isFree } from "./rules/decline.ts";
import { type Lease, noLease, noUse, put, type Replica, replicaKey, type Storage } from "./storage.ts";

const DECLINED = 0;
const names = [
  "ResultSubmitted",
  "ReplicaDisputed",
  "ReplicaRuled",
  "ReplicaSettled",
  "ReplicaRefunded",
  "LeaseClaimed",
  "LeaseToppedUp",
  "LeaseClosing",
] as const;
type ReplicaEvent = Extract<MarketEvent, { eventName: (typeof names)[number] }>;

export function isReplicaEvent(event: MarketEvent): event is ReplicaEvent {
  return (names as readonly string[]).includes(event.eventName);
}

/** What happens to one replica after its match. */
export function replayReplica(known: Replayed, event: ReplicaEvent, now: number): Replayed {
  const { jobId, replica } = event.args;
  const key = replicaKey(jobId as JobId, replica);
  const job = known.jobs[jobId as JobId];
  const before = known.storage.replicas[key];
  if (job === undefined || before === undefined) throw new Error(`${event.eventName} of a replica without a match.`);
  const row = (replaced: Partial<Replica>) => put(known.storage, "replicas", key, { ...before, ...replaced });
  const change = (storage: Storage): Replayed => ({ ...known, storage });
  switch (event.eventName) {
    case "ResultSubmitted": {
      const { operator, judging, claim } = event.args;
      const state = judging ? State.Judging : State.Submitted;
      const storage = vacated(
        row({ state, lastAt: now, commitment: replicaCommitment(termsOf(known, key, job), claim) }),
        operator,
        job,
      );
      return { ...known, storage, claims: { ...known.claims, [key]: claim } };
    }
    case "ReplicaDisputed": {
      const disputed = row({ state: State.Disputed, lastAt: now });
      return change(add(disputed, "balances", event.args.requester, -event.args.fee));
    }
    case "ReplicaRuled": {
      const upheld = event.args.award === known.claims[key]?.charge;
      const paid = add(known.storage, "balances", upheld ? job.arbiter : job.requester, job.arbiterFee);
      return { ...known, storage: paid, ruled: new Set([...known.ruled, key]) };
    }
    case "ReplicaSettled": {
      const { operator, charge, refund } = event.args;
      const paid = add(row({ state: State.Settled }), "balances", operator, charge);
      const shared = add(paid, "balances", job.payer, refund);
      if (before.state === State.Active) return change(vacated(shared, operator, job));
      const unruled = before.state === State.Disputed && !known.ruled.has(key);
      return change(add(shared, "balances", job.requester, unruled ? job.arbiterFee : 0n));
    }
    case "ReplicaRefunded": {
      const { operator, refund, reason } = event.args;
      const refunded = add(row({ state: State.Refunded }), "balances", job.payer, refund);
      const left = before.state === State.Active ? vacated(refunded, operator, job) : refunded;
      return change(reason === DECLINED ? declined(left, operator, now) : left);
    }
    case "LeaseClaimed": {
      const { operator, chargedSeconds, paid } = event.args;
      const noted = withLease(row({ lastAt: now }), key, { chargedSeconds });
      return change(add(noted, "balances", operator, paid));
    }
    case "LeaseToppedUp": {
      const { from, addedSeconds, amount } = event.args;
      const all = leaseOf(known.storage, key).addedSeconds + addedSeconds;
      return change(withLease(add(known.storage, "balances", from, -amount), key, { addedSeconds: all }));
    }
    case "LeaseClosing":
      return change(withLease(known.storage, key, { closingAt: event.args.closingAt }));
  }
}

/** The hour of a free decline begins with it; one inside the hour says nothing of it, however small its fee. */
function declined(storage: Storage, operator: Address, now: number): Storage {
  const use = storage.uses[operator] ?? noUse;
  return isFree(use.declinedAt, now) ? put(storage, "uses", operator, { ...use, declinedAt: now }) : storage;
}

function vacated(storage: Storage, operator: Address, job: Job): Storage {
  const use = storage.uses[operator] ?? noUse;
  return put(storage, "uses", operator, {
    ...use,
    active: use.active - 1,
    cpuMilli: use.cpuMilli - job.cpuMilli,
    memoryMiB: use.memoryMiB - job.memoryMiB,
    diskMiB: use.diskMiB - job.diskMiB,
    gpus: use.gpus - job.gpus,
  });
}

function leaseOf(storage: Storage, key: string): Lease {
  return storage.leases[key] ?? noLease;
}

function withLease(storage: Storage, key: string, replaced: Partial<Lease>): Storage {
  return put(storage, "leases", key, { ...leaseOf(storage, key), ...replaced });
}

/** The terms of the replica, as its match put them together. */
function termsOf(known: Replayed, key: string, job: Job): Terms {
  const assignment = known.assignments[key];
  if (assignment === undefined) throw new Error(`No match assigned ${key}.`);
  return { job, assignment };
}
