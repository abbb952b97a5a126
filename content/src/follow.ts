import { MarketError } from "@berth/protocol";
import { answered, type OpenAnswer, type OpenRequest, openAnswer } from "./http.ts";

export interface FollowOptions {
  /** Connect to addresses of the open internet only, also after a redirect. */
  publicOnly: boolean;
  /** A place that sends nothing for this long is left. Default 30 s. */
  stallMs?: number | undefined;
}

interface Asked {
  accept: string;
  authorization?: string | undefined;
  signal: AbortSignal;
}

const STALL_MS = 30_000;
const MAX_REDIRECTS = 5;

/** GETs `url`, and whatever it redirects to. What authorizes us stays with the origin that it was given for. */
export async function follow(
  url: URL,
  asked: Asked,
  { publicOnly, stallMs = STALL_MS }: FollowOptions,
): Promise<OpenAnswer & { origin: string }> {
  let at = url;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const authorization = at.origin === url.origin ? asked.authorization : undefined;
    const answer = await openAnswer(at, { ...asked, authorization, publicOnly, stallMs });
    const { location } = answer.headers;
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === undefined)
      return { ...answer, origin: at.origin };
    await answer[Symbol.asyncDispose]();
    at = nextOf(location, at);
  }
  throw new MarketError("SOURCE_REFUSED", `It redirects more than ${MAX_REDIRECTS} times.`);
}

/** Where a server sends us, which is never from TLS to less. Throws SOURCE_REFUSED. */
export function nextOf(location: string, from: URL): URL {
  const next = URL.parse(location, from);
  const isWeb = next !== null && /^https?:$/.test(next.protocol) && next.username === "" && next.password === "";
  if (isWeb && (next.protocol === "https:" || from.protocol === "http:")) return next;
  throw new MarketError("SOURCE_REFUSED", "It redirects to where no image is fetched from.");
}

/** The answer, when it is a 200. Throws SOURCE_ANSWERED. */
export async function accepted<T extends OpenAnswer>(answer: T): Promise<T> {
  if (answer.status === 200) return answer;
  await answer[Symbol.asyncDispose]();
  throw answered(answer);
}

/** All of a body, which must not be larger than `maxBytes`. Throws SOURCE_ANSWERED. */
export async function readBody({ body }: Pick<OpenRequest, "body">, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new MarketError("SOURCE_ANSWERED", `It sent more than ${maxBytes} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
