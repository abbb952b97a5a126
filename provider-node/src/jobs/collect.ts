import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { Outcome, Spec } from "@berth/protocol";
import { attemptName } from "../core/attempt-name.ts";
import { type Deadlines, deadlinesOf } from "../core/deadlines.ts";
import type { JobTools } from "../core/ports.ts";
import type { CapturedLog, AttemptState as ContainerState, Usage } from "../engine/types.ts";
import type { Context } from "../log.ts";
import { archiveOutputs, skippedLines } from "../output/archive.ts";
import { type Collected, collectOutputs } from "../output/collect.ts";
import { sealOnce } from "../output/seal.ts";
import type { AttemptFacts, AttemptRow, Change, JobRow } from "../store/journal.ts";
import { boundedBy, isPast } from "./deadline.ts";
import { keepArtifact } from "./keep.ts";
import { machineOf, sealedDirOf, stagingOf } from "./prepare.ts";

/** Reads what an ended container left: its end, its usage, its outputs and its logs. All of it is the job's word. */
export async function collectAttempt(
  job: JobRow,
  attempt: AttemptRow,
  tools: JobTools,
  context: Context,
): Promise<Change> {
  const { engine } = machineOf(tools);
  const { spec } = attempt.facts;
  if (spec === undefined) throw new Error("an attempt without a spec cannot have run");
  const name = attemptName(tools.self.runId, attempt);
  const state = await engine.inspect(name, context);
  if (state.phase !== "exited") {
    const message = "The container vanished before its outputs were collected.";
    return { state: "collected", outcome: "lost", message, facts: { finishedAt: Date.now() } };
  }
  const inTime = <T>(what: string, step: (own: Context) => Promise<T>) =>
    orLeftOut(what, step, { ...deadlinesOf(job, spec), endedAt: attempt.since }, tools, context);
  const usage = await inTime("usage", (own) => engine.usage(name, own));
  const logs = await inTime("logs", (own) => engine.logs(name, own));
  const logOf = async (kind: "stdout" | "stderr") =>
    logs && (await inTime(kind, (own) => addLog(job, attempt, spec, kind, logs[kind], tools, own)));
  const stdout = await logOf("stdout");
  const stderr = await logOf("stderr");
  const outputs = await inTime("outputs", (own) => addOutputs(job, attempt, spec, tools, own));
  const facts: AttemptFacts = {
    ...(usage !== undefined && { usage: metered(usage) }),
    finishedAt: (state.finishedAt ?? new Date()).getTime(),
    ...(state.startedAt !== undefined && { startedAt: state.startedAt.getTime() }),
    exitCode: state.exitCode ?? null,
    ...(stdout !== undefined && { stdout }),
    ...(stderr !== undefined && { stderr }),
    ...(outputs !== undefined && "cid" in outputs && { outputs }),
  };
  return { state: "collected", ...withOutputs(outcomeOf(state, spec), outputs), facts };
}

function metered({ wallMs, cpuNs, peakBytes }: Usage): NonNullable<AttemptFacts["usage"]> {
  return { wallMs: Math.round(wallMs), cpuNs: String(cpuNs), peakBytes };
}

/** A run that did not end by itself keeps that as its outcome, also without its outputs. */
function withOutputs(end: End, outputs: Outputs | { problem: string } | undefined): End {
  if (outputs !== undefined && "cid" in outputs) return end;
  if (outputs !== undefined) {
    return end.outcome === "exited" ? { outcome: "output-too-large", message: outputs.problem } : end;
  }
  const missing = "Its outputs could not be collected before the result was due (OUTPUTS_NOT_COLLECTED).";
  // What this node did not bring home is its own loss, and no verdict on the job.
  if (end.outcome === "exited") return { outcome: "lost", message: `The command ended. ${missing}` };
  return { outcome: end.outcome, message: `${end.message} ${missing}` };
}

function outcomeOf(state: ContainerState, spec: Spec): End {
  if (state.timedOut === true) {
    return { outcome: "timed-out", message: `The command ran past ${spec.timeouts.runSeconds} s and was stopped.` };
  }
  if (state.oomKilled === true) {
    return {
      outcome: "out-of-memory",
      message: `The command needed more than ${spec.resources.memoryMiB} MiB of memory.`,
    };
  }
  if (state.cancelled === true) return { outcome: "cancelled", message: "The run was stopped before it ended." };
  return { outcome: "exited", message: "" };
}

type Collection = Extract<Collected, { ok: true }>;
type Outputs = NonNullable<AttemptFacts["outputs"]>;
type End = { outcome: Outcome; message: string };

/**
 * What this machine cannot do just now is thrown and tried again; from the time on that the result is due it is left out:
 * one that lacks something still gets there.
 */
async function orLeftOut<T>(
  what: string,
  step: (context: Context) => Promise<T>,
  { reportBy, submitBy, endedAt }: Pick<Deadlines, "reportBy" | "submitBy"> & { endedAt: number },
  tools: JobTools,
  context: Context,
): Promise<T | undefined> {
  const dueAt = Math.max(reportBy, Math.floor((endedAt + submitBy) / 2));
  const isDue = isPast(dueAt, tools);
  // A node that comes back late still has half of what is left.
  const until = Math.max(dueAt, Math.floor((tools.now() + submitBy) / 2));
  using bounded = boundedBy(until, tools, context);
  try {
    return await step(bounded.context);
  } catch (error) {
    context.signal.throwIfAborted();
    if (!isDue && !bounded.isOver()) throw error;
    context.log.warn({ err: error }, `${what} left out, for the result is due`);
    return undefined;
  }
}

async function addOutputs(
  job: JobRow,
  attempt: AttemptRow,
  spec: Spec,
  tools: JobTools,
  context: Context,
): Promise<Outputs | { problem: string }> {
  const dir = await machineOf(tools).engine.outputDir(attemptName(tools.self.runId, attempt), context);
  const collected = await collectOutputs(dir, spec.outputs, context);
  if (!collected.ok) {
    const { what, limit, atLeast } = collected.tooLarge;
    return { problem: `The outputs have at least ${atLeast} ${what}; the spec allows ${limit}.` };
  }
  const add = spec.outputs.encryptTo === undefined ? addPlain : addSealed;
  return await add(job, attempt, spec, collected, tools, context);
}

async function addPlain(
  job: JobRow,
  attempt: AttemptRow,
  spec: Spec,
  { files, skipped }: Collection,
  tools: JobTools,
  context: Context,
): Promise<Outputs> {
  // Only what was checked file by file is copied out, so nothing in the volume can change what is added.
  const copy = join(stagingOf(attempt, tools), "outputs");
  await rm(copy, { recursive: true, force: true });
  await mkdir(copy, { recursive: true, mode: 0o700 });
  try {
    for (const file of files) {
      const target = join(copy, file.path);
      await mkdir(dirname(target), { recursive: true });
      await pipeline(file.content(), createWriteStream(target, { flags: "wx" }), { signal: context.signal });
    }
    const limits = { maxBytes: spec.outputs.maxBytes, maxEntries: 2 * spec.outputs.maxFiles + 1024 };
    const added = await tools.content.addPath(copy, { ...limits, signal: context.signal });
    await keepArtifact(job, attempt, { kind: "outputs", cid: added.cid, bytes: added.size }, tools, context);
    return { cid: added.cid, bytes: added.contentBytes, files: added.files, skipped: skippedLines(skipped) };
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

/** Nothing of the outputs reaches the disk or the store but as the age file; names of what was left out are in it too. */
async function addSealed(
  job: JobRow,
  attempt: AttemptRow,
  spec: Spec,
  { files, skipped, bytes }: Collection,
  tools: JobTools,
  context: Context,
): Promise<Outputs> {
  const archive = () => archiveOutputs(files, skippedLines(skipped));
  const { cid } = await addSealedFile(job, attempt, spec, "outputs", archive, tools, context);
  return { cid, bytes, files: files.length, skipped: [] };
}

async function addSealedFile(
  job: JobRow,
  attempt: AttemptRow,
  { outputs: { encryptTo = [] } }: Spec,
  kind: "outputs" | "stdout" | "stderr",
  content: () => AsyncIterable<Uint8Array>,
  tools: JobTools,
  context: Context,
): Promise<{ cid: string }> {
  const path = await sealOnce(sealedDirOf(attempt, tools), kind, content, encryptTo, context);
  const { cid, size } = await tools.content.addPath(path, { signal: context.signal });
  await keepArtifact(job, attempt, { kind, cid, bytes: size }, tools, context);
  return { cid };
}

async function addLog(
  job: JobRow,
  attempt: AttemptRow,
  spec: Spec,
  kind: "stdout" | "stderr",
  captured: CapturedLog,
  tools: JobTools,
  context: Context,
): Promise<NonNullable<AttemptFacts["stdout"]>> {
  const { bytes, truncated } = captured;
  if (spec.outputs.encryptTo !== undefined) {
    const content = () => createReadStream(captured.path) as AsyncIterable<Uint8Array>;
    return { ...(await addSealedFile(job, attempt, spec, kind, content, tools, context)), bytes, truncated };
  }
  const { cid, size } = await tools.content.addBytes(await readFile(captured.path), { signal: context.signal });
  await keepArtifact(job, attempt, { kind, cid, bytes: size }, tools, context);
  return { cid, bytes, truncated };
}
