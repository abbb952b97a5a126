import type { Job } from "@berth/protocol";
import type { JobEvent } from "../decode/events.ts";
import { type JobRow, type ReplicaRow, refundReasons } from "../store/tables.ts";
import { leaseRow, wasSilent } from "./lease.ts";
import { nodeRow, withUse } from "./node.ts";
import { credit, matchedReplica } from "./rows.ts";
import type { State } from "./state.ts";

export type ReplicaEvent = Extract<
  JobEvent,
  { eventName: "ResultSubmitted" | "ReplicaDisputed" | "ReplicaRuled" | "ReplicaSettled" | "ReplicaRefunded" }
>;

/** A node has one decline in so many seconds for free. */
const FREE_DECLINE_EVERY = 3600;

/** What becomes of a matched replica: the result, the dispute, the end. */
export async function projectReplica(event: ReplicaEvent, state: State): Promise<void> {
  const { eventName, args, log, timestamp } = event;
  const { row, job, replica } = await matchedReplica(state, args);
  switch (eventName) {
    case "ResultSubmitted": {
      const { resultHash, resultBytes, charge } = args.claim;
      await release(state, replica, job);
      state.put("replicas", {
        ...replica,
        state: args.judging ? "judging" : "submitted",
        lastAt: timestamp,
        submittedAt: timestamp,
        resultHash,
        resultBytes,
        claimed: charge,
        submittedTx: log.transactionHash,
      });
      return;
    }
    case "ReplicaDisputed": {
      await credit(state, args.requester, job.token, -args.fee);
      const disputed = { state: "disputed", lastAt: timestamp, disputedAt: timestamp, disputedTx: log.transactionHash };
      state.put("replicas", { ...replica, ...disputed });
      return;
    }
    case "ReplicaRuled": {
      // The loser pays the fee, which the requester advanced.
      const upheld = args.award === replica.claimed;
      await credit(state, upheld ? args.arbiter : job.requester, job.token, job.arbiterFee);
      state.put("replicas", { ...replica, award: args.award, slashed: args.fault });
      return;
    }
    case "ReplicaSettled": {
      const { charge, refund } = args;
      // The arbiter was silent: the requester has its fee back.
      const unruled = replica.state === "disputed" && replica.award === null;
      if (unruled) await credit(state, job.requester, job.token, job.arbiterFee);
      const silent = replica.state === "active" && wasSilent(job, replica, await leaseRow(state, args), timestamp);
      const slashed = silent ? job.bond : replica.slashed;
      await credit(state, args.operator, job.token, charge);
      await credit(state, job.payer, job.token, refund);
      return end({ state: "settled", charge: replica.charge + charge, refund, slashed });
    }
    case "ReplicaRefunded": {
      const { refund, slashed } = args;
      const reason = refundReasons[args.reason] ?? null;
      await credit(state, job.payer, job.token, refund);
      await end({ state: "refunded", refund, slashed, reason });
      if (reason === "declined") await countDecline(state, replica, timestamp);
    }
  }

  async function end(how: Partial<ReplicaRow>): Promise<void> {
    if (replica.state === "active") await release(state, replica, job);
    state.put("replicas", { ...replica, ...how, endedTx: log.transactionHash });
    state.put("jobs", withOneLess(row));
  }
}

function withOneLess(row: JobRow): JobRow {
  const openReplicas = row.openReplicas - 1;
  return { ...row, openReplicas, state: openReplicas === 0 ? "ended" : row.state };
}

/** Capacity comes back on the way out of Active, once. */
async function release(state: State, { operator, index }: ReplicaRow, job: Job): Promise<void> {
  state.put("nodes", withUse(await nodeRow(state, operator, index), job, -1));
}

/** The first decline of an hour is free and starts the hour. */
async function countDecline(state: State, { operator, index }: ReplicaRow, at: number): Promise<void> {
  const node = await nodeRow(state, operator, index);
  if (node.declinedAt !== 0 && at < node.declinedAt + FREE_DECLINE_EVERY) return;
  state.put("nodes", { ...node, declinedAt: at });
}
