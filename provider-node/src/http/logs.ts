import { once } from "node:events";
import { type Address, bytes32Schema, errorToJson, type JobId, MarketError } from "@berth/protocol";
import { type Request, type Response, Router } from "express";
import type { Logger } from "pino";
import { z } from "zod";
import type { Journal } from "../store/journal.ts";
import { feedLog, type LogEvent, type LogTools } from "./log-feed.ts";
import type { LogGate } from "./log-gate.ts";
import { problem } from "./problem.ts";

export interface LogsOptions {
  journal: Journal;
  gate: LogGate;
  tools: LogTools;
  log: Logger;
}

/** Streams that one account may have open, and all together. */
const [MAX_PER_ACCOUNT, MAX_STREAMS] = [8, 64];
/** Nothing to say for this long is said, so that nobody on the way takes the connection for dead. */
const HEARTBEAT_MS = 15_000;
/** A reader that takes nothing for this long is cut off. */
const STALL_MS = 60_000;

const querySchema = z.strictObject({
  stream: z.enum(["stdout", "stderr"]).default("stdout"),
  from: z
    .string()
    .regex(/^\d{1,12}$/)
    .default("0")
    .transform(Number),
  follow: z.enum(["0", "1"]).default("0"),
});

const statuses: Record<string, number> = {
  QUERY_INVALID: 400,
  LOG_ACCESS_INVALID: 401,
  LOG_ACCESS_EXPIRED: 401,
  LOG_ACCESS_TOO_LONG: 401,
  LOG_ACCESS_UNSIGNED: 401,
  LOG_ACCESS_ELSEWHERE: 403,
  LOG_ACCESS_DENIED: 403,
  JOB_UNKNOWN: 404,
  LOG_GONE: 410,
  LOG_STREAMS_BUSY: 429,
};

/**
 * `GET /jobs/:jobId/:replica/logs?stream=stdout|stderr&from=BYTE&follow=1` for who ordered or pays: server-sent events `log`
 * (bytes as base64, with their place) and, last, `end`. Each event's id says where to go on, as `Last-Event-ID`.
 */
export function createLogs(options: LogsOptions): Router {
  const streams = new Map<Address, number>();
  const router = Router();
  const path = "/jobs/:jobId/:replica/logs";
  router.options(path, (_request, response) => void cors(response).status(204).end());
  router.get(path, async (request, response) => {
    cors(response);
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    try {
      await answer(request, response, streams, options, gone.signal);
    } catch (error) {
      if (gone.signal.aborted) return;
      refuse(request, response, error, options.log);
    }
  });
  return router;
}

async function answer(
  request: Request,
  response: Response,
  streams: Map<Address, number>,
  { journal, gate, tools, log }: LogsOptions,
  signal: AbortSignal,
): Promise<void> {
  const { jobId, replica } = placeOf(request);
  const query = querySchema.safeParse(request.query);
  if (!query.success) {
    throw new MarketError("QUERY_INVALID", "The query is not one for logs.", {
      hint: "Like ?stream=stdout&from=0&follow=1.",
    });
  }
  const job = journal.job(jobId, replica);
  if (job === undefined) throw new MarketError("JOB_UNKNOWN", "This node has no such replica.");
  const account = await gate.admit(request.get("Authorization"), job, signal);
  const { stream, follow, from } = query.data;
  const place = lastEventOf(request) ?? { attempt: null, from };
  using _taken = take(streams, account);
  const own = log.child({ job: jobId, replica, account, stream });
  own.info({ ...place, follow: follow === "1" }, "log stream opened");
  const asked = { jobId, replica, stream, ...place, follow: follow === "1" };
  try {
    await send(response, feedLog(tools, asked, signal), signal);
  } finally {
    own.info({}, "log stream closed");
  }
}

/** Writes the events as fast as the reader takes them. */
async function send(response: Response, events: AsyncGenerator<LogEvent>, signal: AbortSignal): Promise<void> {
  const write = async (text: string) => {
    if (response.write(text)) return;
    const stalled = AbortSignal.timeout(STALL_MS);
    await once(response, "drain", { signal: AbortSignal.any([signal, stalled]) }).catch((error: unknown) => {
      if (stalled.aborted) response.destroy();
      throw error;
    });
  };
  let heartbeat: NodeJS.Timeout | undefined;
  try {
    let next = events.next();
    // A log that cannot be had at all is a refusal, so nothing is sent before the first event or the first wait.
    const first = await Promise.race([next, pause(HEARTBEAT_MS / 10, signal)]);
    response.status(200).set({
      "Content-Type": "text/event-stream; charset=utf-8",
      "Cache-Control": "no-store",
      "X-Accel-Buffering": "no",
    });
    response.flushHeaders();
    heartbeat = setInterval(() => response.writableNeedDrain || response.write(": still here\n\n"), HEARTBEAT_MS);
    for (let result = first ?? (await next); result.done !== true; result = await next) {
      await write(textOf(result.value));
      next = events.next();
    }
    response.end();
  } finally {
    clearInterval(heartbeat);
    await events.return(undefined);
  }
}

function textOf(event: LogEvent): string {
  if (event.type === "end") {
    const { type: _, ...data } = event;
    return `event: end\ndata: ${JSON.stringify(data)}\n\n`;
  }
  const { attempt, from, bytes } = event;
  const data = JSON.stringify({ attempt, from, bytes: Buffer.from(bytes).toString("base64") });
  return `event: log\nid: ${attempt}-${from + bytes.length}\ndata: ${data}\n\n`;
}

function refuse(request: Request, response: Response, error: unknown, log: Logger): void {
  const { jobId, replica } = request.params;
  if (!(error instanceof MarketError)) log.error({ job: jobId, replica, err: error }, "log request failed");
  const known = error instanceof MarketError ? error : new MarketError("INTERNAL", "The log could not be read.");
  if (response.headersSent) {
    response.end(`event: error\ndata: ${JSON.stringify(errorToJson(known))}\n\n`);
    return;
  }
  const status = statuses[known.code] ?? (known.retryable ? 503 : 500);
  if (status === 401) response.set("WWW-Authenticate", "Berth");
  if (status === 429) response.set("Retry-After", "5");
  problem(response, status, known);
}

function placeOf({ params }: Request): { jobId: JobId; replica: number } {
  const jobId = bytes32Schema.safeParse(params["jobId"]);
  if (jobId.success && /^\d{1,5}$/.test(String(params["replica"])))
    return { jobId: jobId.data as JobId, replica: Number(params["replica"]) };
  throw new MarketError("JOB_UNKNOWN", "This node has no such replica.");
}

/** `<attempt>-<byte>`: where a reader that was cut off goes on. */
function lastEventOf(request: Request): { attempt: number; from: number } | undefined {
  const [, attempt, from] = /^(\d{1,6})-(\d{1,12})$/.exec(request.get("Last-Event-ID") ?? "") ?? [];
  return attempt === undefined ? undefined : { attempt: Number(attempt), from: Number(from) };
}

function take(streams: Map<Address, number>, account: Address): Disposable {
  const own = streams.get(account) ?? 0;
  const all = [...streams.values()].reduce((sum, count) => sum + count, 0);
  if (own >= MAX_PER_ACCOUNT || all >= MAX_STREAMS) {
    const whose = own >= MAX_PER_ACCOUNT ? "You read" : "This node sends";
    throw new MarketError("LOG_STREAMS_BUSY", `${whose} as many logs already as may be read at once.`, {
      hint: "Close one, or ask again in a moment.",
      retryable: true,
    });
  }
  streams.set(account, own + 1);
  return {
    [Symbol.dispose]() {
      const left = (streams.get(account) ?? 1) - 1;
      if (left > 0) streams.set(account, left);
      else streams.delete(account);
    },
  };
}

/** A page in a browser may read with a signature as anyone may: there are no cookies here. */
function cors(response: Response): Response {
  return response.set({
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Authorization, Last-Event-ID",
  });
}

async function pause(ms: number, signal: AbortSignal): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  signal.addEventListener("abort", () => resolve(undefined), { once: true });
  return await promise.finally(() => clearTimeout(timer));
}
