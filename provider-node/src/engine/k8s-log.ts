import { once } from "node:events";
import { createReadStream, createWriteStream, statSync, type WriteStream } from "node:fs";
import { join } from "node:path";
import type { AttemptLogs, CapturedLog, LogStream } from "./types.ts";

/** `<time> <stream> <P or F> <text>`: F ends a line of the job, P is a piece without its newline. */
const HEADER = /^\S+ (stdout|stderr) ([PF]) /;
/** The monitor writes records of at most 8 KiB of text. */
export const MAX_RECORD_BYTES = 64 * 1024;
const NEWLINE = Buffer.from("\n");

/**
 * Splits the monitor's log into what the job wrote to each stream, byte for byte, at most `maxBytes` each.
 * `full` says that the log's own volume ran full, so both may lack their end.
 */
export async function splitLog(
  rawPath: string,
  outDir: string,
  { maxBytes, full }: { maxBytes: number; full: boolean },
): Promise<AttemptLogs> {
  const sinks = {
    stdout: openSink(join(outDir, "stdout.log"), maxBytes),
    stderr: openSink(join(outDir, "stderr.log"), maxBytes),
  };
  for await (const line of records(rawPath)) {
    const record = parseRecord(line);
    if (record !== undefined) await sinks[record.stream].write(record);
  }
  return { stdout: await sinks.stdout.close(full), stderr: await sinks.stderr.close(full) };
}

/** One line of the monitor's log. */
export interface LogRecord {
  stream: LogStream;
  text: Buffer;
  /** The line of the job ends here. */
  endsLine: boolean;
}

/** Undefined for a line that is torn where the volume ran full. */
export function parseRecord(line: Buffer): LogRecord | undefined {
  const match = HEADER.exec(line.subarray(0, 64).toString("latin1"));
  if (!match) return undefined;
  return { stream: match[1] as LogStream, text: line.subarray(match[0].length), endsLine: match[2] === "F" };
}

/** Turns the records of one stream, in their order, back into the bytes that the job wrote. */
export function createJoiner(): (record: LogRecord) => Buffer[] {
  let inLine = false;
  let owed = false; // a newline the monitor may have added itself when the stream ended inside a line
  return ({ text, endsLine }) => {
    const before = owed ? [NEWLINE] : [];
    owed = endsLine && inLine && text.length === 0;
    inLine = !endsLine;
    return [...before, text, ...(endsLine && !owed ? [NEWLINE] : [])];
  };
}

interface Sink {
  write(record: LogRecord): Promise<void>;
  close(full: boolean): Promise<CapturedLog>;
}

function openSink(path: string, maxBytes: number): Sink {
  const file = createWriteStream(path, { mode: 0o600 });
  let bytes = 0;
  let truncated = false;
  const joined = createJoiner();
  const put = async (data: Buffer) => {
    const kept = data.subarray(0, maxBytes - bytes);
    if (kept.length < data.length) truncated = true;
    bytes += kept.length;
    if (kept.length > 0 && !file.write(kept)) await once(file, "drain");
  };
  return {
    write: async (record) => {
      for (const piece of joined(record)) await put(piece);
    },
    close: async (full) => {
      await finish(file);
      return { path, bytes, truncated: truncated || full };
    },
  };
}

async function finish(file: WriteStream): Promise<void> {
  file.end();
  await once(file, "close");
}

async function* records(path: string): AsyncGenerator<Buffer> {
  if (!statSync(path, { throwIfNoEntry: false })) return;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) {
    let data: Buffer = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10)) {
      yield data.subarray(0, end);
      data = data.subarray(end + 1);
    }
    rest = data.length > MAX_RECORD_BYTES ? Buffer.alloc(0) : data;
  }
  if (rest.length > 0) yield rest;
}
