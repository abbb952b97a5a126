import { type LookupAddress, lookup } from "node:dns";
import { once } from "node:events";
import { Agent as HttpAgent, type IncomingMessage, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { MarketError } from "@berth/protocol";
import { isPublicAddress } from "./public-address.ts";

export interface OpenRequest extends AsyncDisposable {
  body: AsyncIterable<Uint8Array>;
}

/** Whatever the server said, redirects and refusals included. */
export interface OpenAnswer extends OpenRequest {
  status: number;
  statusText: string;
  headers: Readonly<Record<string, string | undefined>>;
}

export interface RequestOptions {
  accept: string;
  /** Sent to this one address and no other. */
  authorization?: string | undefined;
  signal: AbortSignal | undefined;
  /** Longest silence, before the answer and between any two pieces of it, in milliseconds. */
  stallMs: number;
  /** Connect to addresses of the open internet only, whatever the name resolves to. */
  publicOnly: boolean;
}

/** As `openAnswer`, but only a 200 is one: everything else is thrown as SOURCE_ANSWERED. */
export async function openRequest(url: URL, options: RequestOptions): Promise<OpenRequest> {
  const answer = await openAnswer(url, options);
  if (answer.status === 200) return answer;
  await answer[Symbol.asyncDispose]();
  throw answered(answer);
}

/** Why an answer is of no use, as SOURCE_ANSWERED. */
export function answered({ status, statusText }: OpenAnswer): MarketError {
  const retryable = status === 429 || (status >= 500 && status !== 501);
  return new MarketError("SOURCE_ANSWERED", `It answered ${status} ${statusText}.`.replace(" .", "."), { retryable });
}

/**
 * Sends a GET and returns its body as a stream that ends by itself when the server falls silent. Dispose it to hang up.
 * Redirects are not followed: whoever was asked could send us anywhere.
 * Throws SOURCE_STALLED, SOURCE_UNREACHABLE, SOURCE_REFUSED (an address that is not public), and from the body
 * SOURCE_BROKE_OFF.
 */
export async function openAnswer(url: URL, options: RequestOptions): Promise<OpenAnswer> {
  const { signal, stallMs } = options;
  const hangUp = new AbortController();
  const stall = new MarketError("SOURCE_STALLED", `It sent nothing for ${stallMs / 1000} s.`, { retryable: true });
  const clock = { waiting: true };
  const timer = setTimeout(() => clock.waiting && hangUp.abort(stall), stallMs);
  const onAbort = () => hangUp.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort, { once: true });
  let answer: IncomingMessage | undefined;
  const dispose = () => {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    // What was read to its end has given its connection back already: another request may be on it.
    if (answer?.complete !== true) hangUp.abort();
  };
  try {
    signal?.throwIfAborted();
    const response = await get(url, options, hangUp.signal);
    answer = response;
    return {
      status: response.statusCode ?? 0,
      statusText: response.statusMessage ?? "",
      headers: plainHeaders(response),
      body: watch(response, hangUp.signal, timer, clock),
      [Symbol.asyncDispose]: async () => dispose(),
    };
  } catch (error) {
    const reason: unknown = hangUp.signal.aborted ? hangUp.signal.reason : asSourceError(error);
    dispose();
    throw reason;
  }
}

async function get(url: URL, options: RequestOptions, signal: AbortSignal): Promise<IncomingMessage> {
  const { accept, authorization, publicOnly } = options;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (publicOnly && isIP(host) !== 0 && !isPublicAddress(host)) throw notPublic();
  const isTls = url.protocol === "https:";
  const request = (isTls ? requestHttps : requestHttp)(url, {
    headers: {
      Accept: accept,
      "Accept-Encoding": "identity",
      ...(authorization !== undefined && { Authorization: authorization }),
    },
    ...(publicOnly && { agent: isTls ? publicAgents.https : publicAgents.http }),
  });
  request.on("error", () => undefined); // after the answer, the body tells
  const onHangUp = () => request.destroy(signal.reason instanceof Error ? signal.reason : undefined);
  signal.addEventListener("abort", onHangUp, { once: true });
  request.end();
  try {
    const [response] = (await once(request, "response")) as [IncomingMessage];
    response.on("error", () => undefined); // who reads the body hears of it; who hung up does not care
    response.once("end", () => signal.removeEventListener("abort", onHangUp));
    return response;
  } catch (error) {
    // The server closed the idle connection just as we took it up again.
    if (request.reusedSocket && isErrno(error) && error.code === "ECONNRESET") return await get(url, options, signal);
    throw error;
  }
}

function plainHeaders({ headers }: IncomingMessage): OpenAnswer["headers"] {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : value]),
  );
}

/** Looks a name up for the connection itself, so that it cannot be another address by the time we connect. */
const lookupPublic: LookupFunction = (hostname, options, done) => {
  lookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
    const [first] = found ?? [];
    if (error !== null) done(error, "");
    else if (first === undefined || found.some(({ address }) => !isPublicAddress(address))) done(notPublic(), "");
    else if (options.all) done(null, found);
    else done(null, first.address, first.family);
  });
};

/** Connections of their own: one made without the check must not be taken up again. */
const publicAgents = {
  http: new HttpAgent({ keepAlive: true, lookup: lookupPublic }),
  https: new HttpsAgent({ keepAlive: true, lookup: lookupPublic }),
};

function notPublic(): MarketError {
  return new MarketError("SOURCE_REFUSED", "Its address is not one of the open internet.");
}

/** Only the server's silence counts: while we write to disk the clock does not run. */
async function* watch(
  body: IncomingMessage,
  signal: AbortSignal,
  timer: NodeJS.Timeout,
  clock: { waiting: boolean },
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of body) {
      clock.waiting = false;
      yield chunk as Uint8Array;
      clock.waiting = true;
      timer.refresh();
    }
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    if (error instanceof MarketError || !isErrno(error)) throw error;
    throw new MarketError("SOURCE_BROKE_OFF", "The connection broke in the middle.", { retryable: true, cause: error });
  }
}

function asSourceError(error: unknown): unknown {
  if (error instanceof MarketError || !(error instanceof Error)) return error;
  const message = `The connection failed (${error.message || (isErrno(error) ? error.code : "no reason given")}).`;
  return new MarketError("SOURCE_UNREACHABLE", message, { retryable: true, cause: error });
}

function isErrno(error: unknown): error is NodeJS.ErrnoException & { code: string } {
  return error instanceof Error && "code" in error && typeof error.code === "string";
}
