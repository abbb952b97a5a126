import { type PieceReader, readPieces } from "@berth/content";
import { MarketError } from "@berth/protocol";

export type LayerEntryType = "file" | "folder" | "link" | "hard-link" | "special";

/** One entry of an image layer. Read `content` of a file before the next entry is asked for; what is left is skipped. */
export interface LayerEntry {
  type: LayerEntryType;
  /** As the archive says it: it may begin with "/" or "./", or hold "..". */
  path: string;
  /** Where a link leads, or what a hard link is another name of. */
  target: string;
  /** Permissions, with the set-id bits. */
  mode: number;
  uid: number;
  gid: number;
  /** Unix seconds. */
  modifiedAt: number;
  bytes: number;
  content: AsyncIterable<Uint8Array>;
}

const BLOCK = 512;
/** Long names and PAX records. */
const MAX_HEADER_BYTES = 1024 * 1024;
const TYPES: Readonly<Record<string, LayerEntryType>> = {
  "0": "file",
  "\0": "file",
  "7": "file",
  "1": "hard-link",
  "2": "link",
  "3": "special",
  "4": "special",
  "5": "folder",
  "6": "special",
};

/**
 * The entries of an unpacked layer: ustar with PAX records or GNU long names.
 * @throws MarketError IMAGE_REFUSED when it is no archive, part of one, or uses what image tools do not write
 */
export async function* readLayerTar(stream: AsyncIterable<Uint8Array>): AsyncGenerator<LayerEntry> {
  const input = readPieces(stream, () => refused("ends in the middle"));
  try {
    yield* entriesOf(input);
    await input.drain(); // every byte of the stream is hashed
  } finally {
    await input.close();
  }
}

async function* entriesOf(input: PieceReader): AsyncGenerator<LayerEntry> {
  const common = new Map<string, string>();
  let extra = new Map<string, string>();
  for (;;) {
    const header = await input.take(BLOCK);
    if (header === undefined || header.every((byte) => byte === 0)) return;
    assertChecksum(header);
    const flag = header.toString("latin1", 156, 157);
    const said = (name: string) => extra.get(name) ?? common.get(name);
    const bytes = whole(said("size") ?? numberAt(header, 124, 12));
    const padding = (BLOCK - (bytes % BLOCK)) % BLOCK;
    if ("xgLK".includes(flag)) {
      if (bytes > MAX_HEADER_BYTES) throw refused("has a header that is too long");
      const body = (await input.take(bytes)) ?? Buffer.alloc(0);
      await input.skip(padding);
      if (flag === "x") for (const [name, value] of parsePax(body)) extra.set(name, value);
      else if (flag === "g") for (const [name, value] of parsePax(body)) common.set(name, value);
      else extra.set(flag === "L" ? "path" : "linkpath", utf8(body, 0, body.length));
      continue;
    }
    const type = TYPES[flag];
    if (type === undefined || [...extra.keys()].some((name) => name.startsWith("GNU.sparse"))) {
      throw refused(`has an entry of the kind ${JSON.stringify(flag)}, or a sparse one`);
    }
    const left = { bytes: type === "file" ? bytes : 0 };
    yield {
      type,
      path: said("path") ?? nameOf(header),
      target: said("linkpath") ?? utf8(header, 157, 257),
      mode: whole(numberAt(header, 100, 8)) & 0o7777,
      uid: whole(said("uid") ?? numberAt(header, 108, 8)),
      gid: whole(said("gid") ?? numberAt(header, 116, 8)),
      modifiedAt: Math.max(0, Number.parseFloat(said("mtime") ?? String(numberAt(header, 136, 12))) || 0),
      bytes: left.bytes,
      content: input.content(left),
    };
    // A hard link may repeat its file's size in the header, but never its bytes.
    if (type === "file") await input.skip(left.bytes + padding);
    extra = new Map();
  }
}

function assertChecksum(header: Buffer): void {
  const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (numberAt(header, 148, 8) !== sum) throw refused("has a damaged header");
}

/** Octal text, or a binary number when the first bit is set. */
function numberAt(header: Buffer, at: number, length: number): number {
  if (((header[at] ?? 0) & 0x80) === 0) {
    return Number.parseInt(
      header
        .toString("latin1", at, at + length)
        .replace(/[\0 ]+$/, "")
        .trim() || "0",
      8,
    );
  }
  const bytes = Buffer.from(header.subarray(at, at + length));
  bytes[0] = (bytes[0] ?? 0) & 0x7f;
  return Number(BigInt(`0x${bytes.toString("hex")}`));
}

function whole(value: number | string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number) || number < 0) throw refused("has a damaged header");
  return number;
}

function nameOf(header: Buffer): string {
  const prefix = header.toString("latin1", 257, 263) === "ustar\0" ? utf8(header, 345, 500) : "";
  const name = utf8(header, 0, 100);
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Up to the first NUL. A name that is not UTF-8 would be another one on our disk. */
function utf8(bytes: Buffer, from: number, to: number): string {
  const end = bytes.indexOf(0, from);
  const raw = bytes.subarray(from, end < 0 || end > to ? to : end);
  const text = raw.toString("utf8");
  if (!Buffer.from(text, "utf8").equals(raw)) throw refused("has a name that is not UTF-8");
  return text;
}

/** `<length> <key>=<value>\n`, one after the other. */
function parsePax(bytes: Buffer): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.toString("latin1", at, space));
    if (space < 0 || !Number.isSafeInteger(length) || length <= space - at || at + length > bytes.length) {
      throw refused("has a damaged header");
    }
    const record = bytes.subarray(space + 1, at + length - 1);
    const equals = record.indexOf(0x3d);
    if (equals < 0) throw refused("has a damaged header");
    const key = record.toString("latin1", 0, equals);
    // Others, such as extended attributes, are not text, and not used.
    if (PAX_TEXT.has(key) || key.startsWith("GNU.sparse")) found.set(key, utf8(record, equals + 1, record.length));
    at += length;
  }
  return found;
}

const PAX_TEXT = new Set(["path", "linkpath", "size", "uid", "gid", "mtime"]);

function refused(how: string): MarketError {
  return new MarketError("IMAGE_REFUSED", `A layer of the image ${how}.`);
}
