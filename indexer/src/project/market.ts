import { type Hex, MarketError, type NodeLimits, orderToJson, type Request, requestSchema } from "@berth/protocol";
import type { JobEvent } from "../decode/events.ts";
import type { JobRow, LimitsJson, ReplicaRow } from "../store/tables.ts";
import { nodeRow, withUse } from "./node.ts";
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
      const job = newJob(event, args.jobId, request);
      state.put("jobs", { ...job, state: "posted", postedAt: timestamp, postedTx: log.transactionHash });
      return;
    }
    case "RequestCancelled": {
      const job = (await state.get("jobs", { jobId: args.jobId })) ?? newJob(event, args.jobId, null);
      if (job.payer !== null && job.token !== null) await credit(state, job.payer, job.token, args.released);
      state.put("jobs", { ...job, state: "cancelled", cancelledTx: log.transactionHash });
      return;
    }
    case "JobMatched": {
      const { request } = args;
      const known = await state.get("jobs", { jobId: args.jobId });
      const posted = known?.state === "posted";
      await credit(state, request.payer, request.token, posted ? args.released : -args.spent);
      await credit(state, args.matcher, request.token, request.matcherTip);
      state.put("jobs", {
        ...(known ?? newJob(event, args.jobId, request)),
        state: "matched",
        matcher: args.matcher,
        spent: args.spent,
        openReplicas: request.replicas,
        matchedAt: timestamp,
        matchedTx: log.transactionHash,
      });
      return;
    }
    case "ReplicaMatched": {
      const { request } = await openJob(state, args.jobId);
      const node = await nodeRow(state, args.offer.operator, args.offer.index);
      state.put("nodes", withUse(node, request, 1));
      state.put("replicas", {
        jobId: args.jobId,
        replica: args.replica,
        operator: args.operator,
        index: args.offer.index,
        state: "active",
        offerHash: args.offerHash,
        offer: orderToJson(args.offer),
        deposit: args.deposit,
        matchedAt: timestamp,
        submittedAt: 0,
        resultHash: null,
        resultBytes: null,
        claimed: null,
        charge: 0n,
        refund: 0n,
        slashed: 0n,
        compensation: 0n,
        reason: null,
        matchedTx: log.transactionHash,
        submittedTx: null,
        endedTx: null,
      });
      return;
    }
    case "ResultSubmitted": {
      const { request } = await openJob(state, args.jobId);
      const replica = await openReplica(state, args.jobId, args.replica);
      const { resultHash, resultBytes, charge } = args.claim;
      await release(state, replica, request);
      state.put("replicas", {
        ...replica,
        state: "submitted",
        submittedAt: timestamp,
        resultHash,
        resultBytes,
        claimed: charge,
        submittedTx: log.transactionHash,
      });
      return;
    }
    case "ReplicaSettled": {
      const { charge, refund } = args;
      const { request } = await endReplica(event, state, args, { state: "settled", charge, refund });
      await credit(state, args.operator, request.token, charge);
      await credit(state, request.payer, request.token, refund);
      return;
    }
    case "ReplicaRefunded": {
      const { refund, slashed, compensation } = args;
      const reason = args.reason === 0 ? "declined" : "timed-out";
      const { request } = await endReplica(event, state, args, {
        state: "refunded",
        refund,
        slashed,
        compensation,
        reason,
      });
      await credit(state, request.payer, request.token, refund + compensation);
      return;
    }
    case "EpochBumped": {
      const node = await nodeRow(state, args.operator, args.index);
      state.put("nodes", { ...node, epoch: args.epoch });
      return;
    }
    case "NodeLimitsSet": {
      const node = await nodeRow(state, args.operator, args.index);
      state.put("nodes", { ...node, limitsHash: args.limitsHash, limits: limitsToJson(args.limits) });
    }
  }
}

/** `amount` (token units) may be negative. */
async function credit(state: State, account: Hex, token: Hex, amount: bigint): Promise<void> {
  if (amount === 0n) return;
  const row = await state.get("balances", { account, token });
  state.put("balances", { account, token, amount: (row?.amount ?? 0n) + amount });
}

function newJob({ blockNumber, log }: JobEvent, jobId: Hex, request: Request | null): JobRow {
  return {
    jobId,
    state: "matched",
    request: request === null ? null : orderToJson(request),
    requester: request?.requester ?? null,
    payer: request?.payer ?? null,
    token: request?.token ?? null,
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

async function endReplica(
  { log }: JobEvent,
  state: State,
  { jobId, replica: number }: { jobId: Hex; replica: number },
  end: Partial<ReplicaRow>,
): Promise<{ request: Request }> {
  const { job, request } = await openJob(state, jobId);
  const replica = await openReplica(state, jobId, number);
  if (replica.state === "active") await release(state, replica, request);
  state.put("replicas", { ...replica, ...end, endedTx: log.transactionHash });
  const openReplicas = job.openReplicas - 1;
  state.put("jobs", { ...job, openReplicas, state: openReplicas === 0 ? "ended" : job.state });
  return { request };
}

/** Capacity comes back on the way out of Active, once. */
async function release(state: State, { operator, index }: ReplicaRow, request: Request): Promise<void> {
  state.put("nodes", withUse(await nodeRow(state, operator, index), request, -1));
}

async function openJob(state: State, jobId: Hex): Promise<{ job: JobRow; request: Request }> {
  const job = await state.get("jobs", { jobId });
  if (job === undefined || job.request === null) throw outOfOrder(`job ${jobId}`);
  return { job, request: requestSchema.parse(job.request) };
}

async function openReplica(state: State, jobId: Hex, replica: number): Promise<ReplicaRow> {
  const row = await state.get("replicas", { jobId, replica });
  if (row === undefined) throw outOfOrder(`replica ${replica} of job ${jobId}`);
  return row;
}

function outOfOrder(what: string): MarketError {
  return new MarketError("EVENTS_OUT_OF_ORDER", `An event names ${what}, which no earlier event opened.`, {
    hint: "Does the deployment record name the block in which the contracts were made? Correct it and start with an empty data folder.",
  });
}

function limitsToJson(limits: NodeLimits | { maxBond: bigint }): LimitsJson {
  return { ...limits, maxBond: String(limits.maxBond) } as LimitsJson;
}
