import { createCipheriv, createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ContentStore, openEmbeddedStore } from "@berth/content";
import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import pino from "pino";

export const silent = pino({ level: "silent" });

/** Folders, stores and servers of one test, gone after it even when it fails. */
export function workbench() {
  const undo: (() => Promise<unknown>)[] = [];
  const folder = async (): Promise<string> => {
    const dir = await mkdtemp(join(tmpdir(), "berth-content-"));
    undo.push(() => rm(dir, { recursive: true, force: true }));
    return dir;
  };
  return {
    folder,
    later: (step: () => Promise<unknown>) => undo.push(step),
    async store(dir?: string): Promise<ContentStore> {
      const store = await openEmbeddedStore({ dir: dir ?? (await folder()) });
      undo.push(() => store.close());
      return store;
    },
    /** A server that does what a test wants a stranger to do. */
    async server(listener: RequestListener): Promise<string> {
      const server = createServer(listener).listen(0, "127.0.0.1");
      await once(server, "listening");
      undo.push(async () => {
        server.close();
        server.closeAllConnections();
      });
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    async cleanUp(): Promise<void> {
      for (const step of undo.splice(0).reverse()) await step();
    },
  };
}

/** The bytes of a ChaCha20 stream keyed by the hash of `seed`, zero nonce: how the published vectors are made. */
export async function* seededBytes(seed: string, size: number): AsyncGenerator<Uint8Array> {
  const cipher = createCipheriv("chacha20", createHash("sha256").update(seed).digest(), Buffer.alloc(16));
  const zeros = Buffer.alloc(1024 * 1024);
  for (let left = size; left > 0; left -= zeros.length)
    yield cipher.update(zeros.subarray(0, Math.min(left, zeros.length)));
}

export async function seeded(seed: string, size: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of seededBytes(seed, size)) chunks.push(chunk);
  return Uint8Array.from(Buffer.concat(chunks));
}

/** A folder with a file of several blocks, small, empty, equal and nested files, and an empty folder. */
export async function makeTree(dir: string): Promise<Map<string, string>> {
  await mkdir(join(dir, "deep/er/est"), { recursive: true });
  await mkdir(join(dir, "empty"));
  await writeFile(join(dir, "big.bin"), await seeded("big", 5 * 1024 * 1024 + 17));
  await writeFile(join(dir, "empty.txt"), "");
  await writeFile(join(dir, " spaced ünïcode 🚢.txt"), "hello");
  await writeFile(join(dir, "deep/same.txt"), "hello");
  await writeFile(join(dir, "deep/er/est/last.txt"), "bottom");
  return await hashTree(dir);
}

/** Path to sha256 for every file, path to "folder" for every folder: equal maps are equal trees. */
export async function hashTree(dir: string): Promise<Map<string, string>> {
  const tree = new Map<string, string>();
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const what = entry.isDirectory()
      ? "folder"
      : entry.isFile()
        ? createHash("sha256")
            .update(await readFile(path))
            .digest("hex")
        : "other";
    tree.set(path.slice(dir.length + 1), what);
  }
  return new Map([...tree].sort());
}

/** The MarketError that `promise` rejects with; fails when it resolves or throws something else. */
export async function failure(promise: Promise<unknown>): Promise<MarketError> {
  let error: unknown;
  try {
    await promise;
  } catch (thrown) {
    error = thrown;
  }
  expect(error).to.be.instanceOf(MarketError);
  return error as MarketError;
}

export async function collect(stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Uint8Array.from(Buffer.concat(chunks));
}

export async function* streamOf(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}
