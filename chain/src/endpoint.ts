import { HttpRequestError, ResponseBodyTooLargeError, RpcRequestError, TimeoutError } from "viem";

export interface RpcCall {
  method: string;
  params?: readonly unknown[];
}
/** What one call of a batch came to. A `null` result is an answer too: the caller decides what it means. */
export type RpcOutcome = { result: unknown } | { error: RpcRequestError };

export interface PostOptions {
  signal?: AbortSignal | undefined;
  timeoutMs: number;
  maxResponseBytes: number;
}

interface RpcReply {
  id?: unknown;
  result?: unknown;
  error?: { code: number; message: string; data?: unknown };
}

/**
 * Sends `calls` in one HTTP request and returns an outcome for each, in the order of `calls`. The time limit covers the
 * body too. Throws viem's HttpRequestError, TimeoutError or ResponseBodyTooLargeError, which name the host but never the
 * path or credentials of the URL; throws the signal's reason when aborted.
 */
export async function postJsonRpc(
  url: string,
  calls: readonly RpcCall[],
  { signal, timeoutMs, maxResponseBytes }: PostOptions,
): Promise<RpcOutcome[]> {
  const target = new URL(url);
  const host = target.host;
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (target.username !== "") {
    headers["authorization"] =
      `Basic ${btoa(`${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`)}`;
    target.username = "";
    target.password = "";
  }
  const bodies = calls.map(({ method, params = [] }, id) => ({ jsonrpc: "2.0", id, method, params }));
  const body = bodies.length === 1 ? { ...bodies[0] } : bodies;
  const timeout = AbortSignal.timeout(timeoutMs);
  const parsed = await (async () => {
    const response = await fetchOverLiveSocket(target, {
      method: "POST",
      headers,
      body: JSON.stringify(body),
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
    });
    const text = await readBody(response, maxResponseBytes);
    const reply = parseJson(text);
    if (reply === undefined || (!response.ok && !isReply(reply))) {
      const details = `HTTP ${response.status} with ${text.length} characters that are no JSON-RPC answer`;
      throw new HttpRequestError({ url: host, status: response.status, details });
    }
    return reply;
  })().catch((error: unknown) => {
    signal?.throwIfAborted();
    if (timeout.aborted) throw new TimeoutError({ body: {}, url: host });
    if (error instanceof HttpRequestError || error instanceof ResponseBodyTooLargeError) throw error;
    throw new HttpRequestError({ url: host, details: networkReason(error), cause: error as Error });
  });

  const replies = (Array.isArray(parsed) ? parsed : [parsed]) as (RpcReply | null)[];
  const byId = new Map(replies.map((reply) => [reply?.id, reply]));
  const whole = Array.isArray(parsed) || bodies.length === 1 ? undefined : (parsed as RpcReply).error;
  return bodies.map((sent): RpcOutcome => {
    const reply = bodies.length === 1 ? replies[0] : byId.get(sent.id);
    const error = whole ?? reply?.error;
    if (error) return { error: new RpcRequestError({ body: { method: sent.method }, error, url: host }) };
    if (reply === null || reply === undefined || !("result" in reply)) {
      throw new HttpRequestError({ url: host, details: `no answer to ${sent.method} in the response` });
    }
    return { result: reply.result };
  });
}

/**
 * `fetch`, once more when the socket turned out to be dead: a server closes a kept-alive connection whenever it likes, and
 * a request on its way then is lost unanswered. Every JSON-RPC call here may be sent twice; a raw transaction has one hash.
 */
async function fetchOverLiveSocket(target: URL, init: RequestInit): Promise<Response> {
  try {
    return await fetch(target, init);
  } catch (error) {
    const code = ((error as Error).cause as { code?: string } | undefined)?.code;
    if (code !== "UND_ERR_SOCKET" && code !== "ECONNRESET" && code !== "EPIPE") throw error;
    return await fetch(target, init);
  }
}

async function readBody(response: Response, maxBytes: number): Promise<string> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new ResponseBodyTooLargeError({ maxSize: maxBytes, size });
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function parseJson(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
}

function isReply(value: unknown): boolean {
  return Array.isArray(value) || typeof (value as RpcReply).error?.message === "string";
}

function networkReason(error: unknown): string {
  const cause = (error as { cause?: { code?: string; message?: string } } | null)?.cause;
  return cause?.code ?? cause?.message ?? (error instanceof Error ? error.message : String(error));
}
