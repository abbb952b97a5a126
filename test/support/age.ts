import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { identityOf, keyringOf } from "../../client/src/sealed/keyring.ts";

/** A fresh key pair. */
export async function agePair(): Promise<{ identity: string; recipient: string }> {
  const dir = await mkdtemp(join(tmpdir(), "berth-age-"));
  try {
    const keyring = keyringOf({ dir });
    const { recipient } = await keyring.recipient();
    return { identity: await identityOf([recipient], keyring), recipient };
  } finally {
    await rm(dir, { recursive: true });
  }
}

/** What Debian's `age` program makes of a file; undefined where it is not installed. */
export function openWithAge(file: string, identityFile: string): Buffer | undefined {
  const { error, status, stdout, stderr } = spawnSync("age", ["--decrypt", "--identity", identityFile, file], {
    maxBuffer: 64 * 1024 * 1024,
  });
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ENOENT") return undefined;
  if (status !== 0) throw new Error(`age: ${stderr}`);
  return stdout;
}

/** Gathers a stream. */
export async function bytesOf(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}
