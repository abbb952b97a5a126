import { constants } from "node:fs";
import { type FileHandle, lstat, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { ImagePlace, OpenRequest } from "@berth/content";
import { digestSchema, MarketError } from "@berth/protocol";

/** An OCI layout on this machine. */
export function openFolder(dir: string): ImagePlace {
  const blob = (reference: string, signal: AbortSignal) => {
    const path = blobPath(dir, reference);
    if (path === undefined) throw absent(reference);
    return openFile(path, reference, signal);
  };
  return {
    openManifest: async (reference, signal) => blob(reference, signal),
    openBlob: async (digest, signal) => blob(digest, signal),
    openIndex: (signal) => openFile(join(dir, "index.json"), "index.json", signal),
  };
}

/** The layout among the operator's folders that has the manifest `digest`: a folder itself, or one right below. */
export async function findLayout(folders: readonly string[], digest: string): Promise<string | undefined> {
  for (const folder of folders) {
    const below = await readdir(folder, { withFileTypes: true }).catch(() => []);
    const dirs = below.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name));
    for (const dir of [folder, ...dirs.sort()]) {
      const path = blobPath(dir, digest);
      const found = path === undefined ? undefined : await lstat(path).catch(() => undefined);
      if (found?.isFile()) return dir;
    }
  }
  return undefined;
}

function blobPath(dir: string, digest: string): string | undefined {
  if (!digestSchema.safeParse(digest).success) return undefined;
  return join(dir, "blobs/sha256", digest.slice("sha256:".length));
}

async function openFile(path: string, what: string, signal: AbortSignal): Promise<OpenRequest> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((cause) => {
    throw absent(what, cause);
  });
  if (!(await file.stat()).isFile()) {
    await file.close();
    throw absent(what);
  }
  return { body: contentOf(file, signal), [Symbol.asyncDispose]: () => file.close() };
}

async function* contentOf(file: FileHandle, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: 1024 * 1024, signal }))
    yield chunk as Uint8Array;
}

function absent(what: string, cause?: unknown): MarketError {
  return new MarketError("SOURCE_ANSWERED", `The layout has no ${what}.`, { cause });
}
