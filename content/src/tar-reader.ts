import { MarketError } from "@berth/protocol";

/** A regular file in an archive. Read `content` before the next one is asked for; what is left of it is skipped. */
export interface TarFile {
  /** Without a leading "./". */
  path: string;
  bytes: number;
  content: AsyncIterable<Uint8Array>;
}

const BLOCK = 512;
const MAX_PAX_BYTES = 64 * 1024;

/**
 * The regular files of a tar archive (ustar, with PAX or GNU sizes), in its order. Folders and links are passed over.
 * Throws SOURCE_ANSWERED when it is no archive, or a part of one.
 */
export async function* readTar(stream: AsyncIterable<Uint8Array>): AsyncGenerator<TarFile> {
  const input = bytesOf(stream);
  let pax = new Map<string, string>();
  for (;;) {
    const header = await input.take(BLOCK);
    if (header === undefined) throw broken("ends in the middle");
    if (header.every((byte) => byte === 0)) return;
    assertChecksum(header);
    const type = String.fromCharCode(header[156] ?? 0);
    const bytes = sizeOf(header, pax.get("size"));
    const padding = (BLOCK - (bytes % BLOCK)) % BLOCK;
    if (type === "x") {
      pax = parsePax(await documentOf(input, bytes));
      await input.skip(padding);
      continue;
    }
    const left = { bytes };
    if (type === "0" || type === "\0") {
      const path = (pax.get("path") ?? nameOf(header)).replace(/^(\.\/)+/, "");
      yield { path, bytes, content: contentOf(input, left) };
    }
    await input.skip(left.bytes + padding);
    pax = new Map();
  }
}

type Input = ReturnType<typeof bytesOf>;

/** A stream that can be taken in pieces. */
function bytesOf(stream: AsyncIterable<Uint8Array>) {
  const chunks = stream[Symbol.asyncIterator]();
  let rest: Buffer = Buffer.alloc(0);
  /** The next bytes, at most `most`; undefined at the end. */
  const some = async (most: number): Promise<Buffer | undefined> => {
    while (rest.length === 0) {
      const { done, value } = await chunks.next();
      if (done === true) return undefined;
      rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    const piece = rest.subarray(0, most);
    rest = rest.subarray(piece.length);
    return piece;
  };
  return {
    some,
    /** Exactly `bytes`; undefined when the stream ended before the first. */
    async take(bytes: number): Promise<Buffer | undefined> {
      const pieces: Buffer[] = [];
      let left = bytes;
      while (left > 0) {
        const piece = await some(left);
        if (piece === undefined && left === bytes) return undefined;
        if (piece === undefined) throw broken("ends in the middle");
        left -= piece.length;
        pieces.push(piece);
      }
      return Buffer.concat(pieces);
    },
    async skip(bytes: number): Promise<void> {
      for (let left = bytes; left > 0; ) {
        const piece = await some(left);
        if (piece === undefined) throw broken("ends in the middle");
        left -= piece.length;
      }
    },
  };
}

async function* contentOf(input: Input, left: { bytes: number }): AsyncGenerator<Uint8Array> {
  while (left.bytes > 0) {
    const piece = await input.some(left.bytes);
    if (piece === undefined) throw broken("ends in the middle");
    left.bytes -= piece.length;
    yield piece;
  }
}

async function documentOf(input: Input, bytes: number): Promise<Buffer> {
  if (bytes > MAX_PAX_BYTES) throw broken("has a header that is too long");
  return (await input.take(bytes)) ?? Buffer.alloc(0);
}

function assertChecksum(header: Buffer): void {
  const said = Number.parseInt(header.toString("latin1", 148, 156).replace(/[\0 ]+$/, ""), 8);
  const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (said !== sum) throw broken("has a damaged header");
}

function sizeOf(header: Buffer, pax: string | undefined): number {
  const bytes =
    pax !== undefined
      ? Number(pax)
      : ((header[124] ?? 0) & 0x80) !== 0
        ? Number(header.readBigUInt64BE(128))
        : Number.parseInt(header.toString("latin1", 124, 136).replace(/[\0 ]+$/, "") || "0", 8);
  if (!Number.isSafeInteger(bytes) || bytes < 0) throw broken("has a damaged header");
  return bytes;
}

function nameOf(header: Buffer): string {
  const text = (from: number, to: number) => header.toString("utf8", from, to).replace(/\0[\s\S]*$/, "");
  const prefix = header.toString("latin1", 257, 262) === "ustar" ? text(345, 500) : "";
  return prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`;
}

/** `<length> <key>=<value>\n`, one after the other. */
function parsePax(bytes: Buffer): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.toString("latin1", at, space));
    if (space < 0 || !Number.isSafeInteger(length) || length <= space - at || at + length > bytes.length)
      throw broken("has a damaged header");
    const [key = "", ...value] = bytes.toString("utf8", space + 1, at + length - 1).split("=");
    found.set(key, value.join("="));
    at += length;
  }
  return found;
}

function broken(how: string): MarketError {
  return new MarketError("SOURCE_ANSWERED", `It is no tar archive, or one that ${how}.`);
}
