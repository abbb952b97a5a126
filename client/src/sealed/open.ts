import { ReadableStream as WebStream } from "node:stream/web";
import { MarketError } from "@berth/protocol";
import { Decrypter } from "age-encryption";

const MAGIC = Buffer.from("age-encryption.org/v1\n");

/** Does it begin as an age file does? */
export function looksSealed(bytes: Uint8Array): boolean {
  return MAGIC.equals(bytes.subarray(0, MAGIC.length));
}

/**
 * What is in an age file, piece by piece; each is authenticated before it is given. Read it to its end: only then is it
 * known to be whole. Throws RESULT_INVALID, for `identity` is one of those that it should be encrypted to.
 */
export async function* openSealed(
  sealed: AsyncIterable<Uint8Array>,
  identity: string,
  what: string,
): AsyncGenerator<Uint8Array> {
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  try {
    // The types of browsers do not know that streams are iterables, both ways.
    const source = WebStream.from(sealed) as unknown as ReadableStream<Uint8Array>;
    yield* (await decrypter.decrypt(source)) as unknown as AsyncIterable<Uint8Array>;
  } catch (cause) {
    if (cause instanceof MarketError || (cause as Error).name === "AbortError") throw cause;
    throw new MarketError("RESULT_INVALID", `The encrypted ${what} cannot be opened: ${(cause as Error).message}.`, {
      hint: "It was damaged by the node, or is encrypted to somebody else than the spec says.",
      cause,
    });
  }
}
