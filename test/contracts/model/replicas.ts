import { type Address, type Claim, replicaCommitment, type Terms } from "@berth/protocol";
import type { Scene } from "./scene.ts";
import { noReplica, noUse, put, type Replica, replicaKey, type Storage } from "./storage.ts";

export const State = {
  None: 0,
  Posted: 1,
  Active: 2,
  Submitted: 3,
  Judging: 4,
  Disputed: 5,
  Settled: 6,
  Refunded: 7,
  Cancelled: 8,
} as const;

export function replicaOf(storage: Storage, { job, assignment }: Terms): Replica {
  return storage.replicas[replicaKey(job.jobId, assignment.replica)] ?? noReplica;
}

/** `storage` with some members of the replica of `terms` replaced. */
export function withReplica(storage: Storage, terms: Terms, replaced: Partial<Replica>): Storage {
  const key = replicaKey(terms.job.jobId, terms.assignment.replica);
  return put(storage, "replicas", key, { ...replicaOf(storage, terms), ...replaced });
}

/** Are these the terms, from the submission on together with the claim, that the replica commits to? */
export function commits(replica: Replica, terms: Terms, claim?: Claim): boolean {
  return replica.commitment === replicaCommitment(terms, claim);
}

/** May `by` act for the node: its key, or its operator? */
export function isNode({ facts, by }: Scene, operator: Address): boolean {
  return by === operator || by === facts.nodes[operator]?.key;
}

/** What the replica took of its node is free again. */
export function vacate(storage: Storage, { job, assignment }: Terms): Storage {
  const use = storage.uses[assignment.operator] ?? noUse;
  return put(storage, "uses", assignment.operator, {
    ...use,
    active: use.active - 1,
    cpuMilli: use.cpuMilli - job.cpuMilli,
    memoryMiB: use.memoryMiB - job.memoryMiB,
    diskMiB: use.diskMiB - job.diskMiB,
    gpus: use.gpus - job.gpus,
  });
}
