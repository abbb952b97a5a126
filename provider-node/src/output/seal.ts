import { createWriteStream } from "node:fs";
import { access, mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { ReadableStream as WebStream } from "node:stream/web";
import { MarketError } from "@berth/protocol";
import type { Encrypter } from "age-encryption";
import { syncFolder } from "../attest/durable-file.ts";
import type { Context } from "../log.ts";

/** The bytes of `content` as one age file that only `recipients` can open; 64 KiB of it are in memory at a time. */
export async function* seal(
  content: AsyncIterable<Uint8Array>,
  recipients: readonly string[],
): AsyncGenerator<Uint8Array> {
  // The types of browsers do not know that streams are iterables, both ways.
  const plain = WebStream.from(content) as unknown as ReadableStream<Uint8Array>;
  const sealed = await (await encrypterFor(recipients)).encrypt(plain);
  yield* sealed as unknown as AsyncIterable<Uint8Array>;
}

/**
 * `name` in the folder `dir`, sealed once: encryption is random, so what a crash left whole is what is published, not a
 * second file with other bytes. Returns its path.
 */
export async function sealOnce(
  dir: string,
  name: string,
  content: () => AsyncIterable<Uint8Array>,
  recipients: readonly string[],
  { signal }: Context,
): Promise<string> {
  const path = join(dir, `${name}.age`);
  if (await isThere(path)) return path;
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const part = `${path}.part`;
  await rm(part, { force: true });
  const file = createWriteStream(part, { flags: "wx", mode: 0o600, flush: true });
  await pipeline(seal(content(), recipients), file, { signal });
  await rename(part, path);
  await syncFolder(dir);
  return path;
}

/** Tries the recipients before anything runs: a key that nothing can be encrypted to would cost the result. Throws SPEC_REFUSED. */
export async function assertSealable(recipients: readonly string[]): Promise<void> {
  try {
    await (await encrypterFor(recipients)).encrypt(new Uint8Array());
  } catch (cause) {
    throw new MarketError("SPEC_REFUSED", "The spec's outputs.encryptTo has a recipient that age cannot encrypt to.", {
      cause,
    });
  }
}

/** Loads what encrypts at the first use: most jobs have no recipients, and a node starts sooner without it. */
async function encrypterFor(recipients: readonly string[]): Promise<Encrypter> {
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  for (const recipient of recipients) encrypter.addRecipient(recipient);
  return encrypter;
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
