import { depositOf, type Hex, type Job, type Request } from "@berth/protocol";
import type { JobEvent } from "../decode/events.ts";
import { plain } from "../store/rows.ts";
import type { JobRow, LimitsJson, MarketRow, OrderJson } from "../store/tables.ts";
import { projectLease } from "./lease.ts";
import { nodeRow, withUse } from "./node.ts";
import { projectReplica } from "./replica.ts";
import { credit, matchedJob } from "./rows.ts";
import type { State } from "./state.ts";

/** Applies one event of the job market. The sums are those of the contract, so that tables equal its storage. */
export async function projectMarket(event: JobEvent, state: State): Promise<void> {
  const { eventName, args, log, timestamp } = event;
  switch (eventName) {
    case "Deposited":
      return credit(state, args.account, args.token, args.amount);
    case "Withdrawn":
      return credit(state, args.account, args.token, -args.amount);
    case "RequestPosted": {
      const { request } = args;
      await credit(state, request.payer, request.token, -request.maxPrice);
      const row = { ...newJob(event, args.jobId, request), request: orderJson(request) };
      state.put("jobs", { ...row, state: "posted", postedAt: timestamp, postedTx: log.transactionHash });
      return;
    }
    case "RequestCancelled": {
      const row = (await state.get("jobs", { jobId: args.jobId })) ?? newJob(event, args.jobId, null);
      if (row.payer !== null && row.token !== null) await credit(state, row.payer, row.token, args.released);
      state.put("jobs", { ...row, state: "cancelled", cancelledTx: log.transactionHash });
      return;
    }
    case "JobMatched": {
      const { job, spent, released, matcher, tip } = args;
      const known = await state.get("jobs", { jobId: args.jobId });
      await credit(state, job.payer, job.token, known?.state === "posted" ? released : -spent);
      await credit(state, matcher, job.token, tip);
      state.put("jobs", {
        ...(known ?? newJob(event, args.jobId, job)),
        state: "matched",
        job: orderJson(job as Job),
        matcher,
        spent,
        openReplicas: job.replicas,
        matchedAt: timestamp,
        matchedTx: log.transactionHash,
      });
      return;
    }
    case "ReplicaMatched": {
      const { jobId, assignment } = args;
      const { job } = await matchedJob(state, jobId);
      const { replica, operator, index, offerHash, rateX18, baseCharge } = assignment;
      const terms = { job, assignment } as Parameters<typeof depositOf>[0];
      state.put("nodes", withUse(await nodeRow(state, operator, index), job, 1));
      await state.get("replicas", { jobId, replica });
      state.put("replicas", {
        jobId,
        replica,
        operator,
        index,
        state: "active",
        offerHash,
        rateX18,
        baseCharge,
        deposit: depositOf(terms),
        matchedAt: timestamp,
        lastAt: 0,
        submittedAt: null,
        resultHash: null,
        resultBytes: null,
        claimed: null,
        disputedAt: null,
        award: null,
        charge: 0n,
        refund: 0n,
        slashed: 0n,
        reason: null,
        matchedTx: log.transactionHash,
        submittedTx: null,
        disputedTx: null,
        endedTx: null,
      });
      return;
    }
    case "ResultSubmitted":
    case "ReplicaDisputed":
    case "ReplicaRuled":
    case "ReplicaSettled":
    case "ReplicaRefunded":
      return projectReplica(event, state);
    case "LeaseClaimed":
    case "LeaseToppedUp":
    case "LeaseClosing":
      return projectLease(event, state);
    case "EpochBumped": {
      const node = await nodeRow(state, args.operator, args.index);
      state.put("nodes", { ...node, epoch: args.epoch });
      return;
    }
    case "NodeLimitsSet": {
      const node = await nodeRow(state, args.operator, args.index);
      const limits: LimitsJson = { ...args.limits, maxBond: String(args.limits.maxBond) };
      state.put("nodes", { ...node, limits });
      return;
    }
    case "AcceptanceSet": {
      const { operator, what, accepted } = args;
      await state.get("acceptances", { operator, what }); // what is undone must be known
      state.put("acceptances", { operator, what, accepted });
      return;
    }
    case "NewJobsPausedSet":
      state.put("markets", { ...(await marketRow(state, log.address)), paused: args.paused });
      return;
    case "GuardianChanged":
      state.put("markets", { ...(await marketRow(state, log.address)), guardian: args.guardian });
  }
}

/** As `orderToJson` writes it: what events say is in lower case already. */
function orderJson(order: Request | Job): OrderJson {
  return plain(order) as OrderJson;
}

async function marketRow(state: State, market: Hex): Promise<MarketRow> {
  const found = await state.get("markets", { market });
  return found ?? { market, guardian: `0x${"0".repeat(40)}`, paused: false };
}

/** `order` is null where the chain does not say whose the request was. */
function newJob(
  { blockNumber, log }: JobEvent,
  jobId: Hex,
  order: Pick<Request, "requester" | "payer" | "token"> | null,
): JobRow {
  return {
    jobId,
    state: "matched",
    request: null,
    job: null,
    requester: order?.requester ?? null,
    payer: order?.payer ?? null,
    token: order?.token ?? null,
    matcher: null,
    spent: 0n,
    openReplicas: 0,
    postedAt: null,
    matchedAt: null,
    postedTx: null,
    matchedTx: null,
    cancelledTx: null,
    firstBlock: blockNumber,
    firstLog: log.logIndex,
  };
}
