import { lstat } from "node:fs/promises";
import { resolve } from "node:path";
import { fetchContent } from "@berth/content";
import { MarketError, type Spec } from "@berth/protocol";
import type { Client, Context } from "../client.ts";

/** What a job gets to read: a local file or folder, or content that has a CID already. */
export interface InputSource {
  /** Path on this machine, or `ipfs:CID`. */
  source: string;
  /** Where the container sees it. */
  path: string;
}

/** Reads `PATH:/mount` or `ipfs:CID:/mount`. Throws INPUT_INVALID. */
export function parseInput(text: string): InputSource {
  const at = text.lastIndexOf(":/");
  if (at > 0) return { source: text.slice(0, at), path: text.slice(at + 1) };
  throw new MarketError("INPUT_INVALID", `"${text}" does not say where the input goes.`, {
    hint: "Write it as PATH:/folder/in/the/container.",
  });
}

/** Bound on the blocks of one input, as nodes have it by default. */
const MAX_INPUT_BYTES = 16 * 2 ** 30;

/**
 * Brings inputs into the client's store, so that a missing one is known before any money moves.
 * Throws INPUT_NOT_FOUND, INPUT_REFUSED, CONTENT_UNAVAILABLE, CONTENT_TOO_LARGE.
 */
export async function addInputs(
  client: Client,
  inputs: readonly InputSource[],
  context: Context = {},
): Promise<Spec["inputs"]> {
  const added: Spec["inputs"] = [];
  for (const { source, path } of inputs) {
    added.push({ cid: await addInput(client, source, context), path });
  }
  return added;
}

async function addInput(client: Client, source: string, context: Context): Promise<string> {
  const { signal, log = client.log } = context;
  const cid = /^ipfs:(?:\/\/)?(\w+)$/.exec(source)?.[1];
  if (cid !== undefined) {
    const sources = [...client.contentGateways];
    return (await fetchContent(cid, { sources, store: client.store, maxBytes: MAX_INPUT_BYTES, signal, log })).cid;
  }
  const path = resolve(source);
  if ((await lstat(path).catch(() => undefined)) === undefined) {
    throw new MarketError("INPUT_NOT_FOUND", `There is nothing at ${path} to give to the job.`);
  }
  const { cid: root, skipped } = await client.store.addPath(path, { signal });
  const [first] = skipped;
  if (first === undefined) return root;
  throw new MarketError(
    "INPUT_REFUSED",
    `${skipped.length} entries of ${path} cannot travel: ${first.path} (${first.why})…`,
    {
      hint: "Inputs are regular files with portable names; replace links by what they point to.",
    },
  );
}
