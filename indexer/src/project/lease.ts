import { type Hex, type Job, MODE } from "@berth/protocol";
import type { JobEvent } from "../decode/events.ts";
import type { LeaseRow, ReplicaRow } from "../store/tables.ts";
import { credit, matchedReplica } from "./rows.ts";
import type { State } from "./state.ts";

export type LeaseEvent = Extract<JobEvent, { eventName: "LeaseClaimed" | "LeaseToppedUp" | "LeaseClosing" }>;

/** What only leases go through. */
export async function projectLease({ eventName, args, timestamp }: LeaseEvent, state: State): Promise<void> {
  const { job, replica } = await matchedReplica(state, args);
  const lease = await leaseRow(state, args);
  switch (eventName) {
    case "LeaseClaimed": {
      const { operator, chargedSeconds, paid } = args;
      await credit(state, operator, job.token, paid);
      state.put("leases", { ...lease, chargedSeconds });
      state.put("replicas", { ...replica, lastAt: timestamp, charge: replica.charge + paid });
      return;
    }
    case "LeaseToppedUp": {
      const { from, addedSeconds, amount } = args;
      await credit(state, from, job.token, -amount);
      state.put("leases", { ...lease, addedSeconds: lease.addedSeconds + addedSeconds });
      state.put("replicas", { ...replica, deposit: replica.deposit + amount });
      return;
    }
    case "LeaseClosing":
      state.put("leases", { ...lease, closingAt: args.closingAt, closingBy: args.by });
  }
}

/** The lease's row, or that of a lease nothing is to be remembered of yet. */
export async function leaseRow(state: State, { jobId, replica }: { jobId: Hex; replica: number }): Promise<LeaseRow> {
  const found = await state.get("leases", { jobId, replica });
  return found ?? { jobId, replica, chargedSeconds: 0, addedSeconds: 0, closingAt: 0, closingBy: null };
}

/**
 * Did a lease that ends at `at` cost its node the bond? As the market decides it: two heartbeats without a claim, while the
 * deposit would have paid for them and nobody had given notice.
 */
export function wasSilent(job: Job, { matchedAt, lastAt }: ReplicaRow, lease: LeaseRow, at: number): boolean {
  const patience = 2 * job.heartbeatSeconds;
  if (job.mode !== MODE.lease || lease.closingAt !== 0) return false;
  if (job.maxSeconds + lease.addedSeconds - lease.chargedSeconds < patience) return false;
  return at > (lastAt === 0 ? matchedAt : lastAt) + patience;
}
