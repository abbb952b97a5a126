import canonicalize from "canonicalize";
import { concat, sha256, stringToBytes, zeroHash } from "viem";
import { z } from "zod";
import { MarketError } from "./errors.ts";
import type { Hex } from "./units.ts";

/** How many distinct events a node may measure between two resets of its TPM; also the longest log a verifier replays. */
export const MAX_EVENTS = 4096;

const bytes32 = z.custom<Hex>((value) => typeof value === "string" && /^0x[0-9a-f]{64}$/.test(value), {
  error: "must be 0x and 64 lower-case hexadecimal digits",
});
const hexOf = (bytes: number) =>
  z.custom<Hex>((value) => typeof value === "string" && new RegExp(`^0x[0-9a-f]{${bytes * 2}}$`).test(value), {
    error: `must be 0x and ${bytes * 2} lower-case hexadecimal digits`,
  });
// Canonical only: the same bytes have one spelling, so a document cannot be varied without changing what it says.
const base64 = (maxBytes: number) =>
  z
    .base64()
    .min(4)
    .max(Math.ceil(maxBytes / 3) * 4)
    .refine(isCanonicalBase64, { error: "must be canonical base64" });
const unixSeconds = z.int().min(0).max(0xffffffffff);

/** One measurement: `digest` is the sha256 of `event`, and was extended into `pcr`. */
export const measuredEventSchema = z.strictObject({
  pcr: z.int().min(0).max(23),
  event: z.string().min(1).max(512),
  digest: bytes32,
});
export type MeasuredEvent = z.infer<typeof measuredEventSchema>;

/**
 * An authority's word that an attestation key lives in the same TPM as an endorsement key whose certificate it checked.
 * `kind` is `software` when that certificate comes from an emulator's private CA: then it proves no hardware.
 */
export const endorsementSchema = z.strictObject({
  version: z.literal(1),
  kind: z.enum(["software", "hardware"]),
  /** TPM name of the attestation key: algorithm and digest of its public area. */
  akName: hexOf(34),
  /** TPM name of the key and all its parents up to the endorsement hierarchy. A quote carries it. */
  akQualifiedName: hexOf(34),
  /** TPMT_PUBLIC of the attestation key. */
  akPublic: base64(512),
  ekCertSha256: bytes32,
  operator: hexOf(20),
  nodeIndex: z.int().min(0).max(0xffffffff),
  notBefore: unixSeconds,
  notAfter: unixSeconds,
  /** Ed25519 public key of the signer. */
  authority: hexOf(32),
  signature: hexOf(64),
});
export type Endorsement = z.infer<typeof endorsementSchema>;

const common = {
  version: z.literal(1),
  reportData: bytes32,
  /** ISO time by the node's own clock; no TPM vouches for it, freshness comes from the nonce in the report data. */
  producedAt: z.iso.datetime(),
};

export const tpm2EvidenceSchema = z.strictObject({
  ...common,
  type: z.literal("tpm2"),
  format: z.literal("tpm2-quote/v1"),
  /** TPMS_ATTEST, as signed. */
  quote: base64(1024),
  /** TPMT_SIGNATURE. */
  signature: base64(256),
  /** TPMT_PUBLIC of the attestation key. */
  akPublic: base64(512),
  /** Values of the quoted registers of the sha256 bank, by index. */
  pcrs: z.record(z.string().regex(/^(?:[0-9]|1[0-9]|2[0-3])$/), bytes32),
  eventLog: z.array(measuredEventSchema).max(MAX_EVENTS),
  endorsement: endorsementSchema,
});
export type Tpm2Evidence = z.infer<typeof tpm2EvidenceSchema>;

const execEvidenceSchema = z.strictObject({
  ...common,
  type: z.literal("exec"),
  /** The program's own name for what `evidence` holds. */
  format: z.string().regex(/^[a-z0-9][a-z0-9./_-]{0,63}$/),
  evidence: base64(256 * 1024),
  /** Certificates and lists that a verifier needs later, when they can no longer be fetched. */
  collateral: z.array(base64(256 * 1024)).max(32),
});
export type ExecEvidence = z.infer<typeof execEvidenceSchema>;

const noneEvidenceSchema = z.strictObject({ ...common, type: z.literal("none"), format: z.literal("none") });
export type NoneEvidence = z.infer<typeof noneEvidenceSchema>;

/** The evidence document that a node publishes beside a result. Unknown fields are refused. */
export const evidenceSchema = z.discriminatedUnion("type", [
  tpm2EvidenceSchema,
  execEvidenceSchema,
  noneEvidenceSchema,
]);
export type Evidence = z.infer<typeof evidenceSchema>;

/** The event that stands for "an image with this manifest digest may run from now on". */
export function imageEvent(imageDigest: Hex): string {
  return `berth/image/v1 sha256:${imageDigest.slice(2).toLowerCase()}`;
}

/** What a register is extended with for `event`. */
export function eventDigest(event: string): Hex {
  return sha256(stringToBytes(event));
}

/** The value that a register has after all of the log's events for it, counted from a reset (all zeros). */
export function replayEventLog(log: readonly MeasuredEvent[], pcr: number): Hex {
  return log
    .filter((entry) => entry.pcr === pcr)
    .reduce<Hex>((value, { digest }) => sha256(concat([value, digest])), zeroHash);
}

/** The bytes under an endorsement's signature: a domain line, then the canonical JSON of everything but `signature`. */
export function endorsementPayload(endorsement: Omit<Endorsement, "signature">): Uint8Array<ArrayBuffer> {
  const json = canonicalize({ ...endorsement, signature: undefined });
  if (json === undefined) throw new MarketError("ENDORSEMENT_NOT_JSON", "The endorsement has no canonical JSON form.");
  return new Uint8Array(stringToBytes(`berth/tpm-endorsement/v1\n${json}`));
}

function isCanonicalBase64(text: string): boolean {
  try {
    return btoa(atob(text)) === text;
  } catch {
    return false;
  }
}
