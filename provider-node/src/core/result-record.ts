import {
  canonicalBytes,
  chargeOfDown,
  type Deployment,
  digestToCid,
  type Hex,
  type Outcome,
  type Result,
  resultTypedData,
  type UnsignedResult,
} from "@berth/protocol";
import { sha256 } from "viem";
import type { AttemptRow, JobRow } from "../store/journal.ts";
import type { Self } from "./ports.ts";

export interface SignedRecord {
  result: Result;
  /** Canonical JSON: what is hashed, stored and served. */
  bytes: Uint8Array;
  cid: string;
  claim: { resultHash: Hex; resultBytes: bigint; charge: bigint };
}

/** Makes and signs the result record of a collected attempt. The same attempt gives the same bytes every time. */
export async function signResult(
  job: JobRow,
  attempt: AttemptRow,
  { self, deployment, policyHash }: { self: Self; deployment: Deployment; policyHash: Hex },
): Promise<SignedRecord> {
  const unsigned = unsignedResult(job, attempt, { self, deployment, policyHash });
  const domain = { chainId: deployment.chainId, market: deployment.market };
  const signature = await self.account.signTypedData(resultTypedData(domain, unsigned));
  const result: Result = { ...unsigned, signature };
  const bytes = canonicalBytes(result);
  const resultHash = sha256(bytes);
  const claim = { resultHash, resultBytes: BigInt(bytes.length), charge: BigInt(unsigned.charge) };
  return { result, bytes, cid: digestToCid(resultHash), claim };
}

function unsignedResult(
  job: JobRow,
  { attempt, outcome, message, facts, since }: AttemptRow,
  { self, deployment, policyHash }: { self: Self; deployment: Deployment; policyHash: Hex },
): UnsignedResult {
  const { terms, replica } = job;
  const usage = facts.usage ?? { wallMs: 0, cpuNs: "0", peakBytes: 0 };
  const ended: Outcome = outcome ?? "lost";
  // The market pays for no more time than has passed on its chain, so a clock that jumped must not make the claim invalid.
  const earnedSeconds = Math.min(Math.floor(usage.wallMs / 1000), Math.max(0, since - job.matchedAt));
  // A run whose end or outputs this node lost is of use to nobody.
  const chargedSeconds = ended === "lost" ? 0 : earnedSeconds;
  return {
    version: 1,
    chainId: deployment.chainId,
    market: deployment.market,
    jobId: job.jobId,
    replica,
    operator: self.operator,
    index: self.index,
    attempt,
    specHash: terms.job.specHash,
    imageDigest: facts.spec?.image.digest ?? null,
    outcome: ended,
    exitCode: ended === "exited" ? (facts.exitCode ?? null) : null,
    message: ended === "exited" ? "" : message.slice(0, 4096),
    startedAt: facts.startedAt === undefined ? null : new Date(facts.startedAt).toISOString(),
    finishedAt: new Date(facts.finishedAt ?? 0).toISOString(),
    usage: {
      ...usage,
      // Nobody else had them meanwhile.
      gpuMs: usage.wallMs * terms.job.gpus,
      inBytes: facts.inBytes ?? 0,
      outBytes: facts.outputs?.bytes ?? 0,
    },
    outputs: facts.outputs ?? null,
    stdout: facts.stdout ?? null,
    stderr: facts.stderr ?? null,
    evidence: facts.evidence ?? null,
    policyHash,
    charge: facts.unserved === true ? "0" : String(chargeOfDown(terms, chargedSeconds)),
    signer: self.account.address.toLowerCase() as Hex,
  };
}
