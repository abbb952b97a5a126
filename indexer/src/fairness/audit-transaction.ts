import { connectRpc } from "@berth/chain";
import { type Address, bytes32Schema, type Hex, MarketError, parseWith, ZERO_ADDRESS } from "@berth/protocol";
import type { Logger } from "pino";
import { audit, type SentCall, type Verdict } from "./audit.ts";
import { fetchSnapshot } from "./fetch-snapshot.ts";
import { rootIn } from "./published.ts";

export interface AuditOptions {
  /** The transaction of a matcher. */
  transaction: string;
  rpcUrl: string;
  /** URL of the indexer whose matcher sent it. */
  indexerUrl: string;
  log: Logger;
  signal: AbortSignal;
}

/** The verdict with what the chain says of the time. */
export interface Audited extends Verdict {
  /** Unix seconds of the transaction's block; null while it is in none. */
  minedAt: number | null;
}

/**
 * Reads a transaction from the chain and what its matcher says that it saw, and decides again.
 * Throws RPC_UNAVAILABLE, TRANSACTION_UNKNOWN, SNAPSHOT_UNAVAILABLE and what `audit` does.
 */
export async function auditTransaction({
  transaction,
  rpcUrl,
  indexerUrl,
  log,
  signal,
}: AuditOptions): Promise<Audited> {
  const hash = parseWith(bytes32Schema, transaction, { code: "TRANSACTION_UNKNOWN", what: "The hash" });
  const rpc = await connectRpc({ urls: [rpcUrl], log, signal });
  const found = (await rpc.request("eth_getTransactionByHash", [hash], { signal })) as
    | (SentCall & { to: Address | null; blockHash: Hex | null })
    | null;
  if (found === null) throw new MarketError("TRANSACTION_UNKNOWN", `The chain has no transaction ${hash}.`);
  const root = rootIn(found.input);
  const snapshot = root === undefined ? { roundText: "{}", leaves: [] } : await fetchSnapshot(indexerUrl, root, signal);
  const verdict = audit(found, { chainId: rpc.chainId, market: found.to ?? ZERO_ADDRESS }, snapshot);
  const block =
    found.blockHash === null ? null : await rpc.request("eth_getBlockByHash", [found.blockHash, false], { signal });
  const timestamp = (block as { timestamp: Hex } | null)?.timestamp;
  return { ...verdict, minedAt: timestamp === undefined ? null : Number(timestamp) };
}

/** What was found, and then what the matcher's word has to be taken for. */
export function sentencesOf({ root, jobs, findings, barred, others, holds, decidedFor, minedAt }: Audited): string[] {
  const fair = `${jobs.length} job(s) of snapshot ${root}: no cheaper offer that fits was skipped.`;
  const mined = minedAt === null ? "it is in no block yet" : `its block is of ${minedAt}`;
  return [
    ...(findings.length > 0 ? findings.map(({ sentence }) => sentence) : [fair]),
    `Decided for the time ${decidedFor} (unix seconds); ${mined}.`,
    ...barred.map(
      ({ jobId, offerHash }) => `Left out of job ${jobId}, because the market had refused it: offer ${offerHash}.`,
    ),
    ...others.map(({ jobId, offers }) => `Of the same round, and not in this transaction: ${takes(jobId, offers)}.`),
    ...holds.map(({ jobId, nodes }) => {
      const taken = nodes.map(({ operator, index }) => `node ${index} of ${operator}`);
      return `Under way when it was decided: ${takes(jobId, taken)}.`;
    }),
  ];
}

function takes(jobId: Hex, taken: readonly string[]): string {
  return `job ${jobId}, which takes ${taken.length === 0 ? "nothing" : taken.join(", ")}`;
}
