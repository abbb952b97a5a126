import type { Outbox, OutboxEntry } from "@berth/chain";
import { type Claim, jobMarketAbi } from "@berth/protocol";
import { encodeFunctionData } from "viem";
import type { JobTools } from "../core/ports.ts";
import type { TransactionView } from "../core/states.ts";
import type { Logger } from "../log.ts";
import type { AttemptRow, JobRow } from "../store/journal.ts";

/** A transaction that failed is given this long, in milliseconds, for the chain to tell why, before another is made. */
const RESUBMIT_MS = 15_000;
/** What a verifier is shown with a result: the offers of this node name none. */
const NO_PROOF = "0x";

/**
 * Hands the claim to the outbox, which sends it once however often this is called; after that transaction failed, as it
 * may where a reorganisation changed what it was made for, it is another one.
 */
export async function submitResult(job: JobRow, attempt: AttemptRow, { outbox, deployment }: JobTools): Promise<void> {
  const stored = attempt.facts.claim;
  if (stored === undefined) throw new Error("an attempt without a claim cannot be submitted");
  const { resultHash, resultBytes, charge } = stored;
  const claim: Claim = { resultHash, resultBytes: BigInt(resultBytes), charge: BigInt(charge) };
  const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "submit", args: [job.terms, claim, NO_PROOF] });
  const { round, entry } = await lastRound(attempt, outbox);
  const next = viewOf(entry) === "failed" ? round + 1 : round;
  await outbox.enqueue({ key: submitKey(attempt, next), to: deployment.market, data });
}

/** Gives the replica back while its accept window is open. */
export async function declineReplica(job: JobRow, attempt: AttemptRow, tools: JobTools): Promise<void> {
  // Its own replica as the sibling: it is not one of a gang that has lost another that it wants to leave.
  const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "decline", args: [job.terms, job.replica] });
  await tools.outbox.enqueue({ key: declineKey(attempt), to: tools.deployment.market, data });
}

/** A bond hangs on results and refusals, and an operator waits for its offers to end: no budget holds these back. */
export function isUrgent(key: string): boolean {
  return ["submit:", "decline:", "epoch:"].some((kind) => key.startsWith(kind));
}

/** A log whose lines about a transaction say for which replica it is. */
export function logByKey(log: Logger): Logger {
  return log.child(
    {},
    { formatters: { log: (fields: { key?: unknown }) => ({ ...replicaOf(fields.key), ...fields }) } },
  );
}

/** The replica that the transaction with this key in the outbox is about; undefined: about none. */
export function replicaOf(key: unknown): { job: string; replica: number } | undefined {
  const [, job, replica] = /^(?:submit|decline):(0x[0-9a-f]{64}):(\d+):/.exec(String(key)) ?? [];
  return job === undefined ? undefined : { job, replica: Number(replica) };
}

/** What became of the transaction that the attempt's state is about, as far as deciding needs it. */
export async function transactionOf(
  attempt: AttemptRow,
  { outbox }: Pick<JobTools, "outbox">,
): Promise<TransactionView> {
  switch (attempt.state) {
    case "declined":
      return viewOf(await outbox.get(declineKey(attempt)));
    case "submitting":
    case "submitted": {
      const { entry } = await lastRound(attempt, outbox);
      const isFresh = entry !== undefined && Date.now() - entry.createdAtMs < RESUBMIT_MS;
      const view = viewOf(entry);
      return view === "failed" && isFresh ? "pending" : view;
    }
    default:
      return "none";
  }
}

/** The newest transaction for this attempt's claim; those before it failed. */
async function lastRound(
  attempt: AttemptRow,
  outbox: Pick<Outbox, "get">,
): Promise<{ round: number; entry: OutboxEntry | undefined }> {
  let entry = await outbox.get(submitKey(attempt, 0));
  for (let round = 0; ; round++) {
    const next = viewOf(entry) === "failed" ? await outbox.get(submitKey(attempt, round + 1)) : undefined;
    if (next === undefined) return { round, entry };
    entry = next;
  }
}

type Which = Pick<AttemptRow, "jobId" | "replica" | "attempt">;

/** Each attempt has a claim of its own, and so a transaction of its own. */
function submitKey({ jobId, replica, attempt }: Which, round: number): string {
  return `submit:${jobId}:${replica}:${attempt}:${round}`;
}

function declineKey({ jobId, replica, attempt }: Which): string {
  return `decline:${jobId}:${replica}:${attempt}`;
}

function viewOf(entry: OutboxEntry | undefined): TransactionView {
  switch (entry?.state) {
    case undefined:
      return "none";
    case "mined":
    case "final":
      return "mined";
    case "reverted":
    case "failed":
      return "failed";
    default:
      return "pending";
  }
}
