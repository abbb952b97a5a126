import { fetchContent } from "@berth/content";
import {
  digestToCid,
  MAX_DOCUMENT_BYTES,
  MarketError,
  parseResult,
  parseSpec,
  type Result,
  type Spec,
} from "@berth/protocol";
import { publicationsOf } from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";
import type { Job, JobReplica } from "./get-job.ts";

/** Bound on an evidence bundle, collateral included. */
export const MAX_EVIDENCE_BYTES = 4 * 1024 * 1024;
/** What a sandbox keeps of each of stdout and stderr: the same on every node, as its policy's hash says. */
export const MAX_LOG_BYTES = 4 * 1024 * 1024;
/** An entry of a folder weighs at most this: a name, a CID, sizes, and the block of an empty folder. */
const MAX_ENTRY_BYTES = 512;
/** Folders above one file, and the file. */
const MAX_ENTRIES_PER_FILE = 65;
/** What a DAG may weigh beyond its content: links, folders. */
const OVERHEAD_BYTES = 1024 * 1024;

type Outputs = NonNullable<Result["outputs"]>;

/** Something of a result that is fetched by its CID. */
export interface Part {
  name: "outputs" | "stdout" | "stderr" | "evidence";
  cid: string;
  /** Bound on its blocks. */
  maxBytes: number;
}

/** Everything that a result record points at, bounded by what `spec` allows: a node cannot choose more. Pure. */
export function partsOf(record: Result, spec: Spec): Part[] {
  const { outputs, stdout, stderr, evidence } = record;
  const parts: Part[] = [];
  if (outputs !== null) parts.push(outputsPart(outputs, spec));
  if (stdout !== null) parts.push(logPart("stdout", stdout));
  if (stderr !== null) parts.push(logPart("stderr", stderr));
  if (evidence !== null) parts.push({ name: "evidence", cid: evidence, maxBytes: MAX_EVIDENCE_BYTES });
  return parts;
}

/** The outputs, no larger than the record says and the spec allows. Pure. */
export function outputsPart(outputs: Outputs, spec: Spec): Part {
  const contentBytes = Math.min(outputs.bytes, spec.outputs.maxBytes);
  const entryBytes = maxEntriesOf(outputs, spec) * MAX_ENTRY_BYTES;
  return { name: "outputs", cid: outputs.cid, maxBytes: Math.ceil(contentBytes * 1.05) + entryBytes + OVERHEAD_BYTES };
}

/** Files and folders that outputs may have, by the spec and by the files that the record names. Pure. */
export function maxEntriesOf({ files }: Outputs, spec: Spec): number {
  return Math.min(entriesOf(files), 2 * spec.outputs.maxFiles + 1024);
}

/** The most entries that a folder of so many files has: each may lie deep. Pure. */
export function entriesOf(files: number): number {
  return files * MAX_ENTRIES_PER_FILE + 1000;
}

/** A log, no larger than the record says and a sandbox keeps. Pure. */
export function logPart(name: "stdout" | "stderr", { cid, bytes }: NonNullable<Result["stdout"]>): Part {
  return { name, cid, maxBytes: Math.min(bytes, MAX_LOG_BYTES) + OVERHEAD_BYTES };
}

/** The spec that the requester ordered, whatever a record says. Pure. */
function specPart({ order }: Pick<Job, "order">): Pick<Part, "cid" | "maxBytes"> {
  return { cid: digestToCid(order.specHash), maxBytes: MAX_DOCUMENT_BYTES };
}

/** Gateways that should have a replica's content: the node's own, as the registry names them, then the client's. */
export async function sourcesOf(
  client: Client,
  { operator, index }: JobReplica,
  { signal }: Context = {},
): Promise<string[]> {
  const published = await publicationsOf(client, operator, index, signal);
  const urls = published.reverse().map(({ contentUrl }) => contentUrl);
  return [...new Set([...urls, ...client.contentGateways])].filter((url) => URL.canParse(url));
}

/** Brings one part into the client's store; every block is verified. Throws CONTENT_UNAVAILABLE, CONTENT_TOO_LARGE. */
export async function fetchPart(
  client: Client,
  part: Pick<Part, "cid" | "maxBytes">,
  sources: string[],
  context: Context = {},
): Promise<void> {
  const { signal, log = client.log } = context;
  await fetchContent(part.cid, { sources, store: client.store, maxBytes: part.maxBytes, signal, log });
}

/**
 * The spec that the request commits to, from the client's store or else from `sources`.
 * Throws CONTENT_UNAVAILABLE, CONTENT_TOO_LARGE, SPEC_INVALID.
 */
export async function fetchSpec(
  client: Client,
  job: Pick<Job, "order">,
  sources: string[],
  context: Context = {},
): Promise<Spec> {
  const part = specPart(job);
  await fetchPart(client, part, sources, context);
  const bytes = await client.store.getBytes(part.cid, { maxBytes: part.maxBytes, signal: context.signal });
  try {
    return parseSpec(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch (cause) {
    if (cause instanceof MarketError) throw cause;
    throw new MarketError("SPEC_INVALID", "The spec is not JSON.", { cause });
  }
}

/**
 * The result record that a replica's claim commits to, as its canonical bytes; not more of them than were claimed.
 * Throws NO_RESULT, RESULT_INVALID, CONTENT_TOO_LARGE, CONTENT_UNAVAILABLE.
 */
export async function fetchRecord(
  client: Client,
  replica: JobReplica,
  sources: string[],
  context: Context = {},
): Promise<Uint8Array> {
  if (replica.claim === null) {
    throw new MarketError("NO_RESULT", `Replica ${replica.replica} is ${replica.state}: it has no result.`, {
      hint: "`berth show JOB` says how the job stands.",
    });
  }
  const { resultHash, resultBytes } = replica.claim;
  if (resultBytes > BigInt(MAX_DOCUMENT_BYTES)) {
    throw new MarketError(
      "RESULT_INVALID",
      `A record of ${resultBytes} bytes was claimed; at most ${MAX_DOCUMENT_BYTES} are allowed.`,
    );
  }
  const part = { cid: digestToCid(resultHash), maxBytes: Number(resultBytes) };
  await fetchPart(client, part, sources, context);
  return await client.store.getBytes(part.cid, { maxBytes: part.maxBytes, signal: context.signal });
}

/** A replica's result, complete in the client's store. */
export interface FetchedResult {
  replica: number;
  record: Result;
}

/**
 * Brings the results of a job (spec, record, outputs, logs, evidence) into the client's store.
 * Throws NO_RESULT, CONTENT_UNAVAILABLE, CONTENT_TOO_LARGE (more than the spec allows), SPEC_INVALID, RESULT_INVALID.
 */
export async function fetchResult(client: Client, job: Job, context: Context = {}): Promise<FetchedResult[]> {
  const done = job.replicas.filter(({ claim }) => claim !== null);
  if (done.length === 0) {
    throw new MarketError("NO_RESULT", `The job is ${job.state}: it has no result.`, {
      hint: `\`berth show ${job.jobId}\` says how it stands.`,
    });
  }
  const fetched: FetchedResult[] = [];
  for (const replica of done) {
    const sources = await sourcesOf(client, replica, context);
    const spec = await fetchSpec(client, job, sources, context);
    const record = readRecord(await fetchRecord(client, replica, sources, context));
    for (const part of partsOf(record, spec)) await fetchPart(client, part, sources, context);
    fetched.push({ replica: replica.replica, record });
  }
  return fetched;
}

/** Throws RESULT_INVALID. */
export function readRecord(bytes: Uint8Array): Result {
  try {
    return parseResult(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch (cause) {
    if (cause instanceof MarketError) throw cause;
    throw new MarketError("RESULT_INVALID", "The result record is not JSON.", { cause });
  }
}
