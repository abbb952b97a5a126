import { MarketError } from "@berth/protocol";
import { type PieceReader, readPieces } from "./piece-reader.ts";

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
  const input = readPieces(stream, () => broken("ends in the middle"));
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
      yield { path, bytes, content: input.content(left) };
    }
    await input.skip(left.bytes + padding);
    pax = new Map();
  }
}

async function documentOf(input: PieceReader, bytes: number): Promise<Buffer> {
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
