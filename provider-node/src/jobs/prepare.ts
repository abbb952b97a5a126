import { mkdir, opendir, rm } from "node:fs/promises";
import { join } from "node:path";
import { fetchContent, type Source } from "@berth/content";
import { digestToCid, MarketError, type Outcome, type Spec } from "@berth/protocol";
import { attemptName } from "../core/attempt-name.ts";
import { readSpec } from "../core/check-spec.ts";
import { deadlinesOf } from "../core/deadlines.ts";
import type { JobTools, Machine } from "../core/ports.ts";
import { freeBytesOf } from "../disk.ts";
import type { AttemptSpec } from "../engine/types.ts";
import { holdImage } from "../image/cache.ts";
import type { Context } from "../log.ts";
import { assertSealable } from "../output/seal.ts";
import type { AttemptFacts, AttemptRow, Change, JobRow } from "../store/journal.ts";
import { boundedBy, isPast, STEP_OVERDUE } from "./deadline.ts";

const MAX_SPEC_BYTES = 256 * 1024;
/** Folders and files of the image layout and the inputs of one attempt: this many for each MiB, and never more than the last. */
const ENTRIES_PER_MIB = 64;
const [LEAST_ENTRIES, MOST_ENTRIES] = [1024, 1_000_000];
/** Files of an OCI layout that did not come as one folder from IPFS: its blobs, at most, and two more. */
const LAYOUT_ENTRIES = 132;
/** Whose pin keeps an image's layout for other nodes. */
const SHARE_OWNER = "image";

/** What one attempt may still bring onto this machine's disk: its image and all its inputs share it. */
interface Budget {
  bytes: number;
  entries: number;
}

/**
 * Fetches and verifies what the job needs, and makes its container. What the requester did wrong ends in `collected` with
 * an outcome that says so, as does what is not there by the time to start; what this machine cannot do just now is thrown
 * and tried again.
 * @param trouble what the last try failed with: when the time is over, that is why
 */
export async function prepareAttempt(
  job: JobRow,
  attempt: AttemptRow,
  tools: JobTools,
  context: Context,
  trouble?: unknown,
): Promise<Change> {
  let facts: AttemptFacts = {};
  const startBy = () => deadlinesOf(job, facts.spec).startBy;
  try {
    const spec = await inTime(startBy(), tools, context, (own) => fetchSpec(job, tools, own));
    facts = { ...facts, spec };
    assertServed(spec, job, tools);
    await assertSealable(spec.outputs.encryptTo ?? []);
    // Until a container is made of it, nothing else says that the image is needed.
    using _held = holdImage(spec.image.digest);
    await inTime(startBy(), tools, context, async (own) => {
      const fetched = await fetchAll(job, attempt, spec, tools, own);
      // What an earlier try brought is here already, and came in all the same.
      facts = { ...facts, inBytes: Math.max(fetched, tools.intake?.of(job) ?? 0) };
      await makeContainer(job, attempt, spec, tools, own);
    });
    return { state: "prepared", facts };
  } catch (thrown) {
    await rm(stagingOf(attempt, tools), { recursive: true, force: true });
    context.signal.throwIfAborted();
    const error = isOverdue(thrown) ? (trouble ?? thrown) : thrown;
    const verdict = verdictOf(error, isPast(startBy(), tools));
    if (verdict === undefined) throw thrown;
    context.log.info({ err: error, outcome: verdict }, "the job cannot be run");
    const message = publicReason(error, verdict, tools);
    if (isBroken(error)) facts = { ...facts, unserved: true };
    return { state: "collected", outcome: verdict, message, facts: { ...facts, finishedAt: Date.now() } };
  }
}

/** Makes the container of an attempt whose content was fetched before. */
export async function remakeContainer(
  job: JobRow,
  attempt: AttemptRow,
  tools: JobTools,
  context: Context,
): Promise<void> {
  const { spec } = attempt.facts;
  if (spec === undefined) throw new Error("an attempt without a spec cannot have been prepared");
  await inTime(deadlinesOf(job, spec).startBy, tools, context, async (own) => {
    await fetchAll(job, attempt, spec, tools, own);
    await makeContainer(job, attempt, spec, tools, own);
  });
}

/** Runs a step until `until`, and only while the disk has room. */
async function inTime<T>(
  until: number,
  tools: JobTools,
  context: Context,
  step: (context: Context) => Promise<T>,
): Promise<T> {
  using bounded = boundedBy(until, tools, context, () => assertRoom(tools));
  return await step(bounded.context);
}

function assertRoom({ stagingDir, minFreeBytes }: JobTools): void {
  if (freeBytesOf(stagingDir) >= minFreeBytes) return;
  throw new MarketError("DISK_LOW", `Less than ${Math.round(minFreeBytes / 2 ** 20)} MiB of the disk are free.`, {
    hint: "Free some space, or lower maxContentMiB, images.cacheMiB or minFreeMiB.",
    retryable: true,
  });
}

function assertServed({ outputs, attestation, isolation }: Spec, job: JobRow, tools: JobTools): void {
  const { maxOutputFiles, attester } = tools;
  if (outputs.maxFiles > maxOutputFiles) {
    const message = `The spec allows ${outputs.maxFiles} output files; this node collects ${maxOutputFiles} at most.`;
    throw new MarketError("SPEC_REFUSED", message);
  }
  // What is not made here was never offered: a request with the trait would have got another node.
  if (attestation !== "none" && attester?.type !== attestation) {
    const message = `The spec asks for ${attestation} evidence, which this node does not offer; ask for the trait attest-${attestation}.`;
    throw new MarketError("SPEC_REFUSED", message);
  }
  if (isolation === "gvisor") assertGvisor(job, tools);
}

/** A job that asks for gVisor never runs without it: whose fault that is depends on what was offered to whom. */
function assertGvisor({ matchedAt }: JobRow, { servesGvisor = () => false, hadOffered }: JobTools): void {
  const serves = servesGvisor();
  if (serves === undefined) {
    throw new MarketError("ENGINE_UNAVAILABLE", "Whether gVisor works here is not known yet.", { retryable: true });
  }
  if (serves) return;
  if (hadOffered?.("isolation-gvisor", matchedAt) === true) {
    throw new MarketError(PROMISE_BROKEN, "This node offered gVisor, and can no longer run jobs in it.");
  }
  const message = "The spec asks for gVisor, which this node does not offer; ask for the trait isolation-gvisor.";
  throw new MarketError("SPEC_REFUSED", message);
}

/** Throws CONTENT_UNAVAILABLE, SPEC_INVALID. */
export async function fetchSpec(job: JobRow, tools: JobTools, context: Context): Promise<Spec> {
  const cid = digestToCid(job.terms.job.specHash);
  try {
    await fetch(cid, MAX_SPEC_BYTES, job, tools, context);
  } catch (cause) {
    if (!(cause instanceof MarketError) || cause.code !== "CONTENT_TOO_LARGE") throw cause;
    throw new MarketError("SPEC_INVALID", `The spec has more than ${MAX_SPEC_BYTES} bytes.`, { cause });
  }
  const { signal } = context;
  return readSpec(await tools.content.getBytes(cid, { maxBytes: MAX_SPEC_BYTES, signal }), job.terms.job);
}

/** Brings in the image and the inputs. Returns the bytes fetched. */
async function fetchAll(
  job: JobRow,
  attempt: AttemptRow,
  spec: Spec,
  tools: JobTools,
  context: Context,
): Promise<number> {
  const staging = stagingOf(attempt, tools);
  const budget = budgetOf(tools);
  await mkdir(staging, { recursive: true, mode: 0o711 });
  let bytes = await bringImage(spec.image, join(staging, "image"), budget, job, tools, context);
  for (const [at, input] of spec.inputs.entries()) {
    bytes += await bring(input.cid, inputDir(attempt, at, tools), budget, job, tools, context);
  }
  return bytes;
}

/** Sees to it that the image is in the engine's store, and takes what that needed off the budget. Returns the bytes fetched. */
async function bringImage(
  image: Spec["image"],
  target: string,
  budget: Budget,
  job: JobRow,
  tools: JobTools,
  context: Context,
): Promise<number> {
  const machine = machineOf(tools);
  const { images } = tools;
  const { digest } = image;
  if (images.isAccepted(digest) && (await machine.hasImage(digest, context))) {
    await share(image, tools, context);
    return 0;
  }
  const maxBytes = budget.bytes;
  let left: Budget | undefined;
  const fromIpfs = async (cid: string) => {
    left = { ...budget };
    return await bring(cid, target, left, job, tools, context, images.peersFor(digest));
  };
  const use = (layout: string) => machine.importImage(layout, digest, context, maxBytes);
  try {
    const bytes = await images.bring(image, { target, maxBytes, fromIpfs, use }, context);
    const spent = { bytes: maxBytes - bytes, entries: budget.entries - LAYOUT_ENTRIES };
    Object.assign(budget, left ?? spent);
    await share(image, tools, context);
    return bytes;
  } catch (cause) {
    const isLate = context.signal.aborted && isOverdue(context.signal.reason);
    if (!isLate) throw cause;
    throw new MarketError("CONTENT_UNAVAILABLE", `No place delivered the image ${digest}.`, { retryable: true, cause });
  }
}

/** Keeps an image that came from IPFS for other nodes, for a while. That it cannot be kept is no reason not to run it. */
async function share({ cid }: Spec["image"], { images, content }: JobTools, { signal, log }: Context): Promise<void> {
  const until = images.shareUntil();
  if (cid === undefined || until === undefined) return;
  try {
    if (await content.has(cid, { signal })) await content.pin(cid, until, { owner: SHARE_OWNER, signal });
  } catch (error) {
    signal.throwIfAborted();
    log.warn({ err: error, cid }, "image is not kept for other nodes");
  }
}

function budgetOf({ maxContentBytes }: JobTools): Budget {
  const entries = Math.floor(maxContentBytes / 2 ** 20) * ENTRIES_PER_MIB;
  return { bytes: maxContentBytes, entries: Math.min(MOST_ENTRIES, Math.max(LEAST_ENTRIES, entries)) };
}

/** Fetches `cid` and writes it to `target`, and takes what that needed off the budget. Returns the bytes fetched. */
async function bring(
  cid: string,
  target: string,
  budget: Budget,
  job: JobRow,
  tools: JobTools,
  context: Context,
  also: readonly Source[] = [],
): Promise<number> {
  const { signal } = context;
  const fetched = await fetch(cid, budget.bytes, job, tools, context, also);
  // A crash may have left an older copy, or half of one.
  await rm(target, { recursive: true, force: true });
  const limits = { maxBytes: budget.bytes, maxEntries: budget.entries, signal };
  const { bytes } = await tools.content.exportTo(cid, target, limits);
  // A block that is linked many times is sent once and written many times.
  budget.bytes -= Math.max(fetched, bytes);
  budget.entries -= await entriesBelow(target);
  return fetched;
}

async function entriesBelow(path: string): Promise<number> {
  let entries = 1;
  try {
    for await (const _ of await opendir(path, { recursive: true })) entries += 1;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOTDIR") throw error;
  }
  return entries;
}

async function makeContainer(
  job: JobRow,
  attempt: AttemptRow,
  spec: Spec,
  tools: JobTools,
  context: Context,
): Promise<void> {
  await machineOf(tools).engine.prepare(attemptSpecOf(job, attempt, spec, tools), context);
}

function attemptSpecOf(job: JobRow, attempt: AttemptRow, spec: Spec, tools: JobTools): AttemptSpec {
  return {
    name: attemptName(tools.self.runId, attempt),
    jobId: job.jobId,
    replica: job.replica,
    attempt: attempt.attempt,
    imageDigest: spec.image.digest,
    command: spec.command,
    ...(spec.entrypoint !== undefined && { entrypoint: spec.entrypoint }),
    env: spec.env,
    ...(spec.workdir !== undefined && { workdir: spec.workdir }),
    resources: spec.resources,
    maxSeconds: spec.timeouts.runSeconds,
    inputs: spec.inputs.map(({ path }, at) => ({ hostDir: inputDir(attempt, at, tools), path })),
    outputPath: spec.outputs.path,
    outputs: { maxBytes: spec.outputs.maxBytes, maxFiles: spec.outputs.maxFiles },
    network: "none",
    ...(spec.isolation === "gvisor" && { isolation: spec.isolation }),
  };
}

/** Where a source is and what it answered is for this node's log alone: requesters choose whom we ask. */
async function fetch(
  cid: string,
  maxBytes: number,
  job: JobRow,
  tools: JobTools,
  context: Context,
  also: readonly Source[] = [],
): Promise<number> {
  const { signal, log } = context;
  try {
    const sources = [...(await tools.sourcesOf(job, context)), ...also];
    const onProgress = ({ bytes }: { bytes: number }) => tools.intake?.note(job, cid, bytes);
    const options = { sources, store: tools.content, maxBytes, signal, log, onProgress };
    const { size, source } = await fetchContent(cid, options);
    return source === undefined ? 0 : size;
  } catch (cause) {
    if (!(cause instanceof MarketError)) throw cause;
    const missing = cause.code === "CONTENT_UNAVAILABLE" || cause.code === STEP_OVERDUE;
    if (!missing) throw cause;
    throw new MarketError("CONTENT_UNAVAILABLE", `No source delivered ${cid}.`, { retryable: true, cause });
  }
}

/** The folder of everything that an attempt has on its way. */
export function stagingOf(attempt: AttemptRow, { self, stagingDir }: JobTools): string {
  return join(stagingDir, attemptName(self.runId, attempt));
}

/** Where an attempt's outputs and logs lie encrypted until they are on their way to the chain. */
export function sealedDirOf(attempt: AttemptRow, tools: JobTools): string {
  return join(stagingOf(attempt, tools), "sealed");
}

function inputDir(attempt: AttemptRow, at: number, tools: JobTools): string {
  return join(stagingOf(attempt, tools), `input-${at}`);
}

/** The engine, or why there is none. */
export function machineOf({ machine }: JobTools): Machine {
  if (machine !== undefined) return machine;
  throw new MarketError("ENGINE_UNAVAILABLE", "This machine cannot run containers just now.", {
    hint: "Run `berth-node doctor` to see what is missing.",
    retryable: true,
  });
}

const imageFaults = [
  "IMAGE_DIGEST_MISMATCH",
  "IMAGE_BLOB_MISSING",
  "IMAGE_REFERENCE_REFUSED",
  "IMAGE_REFUSED",
  "IMAGE_TOO_LARGE",
  "IMAGE_UNSIGNED",
];
/** What this node offered, it does not have any more. */
const PROMISE_BROKEN = "PROMISE_BROKEN";
const contentFaults = ["CONTENT_TOO_LARGE", "CONTENT_INVALID", "CONTENT_UNSAFE", "CID_INVALID"];

/** Did the step end because its time was over, in the middle of a fetch or elsewhere? */
function isOverdue(error: unknown): boolean {
  return error instanceof MarketError && (error.code === STEP_OVERDUE || isOverdue(error.cause));
}

function isBroken(error: unknown): boolean {
  return error instanceof MarketError && error.code === PROMISE_BROKEN;
}

/** Whose fault it is that there will be no run; undefined when it is not settled yet. */
function verdictOf(error: unknown, late: boolean): Outcome | undefined {
  if (!(error instanceof MarketError)) return late ? "cancelled" : undefined;
  const { code } = error;
  if (["SPEC_INVALID", "SPEC_REFUSED"].includes(code)) return "spec-invalid";
  if (isBroken(error)) return "cancelled";
  if (imageFaults.includes(code)) return "image-mismatch";
  if (contentFaults.includes(code)) return "inputs-unavailable";
  if (!late) return undefined;
  return code.startsWith("CONTENT_") ? "inputs-unavailable" : "cancelled";
}

/** What a result may say, for everyone reads it: of this machine no more than an error code. */
function publicReason(error: unknown, verdict: Outcome, { stagingDir }: JobTools): string {
  if (!(error instanceof MarketError)) return "The job could not be started in time (INTERNAL).";
  if (isBroken(error)) return error.message;
  if (verdict === "cancelled") return `The job could not be started in time (${error.code}).`;
  return error.message.replaceAll(stagingDir, "");
}
