import { type Address, type Evidence, evidenceSchema, type Hex, type UnixSeconds } from "@berth/protocol";
import { type Check, failed, passed } from "./checks.ts";
import { verifyTpm2 } from "./verify-tpm2.ts";

/** What the evidence must be about, whom the caller trusts, and what time it is. */
export interface EvidenceContext {
  /** From `reportData`, computed by the caller from the chain and its own copy of the spec. */
  reportData: Hex;
  /** sha256 of the OCI platform manifest that had to run. */
  imageDigest: Hex;
  /** The node that the job was matched to: an endorsement of another one does not count. */
  operator: Address;
  nodeIndex: number;
  now: UnixSeconds;
  trust: TrustAnchors;
  policy?: EvidencePolicy;
}

/** Nothing is trusted by default. An authority counts only as the kind it is listed as. */
export interface TrustAnchors {
  tpmAuthorities: readonly { publicKey: Hex; kind: "software" | "hardware" }[];
}

export interface EvidencePolicy {
  /** Values that registers must have (say, a known firmware and kernel), by index. */
  pcrs?: Readonly<Record<string, Hex>>;
  /** Refuses evidence that says it is older. The node's own clock says so; the nonce is what proves freshness. */
  maxAgeSeconds?: number;
  /** Refuses evidence below this tier. */
  minTier?: Tier;
}

/** 0 proves nothing; 1 a software TPM; 2 a hardware TPM (a measured boot, but no confidentiality). */
export type Tier = 0 | 1 | 2;

/** What the evidence amounts to. */
export interface EvidenceResult {
  /** Did every check pass? */
  ok: boolean;
  /** `warning`: sound, but made by software that proves no hardware. `none`: nothing was claimed. */
  verdict: "affirming" | "warning" | "contraindicated" | "none";
  tier: Tier;
  kind: EvidenceKind;
  checks: Check[];
}
export type EvidenceKind = "software-tpm" | "hardware-tpm" | "untrusted-tpm" | "exec" | "none" | "unknown";

/** How far into the future a node's clock may be. */
const MAX_CLOCK_SKEW_SECONDS = 300;

/**
 * Judges an evidence document. Uses no network and no clock of its own, never throws for bad evidence, and says for
 * every check whether it passed and why. Anything that it does not know is refused.
 */
export async function verifyEvidence(document: unknown, context: EvidenceContext): Promise<EvidenceResult> {
  const parsed = evidenceSchema.safeParse(document);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const detail = `The evidence is not a document this version knows: ${issue?.path.join(".")} ${issue?.message}`;
    return conclude("unknown", [failed("document", detail)]);
  }
  const evidence = parsed.data;
  const checks = [
    passed("document", `type ${evidence.type}, format ${evidence.format}`),
    ...checkCommon(evidence, context),
  ];
  switch (evidence.type) {
    case "none":
      return conclude("none", [...checks, failed("attestation", "The node attests nothing.")]);
    case "exec":
      return conclude("exec", [
        ...checks,
        failed("attestation", `No verifier here knows the format ${evidence.format}.`),
      ]);
    case "tpm2": {
      const tpm = await verifyTpm2(evidence, context);
      checks.push(...tpm.checks);
      const tier = tierOf(tpm.kind);
      const { minTier } = context.policy ?? {};
      if (minTier !== undefined)
        checks.push(
          tier >= minTier
            ? passed("policy.tier", `tier ${tier}`)
            : failed("policy.tier", `tier ${tier} (${tpm.kind}), but the policy asks for ${minTier}`),
        );
      return conclude(tpm.kind, checks);
    }
  }
}

function checkCommon(evidence: Evidence, { reportData, now, policy }: EvidenceContext): Check[] {
  const age = now - Date.parse(evidence.producedAt) / 1000;
  const maxAge = policy?.maxAgeSeconds ?? Number.POSITIVE_INFINITY;
  return [
    evidence.reportData === reportData.toLowerCase()
      ? passed("report-data", reportData)
      : failed("report-data", `The evidence is about ${evidence.reportData}, not ${reportData}.`),
    age >= -MAX_CLOCK_SKEW_SECONDS && age <= maxAge
      ? passed("time", `produced at ${evidence.producedAt}`)
      : failed("time", `The evidence says it was produced at ${evidence.producedAt}, ${Math.round(age)} s ago.`),
  ];
}

function tierOf(kind: EvidenceKind): Tier {
  return kind === "hardware-tpm" ? 2 : kind === "software-tpm" ? 1 : 0;
}

function conclude(kind: EvidenceKind, checks: Check[]): EvidenceResult {
  const ok = checks.every((check) => check.ok);
  if (kind === "none") return { ok, verdict: "none", tier: 0, kind, checks };
  if (!ok) return { ok, verdict: "contraindicated", tier: 0, kind, checks };
  return { ok, verdict: kind === "hardware-tpm" ? "affirming" : "warning", tier: tierOf(kind), kind, checks };
}
