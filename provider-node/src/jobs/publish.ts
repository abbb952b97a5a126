import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fetchContent, openScratchStore } from "@berth/content";
import { deadlinesOf } from "../core/deadlines.ts";
import type { JobTools } from "../core/ports.ts";
import { signResult } from "../core/result-record.ts";
import type { Context } from "../log.ts";
import type { AttemptRow, Change, JobRow } from "../store/journal.ts";
import { boundedBy } from "./deadline.ts";
import { keepArtifact } from "./keep.ts";
import { sealedDirOf, stagingOf } from "./prepare.ts";

/** From this many seconds before the submit deadline on, a result goes on chain although it could not be read back. */
const READ_BACK_RESERVE_SECONDS = 60;
const NO_POLICY = `0x${"0".repeat(64)}` as const;

/** Signs the result record, stores it, and reads everything back through the address that the world uses. */
export async function publishAttempt(
  job: JobRow,
  attempt: AttemptRow,
  tools: JobTools,
  context: Context,
): Promise<Change> {
  const { self, deployment, content } = tools;
  // What was collected is in the journal: it is not sealed again.
  await rm(sealedDirOf(attempt, tools), { recursive: true, force: true });
  const policyHash = tools.machine?.policyHash ?? NO_POLICY;
  const { bytes, cid, claim } = await signResult(job, attempt, { self, deployment, policyHash });
  await content.addBytes(bytes, { signal: context.signal });
  await keepArtifact(job, attempt, { kind: "result", cid, bytes: bytes.length }, tools, context);
  await readBack(job, attempt, tools, context);
  const { resultHash, resultBytes, charge } = claim;
  return {
    state: "published",
    facts: { claim: { resultHash, resultBytes: String(resultBytes), charge: String(charge), cid } },
  };
}

/** Fetches every artifact from the node's public address into an empty store: every block is verified on the way. */
async function readBack(job: JobRow, attempt: AttemptRow, tools: JobTools, context: Context): Promise<void> {
  const { log } = context;
  const { submitBy } = deadlinesOf(job, attempt.facts.spec);
  const reserve = Math.min(READ_BACK_RESERVE_SECONDS, Math.floor(job.terms.job.submitWindow / 4));
  using bounded = boundedBy(submitBy - reserve, tools, context);
  const { signal } = bounded.context;
  const dir = join(stagingOf(attempt, tools), "read-back");
  await rm(dir, { recursive: true, force: true });
  const store = await openScratchStore({ dir });
  try {
    for (const { cid, bytes } of tools.journal.artifacts(job.jobId, job.replica)) {
      await fetchContent(cid, { sources: [tools.self.publicUrl], store, maxBytes: bytes + 1024, signal, log });
    }
  } catch (error) {
    context.signal.throwIfAborted();
    if (!bounded.isOver()) throw error;
    log.warn(
      { job: job.jobId, replica: job.replica, url: tools.self.publicUrl, err: error },
      "result could not be read back",
    );
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
