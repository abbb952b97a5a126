/** One entry of an archive. Owner is always root and time always 0, so that equal trees give equal bytes. */
export interface TarEntry {
  /** Relative, without a leading "./"; a folder has no trailing slash here. */
  path: string;
  type: "file" | "folder" | "link";
  /** Permission bits, set-id bits included. */
  mode: number;
  /** Of a file's content; 0 otherwise. */
  bytes: number;
  /** Where a symbolic link points. */
  target?: string;
}

const BLOCK = 512;
const TYPE_FLAGS = { file: "0", folder: "5", link: "2", pax: "x" } as const;
/** The two empty blocks that end an archive. */
export const TAR_END = Buffer.alloc(2 * BLOCK);

/** The header blocks of one entry, a PAX header before them where ustar's fields are too small. */
export function tarHeader({ path, type, mode, bytes, target = "" }: TarEntry): Buffer {
  const name = type === "folder" ? `${path}/` : path;
  const pax: [string, string][] = [];
  if (Buffer.byteLength(name) > 100) pax.push(["path", name]);
  if (Buffer.byteLength(target) > 100) pax.push(["linkpath", target]);
  if (bytes > 0o77777777777) pax.push(["size", String(bytes)]);
  const own = ustar({ name, flag: TYPE_FLAGS[type], mode, bytes, target });
  if (pax.length === 0) return own;
  const records = Buffer.concat(pax.map(([key, value]) => paxRecord(key, value)));
  const extra = ustar({ name: "pax", flag: TYPE_FLAGS.pax, mode: 0o644, bytes: records.length, target: "" });
  return Buffer.concat([extra, records, tarPadding(records.length), own]);
}

/** What fills the last block of a content of `bytes`. */
export function tarPadding(bytes: number): Buffer {
  return Buffer.alloc((BLOCK - (bytes % BLOCK)) % BLOCK);
}

interface UstarFields {
  name: string;
  flag: string;
  mode: number;
  bytes: number;
  target: string;
}

function ustar({ name, flag, mode, bytes, target }: UstarFields): Buffer {
  const block = Buffer.alloc(BLOCK);
  Buffer.from(name).copy(block, 0, 0, 100);
  block.write(octal(mode, 8), 100, "latin1");
  block.write(octal(0, 8), 108, "latin1");
  block.write(octal(0, 8), 116, "latin1");
  block.write(octal(bytes > 0o77777777777 ? 0 : bytes, 12), 124, "latin1");
  block.write(octal(0, 12), 136, "latin1");
  block.write(" ".repeat(8), 148, "latin1");
  block.write(flag, 156, "latin1");
  Buffer.from(target).copy(block, 157, 0, 100);
  block.write("ustar\u000000", 257, "latin1");
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, "0")}\0`;
}

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}
