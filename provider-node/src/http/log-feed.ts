import { setTimeout as pause } from "node:timers/promises";
import type { ContentStore } from "@berth/content";
import { type JobId, type LogsEnd, MarketError } from "@berth/protocol";
import { type AttemptState, publicPhase } from "../core/states.ts";
import type { Engine, LiveLog, LogStream } from "../engine/types.ts";
import type { AttemptRow, Journal } from "../store/journal.ts";

/** Where logs are read: in the engine while a command runs, in the content store after it unless they are encrypted there. */
export interface LogTools {
  journal: Pick<Journal, "attempt">;
  content: Pick<ContentStore, "getBytes">;
  engine(): Engine | undefined;
  nameOf(attempt: AttemptRow): string;
}

export interface LogRequest {
  jobId: JobId;
  replica: number;
  stream: LogStream;
  /** Byte to begin at, and of which attempt; another one is read from its beginning. Null: whichever is the newest. */
  from: number;
  attempt: number | null;
  /** Wait for what is still to come. */
  follow: boolean;
}

export type LogEvent = { type: "log"; attempt: number; from: number; bytes: Uint8Array } | ({ type: "end" } & LogsEnd);

const LOOK_MS = 200;
const PIECE_BYTES = 64 * 1024;
/** Without an outcome, and none will come. */
const givenUp: readonly AttemptState[] = ["declined", "expired", "cancelled", "cleaned"];

/** A replica's log from a byte on, up to the end of its newest attempt. Throws JOB_UNKNOWN, LOG_GONE. */
export async function* feedLog(tools: LogTools, request: LogRequest, signal: AbortSignal): AsyncGenerator<LogEvent> {
  const { jobId, replica, stream, follow } = request;
  let at = { attempt: request.attempt, bytes: request.from };
  let live: { log: LiveLog; bytes: number } | undefined;
  for (;;) {
    const attempt = tools.journal.attempt(jobId, replica);
    if (attempt === undefined) throw new MarketError("JOB_UNKNOWN", "This node has no such replica.");
    if (at.attempt !== attempt.attempt) {
      at = { attempt: attempt.attempt, bytes: at.attempt === null ? at.bytes : 0 };
      live = undefined;
    }
    const isOver = attempt.outcome !== null || givenUp.includes(attempt.state);
    if (isOver) {
      const kept = attempt.facts[stream];
      if (attempt.facts.spec?.outputs.encryptTo === undefined) {
        for await (const bytes of storedBytes(tools, attempt, stream, at.bytes)) yield emit(bytes);
      } else {
        // What is stored is encrypted; the engine has the log itself until the attempt is cleaned up.
        live ??= openLive(tools, attempt, stream);
        for await (const bytes of live === undefined ? [] : liveBytes(live, at.bytes)) yield emit(bytes);
        if (at.bytes < (kept?.bytes ?? 0)) throw sealedLog();
      }
      return yield endOf(attempt, kept?.bytes ?? at.bytes, kept?.truncated ?? false);
    }
    if (attempt.state === "running" || attempt.state === "exited") {
      live ??= openLive(tools, attempt, stream);
      for await (const bytes of live === undefined ? [] : liveBytes(live, at.bytes)) yield emit(bytes);
    }
    if (!follow) return yield endOf(attempt, at.bytes, false);
    await pause(LOOK_MS, undefined, { signal });
  }

  function emit(bytes: Uint8Array): LogEvent {
    const from = at.bytes;
    at.bytes += bytes.length;
    return { type: "log", attempt: at.attempt ?? 0, from, bytes };
  }
}

function openLive({ engine, nameOf }: LogTools, attempt: AttemptRow, stream: LogStream) {
  try {
    const log = engine()?.liveLog?.(nameOf(attempt), stream);
    return log === undefined ? undefined : { log, bytes: 0 };
  } catch (error) {
    if (error instanceof MarketError && error.code === "ENGINE_NO_ATTEMPT") return undefined; // cleaned up just now
    throw error;
  }
}

/** What is there now, from byte `from` on. */
async function* liveBytes(live: { log: LiveLog; bytes: number }, from: number): AsyncGenerator<Uint8Array> {
  for (let bytes = await live.log.read(); bytes.length > 0; bytes = await live.log.read()) {
    const skipped = Math.max(0, from - live.bytes);
    live.bytes += bytes.length;
    for (let at = skipped; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
  }
}

async function* storedBytes(
  { content }: LogTools,
  { facts }: AttemptRow,
  stream: LogStream,
  from: number,
): AsyncGenerator<Uint8Array> {
  const kept = facts[stream];
  if (kept === undefined || from >= kept.bytes) return;
  let bytes: Uint8Array;
  try {
    bytes = await content.getBytes(kept.cid, { maxBytes: kept.bytes });
  } catch (cause) {
    throw new MarketError("LOG_GONE", "The log is no longer kept here.", {
      hint: "A node keeps what it published for the retention time of the job.",
      cause,
    });
  }
  for (let at = from; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

function sealedLog(): MarketError {
  return new MarketError("LOG_GONE", "The log of the ended run is kept encrypted only.", {
    hint: "Fetch the log of the result, and open it with the identity that it is encrypted to.",
  });
}

function endOf({ attempt, state, outcome, facts, message }: AttemptRow, bytes: number, truncated: boolean): LogEvent {
  const exitCode = outcome === "exited" ? (facts.exitCode ?? null) : null;
  return { type: "end", attempt, phase: publicPhase[state], outcome, exitCode, message, bytes, truncated };
}
