import { readText } from "@berth/content";
import {
  type Address,
  encodeLogAccess,
  type JobId,
  type LogsEnd,
  logAccessTypedData,
  logsEndSchema,
  MarketError,
  type SignedLogAccess,
} from "@berth/protocol";
import { z } from "zod";
import { orderNow } from "../chain-reads.ts";
import { type Client, type Context, walletOf } from "../client.ts";
import { printable } from "../format.ts";
import { readEvents } from "../sse.ts";
import { pause } from "../wait.ts";
import { MAX_LOG_BYTES } from "./fetch-result.ts";

/** The replica, and the node that has it. */
export interface LogPlace {
  jobId: JobId;
  replica: number;
  operator: Address;
  index: number;
  contentUrl: string;
}

export interface FollowOptions {
  stream: "stdout" | "stderr";
  /** Wait for what is still to come, until the attempt ends. */
  follow: boolean;
  onBytes(bytes: Uint8Array): void;
  /** The node begins the run again, as the spec allows: what follows is from its beginning. */
  onAgain?: ((attempt: number) => void) | undefined;
}

/** Seconds for which one signature opens streams; the node allows ten minutes. */
const ACCESS_SECONDS = 300;
/** How long a node may be silent before it is asked anew; it sends a sign of life every 15 s. */
const SILENCE_MS = 45_000;
/** How long a node may fail before the stream is given up. */
const PATIENCE_MS = 60_000;
const MAX_PROBLEM_BYTES = 16 * 1024;
const [FIRST_PAUSE_MS, LONGEST_PAUSE_MS] = [250, 5000];

const count = z.int().min(0);
const logSchema = z.object({ attempt: count, from: count, bytes: z.base64() });
const endSchema = logsEndSchema.transform((end): LogsEnd => {
  return { ...end, phase: printable(end.phase), message: printable(end.message) };
});
const problemSchema = z.object({ code: z.string(), detail: z.string(), hint: z.string().nullish() });

/**
 * What a replica writes, from its node, while it runs: signed for with the client's wallet, and taken up again where a
 * connection broke. It is the node's word; the log in the result is the one that is verified.
 * Throws WALLET_MISSING, LOGS_REFUSED, LOGS_UNAVAILABLE, LOGS_INVALID.
 */
export async function followLogs(
  client: Client,
  place: LogPlace,
  options: FollowOptions,
  context: Context = {},
): Promise<LogsEnd> {
  const { signal } = context;
  const at: Position = { attempt: null, bytes: 0 };
  let access: SignedLogAccess | undefined;
  let failures = 0;
  let failingSince: number | undefined;
  for (;;) {
    try {
      const now = await orderNow(client);
      if (access === undefined || access.expiresAt < now + 10) access = await signAccess(client, place, now);
      const before = at.bytes;
      const end = await readOnce(place, access, at, options, signal);
      if (end !== undefined) return end;
      if (at.bytes > before) failures = 0;
      throw unavailable("The node ended the stream before the log ended.");
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof MarketError) || !error.retryable) throw error;
      if (error.code === "LOGS_SIGN_ANEW") access = undefined;
      failingSince = failures === 0 ? performance.now() : (failingSince ?? performance.now());
      failures += 1;
      if (performance.now() - failingSince > PATIENCE_MS) throw error;
      await pause(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures), signal);
    }
  }
}

interface Position {
  attempt: number | null;
  bytes: number;
}

async function signAccess(client: Client, place: LogPlace, now: number): Promise<SignedLogAccess> {
  const wallet = walletOf(client);
  const { jobId, replica, operator, index } = place;
  const access = { jobId, replica, operator, index, expiresAt: now + ACCESS_SECONDS };
  const signature = await wallet.signTypedData(logAccessTypedData(client.domain, access));
  return { account: wallet.address, ...access, signature };
}

/** One connection. Undefined when it ended before the log did. `at` is moved on. */
async function readOnce(
  { contentUrl, jobId, replica }: LogPlace,
  access: SignedLogAccess,
  at: Position,
  options: FollowOptions,
  signal: AbortSignal | undefined,
): Promise<LogsEnd | undefined> {
  const { stream, follow } = options;
  if (!URL.canParse(contentUrl)) throw new MarketError("LOGS_UNAVAILABLE", "The node has published no address.");
  const url = new URL(`jobs/${jobId}/${replica}/logs`, contentUrl.endsWith("/") ? contentUrl : `${contentUrl}/`);
  url.search = String(new URLSearchParams({ stream, follow: follow ? "1" : "0" }));
  const silence = new AbortController();
  const alive = setTimeout(() => silence.abort(), SILENCE_MS);
  const own = signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]);
  try {
    const headers: Record<string, string> = { authorization: encodeLogAccess(access) };
    if (at.attempt !== null) headers["last-event-id"] = `${at.attempt}-${at.bytes}`;
    // A redirect would show the signature to somebody else.
    const response = await fetch(url, { headers, signal: own, redirect: "error" });
    if (!response.ok || response.body === null) throw await refusal(response);
    for await (const { event, data } of readEvents(response.body, () => alive.refresh())) {
      if (event === "log") take(parse(logSchema, data), at, options);
      else if (event === "end") return parse(endSchema, data);
      else if (event === "error") throw unavailable("The node could not go on reading the log.");
    }
    return undefined;
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof MarketError) throw cause;
    throw unavailable(`The node at ${url.host} does not answer.`, cause);
  } finally {
    clearTimeout(alive);
    silence.abort();
  }
}

function take({ attempt, from, bytes }: z.infer<typeof logSchema>, at: Position, options: FollowOptions): void {
  if (at.attempt !== attempt) {
    if (at.attempt !== null) options.onAgain?.(attempt);
    [at.attempt, at.bytes] = [attempt, 0];
  }
  if (from !== at.bytes) throw invalid("it skipped a part");
  const piece = Buffer.from(bytes, "base64");
  at.bytes += piece.length;
  if (at.bytes > MAX_LOG_BYTES) throw invalid("it is longer than any sandbox keeps");
  options.onBytes(piece);
}

async function refusal(response: Response): Promise<MarketError> {
  const problem = problemSchema.safeParse(await problemIn(response));
  const { code, detail, hint } = problem.success
    ? problem.data
    : { code: "", detail: `HTTP ${response.status}`, hint: "" };
  if (code === "LOG_ACCESS_EXPIRED") return new MarketError("LOGS_SIGN_ANEW", detail, { retryable: true });
  return new MarketError("LOGS_REFUSED", `The node refused: ${printable(detail)}`, {
    ...(hint ? { hint: printable(hint) } : {}),
    // A node hears of its match some blocks after everybody else.
    retryable: response.status >= 500 || response.status === 429 || code === "JOB_UNKNOWN",
  });
}

async function problemIn(response: Response): Promise<unknown> {
  try {
    return JSON.parse(await readText(response, MAX_PROBLEM_BYTES));
  } catch {
    return undefined;
  }
}

function parse<T>(schema: z.ZodType<T, unknown>, data: string): T {
  try {
    return schema.parse(JSON.parse(data));
  } catch {
    throw invalid("an event makes no sense");
  }
}

function unavailable(message: string, cause?: unknown): MarketError {
  return new MarketError("LOGS_UNAVAILABLE", message, {
    hint: "The job goes on; its whole log is in its result.",
    retryable: true,
    cause,
  });
}

function invalid(why: string): MarketError {
  return new MarketError("LOGS_INVALID", `The node sent a log that cannot be right: ${why}.`);
}
