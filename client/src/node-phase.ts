import { readText } from "@berth/content";
import type { JobId } from "@berth/protocol";
import { z } from "zod";
import { printable } from "./format.ts";

const phaseSchema = z.object({ phase: z.string().max(40), message: z.string().nullish() });
const ANSWER_MS = 2000;
const MAX_BYTES = 16 * 1024;

/** What a node says of a replica it works on. Undefined when it does not answer: this decides nothing. */
export async function nodePhase(
  contentUrl: string,
  jobId: JobId,
  replica: number,
  signal: AbortSignal | undefined,
): Promise<{ phase: string; message: string | undefined } | undefined> {
  if (!URL.canParse(contentUrl)) return undefined;
  const timeout = AbortSignal.timeout(ANSWER_MS);
  try {
    const url = new URL(`jobs/${jobId}/${replica}`, contentUrl.endsWith("/") ? contentUrl : `${contentUrl}/`);
    const response = await fetch(url, { signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]) });
    const text = await readText(response, MAX_BYTES);
    if (!response.ok) return undefined;
    const { phase, message } = phaseSchema.parse(JSON.parse(text));
    return { phase: printable(phase), message: message ? printable(message).slice(0, 300) : undefined };
  } catch {
    signal?.throwIfAborted();
    return undefined;
  }
}
