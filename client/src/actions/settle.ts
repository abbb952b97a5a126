import { type Claim, type JobId, jobMarketAbi, MarketError, ZERO_BYTES32 } from "@berth/protocol";
import { encodeFunctionData } from "viem";
import { hasOpenResult } from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";
import { type Sent, sendCall } from "../send.ts";
import { getJob, type JobReplica } from "./get-job.ts";

const NO_CLAIM: Claim = { resultHash: ZERO_BYTES32, resultBytes: 0n, charge: 0n };

/**
 * Takes the results of a job and pays for them now: one transaction for each replica that has one. Verify first; this does
 * not. Throws NOTHING_TO_APPROVE, REVERTED.
 */
export async function approve(client: Client, jobId: JobId, context: Context = {}): Promise<Sent[]> {
  const job = await getJob(client, jobId, context);
  const submitted = job.replicas.filter(({ state }) => hasOpenResult(state));
  if (submitted.length === 0) {
    throw new MarketError("NOTHING_TO_APPROVE", `The job is ${job.state}: it has no result to approve.`, {
      hint: `\`berth show ${jobId}\` says how it stands.`,
    });
  }
  const sent: Sent[] = [];
  for (const replica of submitted) sent.push(await approveReplica(client, replica, context));
  return sent;
}

/** `approve` for one replica. */
export async function approveReplica(
  client: Client,
  { replica, terms, claim }: JobReplica,
  context: Context = {},
): Promise<Sent> {
  if (claim === null) throw new MarketError("NOTHING_TO_APPROVE", `Replica ${replica} has no result to approve.`);
  const args = [terms, claim] as const;
  return await sendCall(
    client,
    call(client, "approve", encodeFunctionData({ abi: jobMarketAbi, functionName: "approve", args })),
    context,
  );
}

/**
 * Ends every replica whose time is up, as anyone may: pays a result that nobody contested or ruled on in time, gives the
 * deposit back where no result came. Throws NOTHING_TO_FINALIZE, REVERTED (WindowOpen: too early).
 */
export async function finalize(client: Client, jobId: JobId, context: Context = {}): Promise<Sent[]> {
  const job = await getJob(client, jobId, context);
  const open = job.replicas.filter(({ state }) => state === "active" || state === "disputed" || hasOpenResult(state));
  if (open.length === 0)
    throw new MarketError("NOTHING_TO_FINALIZE", `The job is ${job.state}: nothing is left to end.`);
  const sent: Sent[] = [];
  for (const { terms, claim } of open) {
    const args = [terms, claim ?? NO_CLAIM] as const;
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "finalize", args });
    sent.push(await sendCall(client, call(client, "finalize", data), context));
  }
  return sent;
}

/** Ends a request that was not matched; what it reserved returns to the payer's balance. Throws JOB_RUNS, REVERTED. */
export async function cancel(client: Client, jobId: JobId, context: Context = {}): Promise<Sent> {
  const job = await getJob(client, jobId, context);
  const { request } = job;
  if (job.replicas.length > 0 || request === null) {
    throw new MarketError("JOB_RUNS", "The job has been matched, so it can no longer be cancelled.", {
      hint: "Its deposit comes back where no result arrives in time.",
    });
  }
  const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "cancel", args: [request] });
  return await sendCall(client, call(client, "cancel", data), context);
}

function call({ deployment }: Client, what: string, data: `0x${string}`) {
  return { what, to: deployment.market, data, abi: jobMarketAbi };
}
