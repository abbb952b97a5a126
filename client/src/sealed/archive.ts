import { createHash } from "node:crypto";
import { mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isSafeName, MAX_DEPTH, MAX_PATH_BYTES, readTar, writeWhole } from "@berth/content";
import { MarketError, type Result } from "@berth/protocol";

type Outputs = NonNullable<Result["outputs"]>;

/** Folder of the outputs in the archive that a node encrypts. */
const OUTPUTS = "outputs/";

interface ArchivedFile {
  /** Relative; safe to write below any folder. */
  path: string;
  content: AsyncIterable<Uint8Array>;
}

/**
 * The outputs in a decrypted archive, which its node may have made as it liked: nothing but regular files at safe paths, each
 * path once, exactly as many files and bytes as the record says. Throws CONTENT_UNSAFE, RESULT_INVALID.
 */
async function* archivedOutputs(
  archive: AsyncIterable<Uint8Array>,
  { files, bytes }: Pick<Outputs, "files" | "bytes">,
): AsyncGenerator<ArchivedFile> {
  const pieces = archive[Symbol.asyncIterator]();
  const taken: Tree = new Map();
  let count = 0;
  let left = bytes;
  try {
    for await (const file of wholeTar(readTar({ [Symbol.asyncIterator]: () => pieces }))) {
      if (!file.path.startsWith(OUTPUTS)) continue;
      const path = file.path.slice(OUTPUTS.length);
      take(path, taken);
      count += 1;
      left -= file.bytes;
      if (count > files || left < 0) throw disagrees(files, bytes, "more");
      yield { path, content: wholeTar(file.content) };
    }
    // What follows the archive is of no use, but its last bytes prove that nothing was cut off.
    while ((await pieces.next()).done !== true);
  } finally {
    await pieces.return?.();
  }
  if (count !== files || left !== 0) throw disagrees(files, bytes, "fewer");
}

/**
 * Reads all outputs as `writeOutputs` would write them, and writes nothing: what passes here can be written. Returns the
 * archive's digest: nodes make the same archive of the same outputs.
 */
export async function measureOutputs(archive: AsyncIterable<Uint8Array>, said: Outputs): Promise<string> {
  const hash = createHash("sha256");
  const hashed = async function* () {
    for await (const piece of archive) {
      hash.update(piece);
      yield piece;
    }
  };
  for await (const { content } of archivedOutputs(hashed(), said)) for await (const _ of content);
  return `sha256:${hash.digest("hex")}`;
}

/** Writes the outputs into the folder `target`, which appears all at once. Throws TARGET_EXISTS, and as above. */
export async function writeOutputs(
  archive: AsyncIterable<Uint8Array>,
  said: Outputs,
  target: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await writeWhole(target, async (top) => {
    await mkdir(top);
    for await (const { path, content } of archivedOutputs(archive, said)) {
      signal?.throwIfAborted();
      await mkdir(dirname(join(top, path)), { recursive: true });
      const file = await open(join(top, path), "wx", 0o644); // "x": never through a link, never over a file
      try {
        for await (const chunk of content) await file.writeFile(chunk);
      } finally {
        await file.close();
      }
    }
  });
}

async function* wholeTar<T>(read: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* read;
  } catch (cause) {
    if (!(cause instanceof MarketError) || cause.code !== "SOURCE_ANSWERED") throw cause;
    throw new MarketError("RESULT_INVALID", "What is encrypted as outputs is no whole tar archive.", { cause });
  }
}

/** Names in a folder: another folder, or a file. */
type Tree = Map<string, Tree | "file">;

/** Writes down a file's path, and the folders above it. Throws CONTENT_UNSAFE. */
function take(path: string, taken: Tree): void {
  const parts = path.split("/");
  if (!parts.every(isSafeName)) throw unsafe(`a file named ${JSON.stringify(path)}, which is not allowed`);
  if (parts.length > MAX_DEPTH || Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw unsafe("a path too long to be written");
  const name = parts.pop() ?? "";
  let folder = taken;
  for (const part of parts) {
    const below = folder.get(part) ?? new Map();
    if (below === "file") throw unsafe(`a file and a folder at ${JSON.stringify(path)}`);
    folder.set(part, below);
    folder = below;
  }
  if (folder.has(name)) throw unsafe(`two entries at ${JSON.stringify(path)}`);
  folder.set(name, "file");
}

function unsafe(what: string): MarketError {
  return new MarketError("CONTENT_UNSAFE", `The encrypted outputs have ${what}.`, {
    hint: "Do not trust whoever made this content.",
  });
}

function disagrees(files: number, bytes: number, how: string): MarketError {
  return new MarketError(
    "RESULT_INVALID",
    `The encrypted outputs have ${how} files or bytes than the ${files} files and ${bytes} bytes of the record.`,
  );
}
