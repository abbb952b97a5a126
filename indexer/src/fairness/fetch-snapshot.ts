import { bytes32Schema, type Hex, MarketError } from "@berth/protocol";
import { z } from "zod";
import type { Snapshot } from "./read-snapshot.ts";
import { MOST_OFFERS } from "./snapshot.ts";

/** For one answer. A round may leave out every offer for each of its orders. */
const ANSWER_MS = 30_000;
const ANSWER_BYTES = 64 * 1024 * 1024;

const roundAnswer = z.object({ round: z.string() });
const page = z.object({ items: z.array(z.string()), next: bytes32Schema.nullable() });

/**
 * What an indexer shows under `root`; whether it is that, is for `audit` to see. Throws SNAPSHOT_UNAVAILABLE, also when
 * it shows more offers than snapshots have, or the same ones without end.
 */
export async function fetchSnapshot(indexerUrl: string, root: Hex, signal: AbortSignal): Promise<Snapshot> {
  const base = `${indexerUrl.replace(/\/$/, "")}/snapshots/${root}`;
  const { round } = roundAnswer.parse(await fetchJson(base, signal));
  const leaves: string[] = [];
  for (let after: Hex | null = null; ; ) {
    const { items, next } = page.parse(
      await fetchJson(`${base}/leaves${after === null ? "" : `?after=${after}`}`, signal),
    );
    leaves.push(...items);
    if (leaves.length > MOST_OFFERS) throw unavailable(`it has more than ${MOST_OFFERS} offers.`);
    if (next === null || items.length === 0) return { roundText: round, leaves };
    if (after !== null && next <= after) throw unavailable("its pages do not go on.");
    after = next;
  }
}

async function fetchJson(url: string, signal: AbortSignal): Promise<unknown> {
  try {
    const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]) });
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of answer.body ?? []) {
      size += chunk.length;
      if (size > ANSWER_BYTES) throw unavailable(`${url} sends more than ${ANSWER_BYTES} bytes.`);
      chunks.push(chunk);
    }
    const body = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { detail?: string };
    if (!answer.ok) throw unavailable(body.detail ?? `status ${answer.status}.`);
    return body;
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof MarketError ? error : unavailable(`${url} gave no answer.`, error);
  }
}

function unavailable(why: string, cause?: unknown): MarketError {
  return new MarketError("SNAPSHOT_UNAVAILABLE", `The indexer does not show what its matcher saw: ${why}`, {
    hint: "Ask the indexer whose matcher sent the transaction. A matcher that shows no snapshot of it has no proof of fairness.",
    cause,
  });
}
