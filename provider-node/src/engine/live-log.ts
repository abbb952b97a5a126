import { open } from "node:fs/promises";
import { createJoiner, MAX_RECORD_BYTES, parseRecord } from "./k8s-log.ts";
import type { LiveLog, LogStream } from "./types.ts";

const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 10;

/**
 * Reads one stream out of the monitor's log while that grows: byte for byte what `splitLog` makes of it at the end, of which
 * it is a beginning at every moment. The file is open only during a read, so that its volume can be unmounted.
 */
export function openLiveLog(rawPath: string, stream: LogStream, maxBytes: number): LiveLog {
  const joined = createJoiner();
  let readTo = 0;
  let rest: Buffer = Buffer.alloc(0);
  let left = maxBytes;

  const take = (chunk: Buffer): Buffer => {
    const pieces: Buffer[] = [];
    let data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = data.indexOf(NEWLINE); end >= 0; end = data.indexOf(NEWLINE)) {
      const record = parseRecord(data.subarray(0, end));
      if (record?.stream === stream) pieces.push(...joined(record));
      data = data.subarray(end + 1);
    }
    rest = data.length > MAX_RECORD_BYTES ? Buffer.alloc(0) : Buffer.from(data);
    const bytes = Buffer.concat(pieces).subarray(0, left);
    left -= bytes.length;
    return bytes;
  };

  return {
    async read() {
      for (;;) {
        const chunk = left === 0 ? undefined : await readChunk(rawPath, readTo);
        if (chunk === undefined) return Buffer.alloc(0);
        readTo += chunk.length;
        const bytes = take(chunk);
        if (bytes.length > 0) return bytes; // otherwise the chunk was the other stream's
      }
    },
  };
}

/** Reads a file that holds one stream as it is, while that grows. */
export function openPlainLog(path: string): LiveLog {
  let readTo = 0;
  return {
    async read() {
      const chunk = (await readChunk(path, readTo)) ?? Buffer.alloc(0);
      readTo += chunk.length;
      return chunk;
    },
  };
}

async function readChunk(path: string, from: number): Promise<Buffer | undefined> {
  try {
    await using file = await open(path);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, from);
    return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined; // not begun, or cleaned up
    throw error;
  }
}
