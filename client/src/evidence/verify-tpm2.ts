import {
  type Endorsement,
  eventDigest,
  type Hex,
  imageEvent,
  MarketError,
  replayEventLog,
  type Tpm2Evidence,
} from "@berth/protocol";
import { concat, sha256 } from "viem";
import { fromBase64 } from "./byte-reader.ts";
import { type Check, check } from "./checks.ts";
import { verifyEndorsementSignature } from "./endorsement.ts";
import { parseQuote, parseSignature } from "./tpm-attest.ts";
import { assertAttestationKey, parseAttestationKey } from "./tpm-public.ts";
import type { EvidenceContext, EvidenceKind } from "./verify-evidence.ts";

/** Registers that belong to the operating system and keep their value until the TPM is reset. */
const [FIRST_LOG_PCR, LAST_LOG_PCR] = [8, 15];

/** All checks of a TPM 2.0 quote. The kind is `untrusted-tpm` unless an authority that the caller listed vouches for it. */
export async function verifyTpm2(
  evidence: Tpm2Evidence,
  context: EvidenceContext,
): Promise<{ kind: EvidenceKind; checks: Check[] }> {
  const { endorsement } = evidence;
  const quote = () => parseQuote(fromBase64(evidence.quote));
  const key = () => parseAttestationKey(fromBase64(evidence.akPublic));
  const checks = [
    await check("tpm.quote", () => checkQuote(quote(), evidence, context)),
    await check("tpm.signature", () => checkSignature(key().point, evidence)),
    await check("tpm.key", () => {
      assertAttestationKey(key());
      return key().name;
    }),
    await check("tpm.registers", () => checkRegisters(quote(), evidence, context)),
    await check("tpm.log", () => checkLog(quote().pcrs, evidence)),
    await check("tpm.image", () => checkImage(evidence, context)),
    await check("endorsement.key", () => {
      must(endorsement.akPublic === evidence.akPublic, "The endorsement is for another attestation key.");
      must(endorsement.akName === key().name, "The endorsement's key name is not that of its key.");
      must(endorsement.akQualifiedName === quote().qualifiedSigner, "The quote was signed under another parent key.");
      return endorsement.akName;
    }),
    await check("endorsement.node", () => checkNode(endorsement, context)),
    await check("endorsement.validity", () => checkValidity(endorsement, context.now)),
    await check("endorsement.signature", () => verifyEndorsementSignature(endorsement)),
  ];
  const authority = await check("endorsement.authority", () => checkAuthority(endorsement, context));
  const vouched = authority.ok && checks.every(({ name, ok }) => ok || !name.startsWith("endorsement."));
  return { kind: vouched ? `${endorsement.kind}-tpm` : "untrusted-tpm", checks: [...checks, authority] };
}

function checkQuote(quote: ReturnType<typeof parseQuote>, evidence: Tpm2Evidence, context: EvidenceContext): string {
  must(
    quote.extraData === context.reportData.toLowerCase(),
    `The TPM signed ${quote.extraData}, not the report data ${context.reportData}.`,
  );
  return `report data in ${fromBase64(evidence.quote).length} bytes from the TPM, after reset ${quote.resetCount}`;
}

async function checkSignature(point: Uint8Array<ArrayBuffer>, { quote, signature }: Tpm2Evidence): Promise<string> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", point, algorithm, false, ["verify"]);
  const genuine = await crypto.subtle.verify(algorithm, key, parseSignature(fromBase64(signature)), fromBase64(quote));
  must(genuine, "The quote's signature is not by the attestation key.");
  return "ECDSA P-256 with SHA-256";
}

function checkRegisters(
  { pcrs, pcrDigest }: ReturnType<typeof parseQuote>,
  evidence: Tpm2Evidence,
  { policy }: EvidenceContext,
): string {
  const listed = Object.keys(evidence.pcrs).map(Number);
  must(
    listed.length === pcrs.length && pcrs.every((index) => listed.includes(index)),
    `The quote covers the registers ${pcrs.join(",")}; the evidence lists ${listed.join(",")}.`,
  );
  const values = pcrs.map((index) => pcrValue(evidence, index));
  must(sha256(concat(values)) === pcrDigest, "The listed register values are not the quoted ones.");
  for (const [index, expected] of Object.entries(policy?.pcrs ?? {}))
    must(
      evidence.pcrs[index] === expected.toLowerCase(),
      `Register ${index} is ${evidence.pcrs[index] ?? "not quoted"}, but the policy asks for ${expected}.`,
    );
  return `sha256 registers ${pcrs.join(",")}`;
}

function checkLog(quoted: number[], evidence: Tpm2Evidence): string {
  const pcr = evidence.eventLog[0]?.pcr;
  if (pcr === undefined) throw failure("The event log is empty: nothing was measured.");
  must(pcr >= FIRST_LOG_PCR && pcr <= LAST_LOG_PCR, `Register ${pcr} can be reset or is the firmware's.`);
  must(quoted.includes(pcr), `The event log is about register ${pcr}, which is not quoted.`);
  for (const { event, digest, pcr: own } of evidence.eventLog) {
    must(own === pcr, `The event log is about two registers, ${pcr} and ${own}.`);
    must(digest === eventDigest(event), `The digest of the event "${event}" is not its sha256.`);
  }
  must(
    replayEventLog(evidence.eventLog, pcr) === pcrValue(evidence, pcr),
    `The event log does not add up to the quoted value of register ${pcr}.`,
  );
  return `${evidence.eventLog.length} events add up to register ${pcr}`;
}

function checkImage({ eventLog }: Tpm2Evidence, { imageDigest }: EvidenceContext): string {
  const event = imageEvent(imageDigest);
  must(
    eventLog.some((entry) => entry.event === event),
    `The image ${imageDigest} was not measured.`,
  );
  return event;
}

function checkNode(endorsement: Endorsement, { operator, nodeIndex }: EvidenceContext): string {
  must(
    endorsement.operator === operator.toLowerCase() && endorsement.nodeIndex === nodeIndex,
    `The endorsement is for node ${endorsement.nodeIndex} of ${endorsement.operator}, not node ${nodeIndex} of ${operator}.`,
  );
  return `node ${nodeIndex} of ${operator}`;
}

function checkValidity({ notBefore, notAfter }: Endorsement, now: number): string {
  const days = ((notAfter - now) / 86_400).toFixed(1);
  must(notBefore <= now, `The endorsement is not valid before ${isoTime(notBefore)}.`);
  must(now <= notAfter, `The endorsement expired at ${isoTime(notAfter)}.`);
  return `valid for another ${days} days`;
}

function checkAuthority({ authority, kind }: Endorsement, { trust }: EvidenceContext): string {
  const known = trust.tpmAuthorities.filter(({ publicKey }) => publicKey.toLowerCase() === authority);
  must(known.length > 0, `The authority ${authority} is not one that you trust.`);
  must(
    known.some((entry) => entry.kind === kind),
    `The authority ${authority} vouches for a ${kind} TPM, which you do not trust it for.`,
  );
  return `${authority}, trusted for ${kind} TPMs`;
}

function pcrValue({ pcrs }: Tpm2Evidence, index: number): Hex {
  const value = pcrs[index];
  if (value === undefined) throw failure(`The value of register ${index} is missing.`);
  return value;
}

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}

function must(condition: boolean, message: string): void {
  if (!condition) throw failure(message);
}

function failure(message: string): MarketError {
  return new MarketError("EVIDENCE_REFUSED", message);
}
