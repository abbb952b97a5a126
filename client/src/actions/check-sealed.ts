import { MarketError, type Result } from "@berth/protocol";
import type { Client, Context } from "../client.ts";
import { formatBytes } from "../format.ts";
import { measureOutputs } from "../sealed/archive.ts";
import { looksSealed, openSealed } from "../sealed/open.ts";
import type { Part } from "./fetch-result.ts";

type Outputs = NonNullable<Result["outputs"]>;
type Log = NonNullable<Result["stdout"]>;

/**
 * Checks outputs that were to be encrypted. With an identity every file is decrypted as an export would; without one it is
 * known that they are all there and that everything is bound by the record, and no more. `digest` is that of what was found.
 */
export async function checkSealedOutputs(
  client: Client,
  outputs: Outputs,
  part: Part,
  identity: string | undefined,
  { signal }: Context,
): Promise<{ detail: string; digest: string | undefined }> {
  const { bytes, files } = outputs;
  const { cid, maxBytes } = part;
  const size = await measureSealed(client, part, bytes, signal);
  if (identity === undefined) {
    return { detail: `${formatBytes(size)} encrypted, every block of ${cid}; not opened`, digest: undefined };
  }
  const archive = openSealed(client.store.read(cid, { maxBytes, signal }), identity, "outputs");
  const digest = await measureOutputs(archive, outputs);
  return { detail: `${files} files, ${formatBytes(bytes)}, decrypted from every block of ${cid}`, digest };
}

/** Checks a log that was to be encrypted, and opens it with an identity. */
export async function checkSealedLog(
  client: Client,
  log: Log,
  part: Part,
  identity: string | undefined,
  { signal }: Context,
): Promise<string> {
  await measureSealed(client, part, log.bytes, signal);
  if (identity === undefined) return `${part.name} encrypted, not opened`;
  const found = (await openLog(client, part, identity, signal)).length;
  if (found !== log.bytes) throw new Error(`${part.name} has ${found} bytes, but the record says ${log.bytes}.`);
  return `${part.name} ${formatBytes(log.bytes)}, decrypted`;
}

/** An encrypted log as it was written. Throws RESULT_INVALID. */
export async function openLog(
  { store }: Client,
  { name, cid, maxBytes }: Part,
  identity: string,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of openSealed(store.read(cid, { maxBytes, signal }), identity, name)) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Bytes of an age file. Throws unless it is one, and larger than what is said to be in it. */
async function measureSealed(
  { store }: Client,
  { name, cid, maxBytes }: Part,
  contentBytes: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  let size = 0;
  for await (const block of store.read(cid, { maxBytes, signal })) {
    if (size === 0 && !looksSealed(block)) throw notSealed(name);
    size += block.length;
  }
  if (size <= contentBytes) throw notSealed(name);
  return size;
}

function notSealed(name: string): MarketError {
  return new MarketError("RESULT_INVALID", `The spec wants ${name} encrypted, and what the node published is not.`);
}
