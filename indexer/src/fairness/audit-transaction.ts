import { connectRpc } from "@berth/chain";
import { type Address, bytes32Schema, type Hex, MarketError, parseWith } from "@berth/protocol";
import type { Logger } from "pino";
import { z } from "zod";
import { audit, type Snapshot, type Verdict } from "./audit.ts";
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

const ANSWER_MS = 30_000;

/**
 * Reads a transaction from the chain and what its matcher says that it saw, and decides again.
 * Throws RPC_UNAVAILABLE, TRANSACTION_UNKNOWN, NO_SNAPSHOT, SNAPSHOT_UNAVAILABLE, SNAPSHOT_WRONG.
 */
export async function auditTransaction({
  transaction,
  rpcUrl,
  indexerUrl,
  log,
  signal,
}: AuditOptions): Promise<Verdict> {
  const hash = parseWith(bytes32Schema, transaction, { code: "TRANSACTION_UNKNOWN", what: "The hash" });
  const rpc = await connectRpc({ urls: [rpcUrl], log, signal });
  const found = (await rpc.request("eth_getTransactionByHash", [hash], { signal })) as {
    to: Address;
    input: Hex;
  } | null;
  if (found === null) throw new MarketError("TRANSACTION_UNKNOWN", `The chain has no transaction ${hash}.`);
  const root = rootIn(found.input);
  const snapshot = root === undefined ? { roundText: "{}", leaves: [] } : await fetchSnapshot(indexerUrl, root, signal);
  return audit(found.input, { chainId: rpc.chainId, market: found.to }, snapshot);
}

async function fetchSnapshot(indexerUrl: string, root: Hex, signal: AbortSignal): Promise<Snapshot> {
  const base = `${indexerUrl.replace(/\/$/, "")}/snapshots/${root}`;
  const { round } = z.object({ round: z.string() }).parse(await fetchJson(base, signal));
  const leaves: string[] = [];
  const page = z.object({ items: z.array(z.string()), next: bytes32Schema.nullable() });
  for (let after: string | null = ""; after !== null; ) {
    const answer = page.parse(await fetchJson(`${base}/leaves${after === "" ? "" : `?after=${after}`}`, signal));
    leaves.push(...answer.items);
    after = answer.next;
  }
  return { roundText: round, leaves };
}

async function fetchJson(url: string, signal: AbortSignal): Promise<unknown> {
  const unavailable = (why: string, cause?: unknown) =>
    new MarketError("SNAPSHOT_UNAVAILABLE", `The indexer does not show what its matcher saw: ${why}`, {
      hint: "Ask the indexer whose matcher sent the transaction. A matcher that shows no snapshot of it has no proof of fairness.",
      cause,
    });
  try {
    const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]) });
    const body = (await answer.json()) as { detail?: string };
    if (!answer.ok) throw unavailable(body.detail ?? `status ${answer.status}.`);
    return body;
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof MarketError ? error : unavailable(`${url} gave no answer.`, error);
  }
}

/** One sentence per finding, or that there is none. */
export function sentencesOf({ root, jobs, findings, barred }: Verdict): string[] {
  const excused = barred.map(
    ({ jobId, offerHash }) => `Left out of job ${jobId}, because the market had refused it: offer ${offerHash}.`,
  );
  if (findings.length > 0) return [...findings.map(({ sentence }) => sentence), ...excused];
  return [`${jobs.length} job(s) of snapshot ${root}: no cheaper offer that fits was skipped.`, ...excused];
}
