import { openRequest } from "@berth/content/http";
import { MarketError } from "@berth/protocol";

/** Longest time for one answer, and longest silence in it. */
const ANSWER_MS = 15_000;
const STALL_MS = 5_000;

export interface AskOptions {
  /** Connect to addresses of the open internet only, whatever the name resolves to. */
  publicOnly: boolean;
  maxBytes: number;
  signal: AbortSignal;
}

/**
 * What a stranger's server answers, as JSON. Redirects are not followed, and what is too long or too slow is hung up on.
 * Throws PEER_ANSWER_BAD, PEER_ANSWER_TOO_LARGE, PEER_TOO_SLOW and what `openRequest` does (SOURCE_…).
 */
export async function askPeer(url: string, { publicOnly, maxBytes, signal }: AskOptions): Promise<unknown> {
  const clock = AbortSignal.timeout(ANSWER_MS);
  try {
    await using answer = await openRequest(new URL(url), {
      accept: "application/json",
      signal: AbortSignal.any([signal, clock]),
      stallMs: STALL_MS,
      publicOnly,
    });
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of answer.body) {
      size += chunk.length;
      if (size > maxBytes) {
        throw new MarketError("PEER_ANSWER_TOO_LARGE", `It sent more than ${maxBytes} bytes.`);
      }
      chunks.push(chunk);
    }
    return JSON.parse(Buffer.concat(chunks).toString("utf8"));
  } catch (error) {
    if (error instanceof SyntaxError) throw new MarketError("PEER_ANSWER_BAD", "It answered something else than JSON.");
    if (clock.aborted && !signal.aborted) {
      throw new MarketError("PEER_TOO_SLOW", `It did not answer in ${ANSWER_MS / 1000} s.`, { retryable: true });
    }
    throw error;
  }
}
