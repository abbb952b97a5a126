import { canonicalBytes, type Evidence, type Hex, jobNonce, MarketError, reportData } from "@berth/protocol";
import type { JobTools } from "../core/ports.ts";
import type { Context } from "../log.ts";
import type { AttemptRow, Change, JobRow } from "../store/journal.ts";
import { keepArtifact } from "./keep.ts";
import { machineOf } from "./prepare.ts";

/** Asks for evidence bound to this very replica, before its container starts, and stores it. */
export async function attestAttempt(
  job: JobRow,
  attempt: AttemptRow,
  tools: JobTools,
  context: Context,
): Promise<Change> {
  const { spec } = attempt.facts;
  if (spec === undefined) throw new Error("an attempt without a spec cannot be attested");
  const { attester, self, deployment, content } = tools;
  if (attester === undefined || attester.type !== spec.attestation) {
    throw new MarketError("ATTEST_UNAVAILABLE", `This node makes no ${spec.attestation} evidence.`, {
      hint: 'Configure "attestation" and run `berth-node doctor`.',
    });
  }
  const imageDigest = `0x${spec.image.digest.slice("sha256:".length)}` as Hex;
  const data = reportData({
    chainId: BigInt(deployment.chainId),
    market: deployment.market,
    jobId: job.jobId,
    replica: job.replica,
    operator: self.operator,
    nodeIndex: self.index,
    specHash: job.terms.job.specHash,
    imageDigest,
    policyHash: machineOf(tools).policyHash,
    wgKey: self.wgKey,
    resultSigner: self.account.address,
    nonce: jobNonce({ offerHash: job.terms.assignment.offerHash, matchedAt: job.matchedAt, jobId: job.jobId }),
  });
  const { signal } = context;
  let evidence: Evidence;
  try {
    evidence = await attester.attest({ reportData: data, imageDigest, phase: "start", signal });
  } catch (error) {
    if (!(error instanceof MarketError) || error.code !== "TPM_LOG_FULL") throw error;
    // Only a reboot empties the log, so trying until it is too late would help nobody.
    context.log.error({ reason: error.message, hint: error.hint }, "no image is attested any more that was not before");
    const message = "This node can attest no image that it has not attested since it was started (TPM_LOG_FULL).";
    return { state: "collected", outcome: "cancelled", message, facts: { finishedAt: Date.now() } };
  }
  const { cid, size } = await content.addBytes(canonicalBytes(evidence), { signal });
  await keepArtifact(job, attempt, { kind: "evidence", cid, bytes: size }, tools, context);
  return { state: "attested", facts: { evidence: cid } };
}
