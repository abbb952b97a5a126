import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  timingSafeEqual,
} from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bytesToHex, hexToBytes, sha256 } from "viem";
import {
  assertAttestationKey,
  parseAttestationKey,
  qualifiedName,
  tpmName,
} from "../../client/src/evidence/tpm-public.ts";
import {
  type Address,
  type Endorsement,
  endorsementPayload,
  endorsementSchema,
  type Hex,
  MarketError,
} from "../../protocol/src/index.ts";
import type { TpmKeys } from "../../provider-node/src/attest/index.ts";
import { type Challenge, makeCredential } from "./tpm-credential.ts";
import { assertEkPublic, verifyEkCertificate } from "./tpm-ek.ts";

/** Who vouches that an attestation key lives in a TPM with a certified endorsement key. */
export interface TpmAuthority {
  /** Ed25519; what requesters list among those they trust. */
  publicKey: Hex;
  sign(payload: Uint8Array): Hex;
}

export interface EnrolTerms {
  operator: Address;
  nodeIndex: number;
  /** PEM certificates of the CAs whose TPMs the authority accepts. */
  ekCas: readonly string[];
  /** What the authority says of those CAs. An emulator's CA is `software` whatever is asked for: `hardware` is refused. */
  kind: "software" | "hardware";
  now: Date;
  validSeconds: number;
}

/** An enrolment in which the node has yet to answer. Keep it to yourself: it holds the answer. */
export interface PendingEnrolment {
  challenge: Challenge;
  secret: Buffer;
  statement: Omit<Endorsement, "authority" | "signature">;
}

/** Name of the endorsement hierarchy: its handle. */
const ENDORSEMENT_HIERARCHY: Hex = "0x4000000b";
const KEY_FILE = "authority-key.pem";

/** Makes an authority's key in `dir`, which must hold none yet. Throws AUTHORITY_EXISTS. */
export async function initAuthority(dir: string): Promise<TpmAuthority> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const pem = generateKeyPairSync("ed25519").privateKey.export({ format: "pem", type: "pkcs8" });
  try {
    await writeFile(join(dir, KEY_FILE), pem, { mode: 0o600, flag: "wx" });
  } catch (cause) {
    throw new MarketError("AUTHORITY_EXISTS", `No authority can be made in ${dir}.`, {
      hint: "Use the one that is there, or name an empty folder.",
      cause,
    });
  }
  return openAuthority(dir);
}

/** Throws AUTHORITY_MISSING. */
export async function openAuthority(dir: string): Promise<TpmAuthority> {
  let pem: string;
  try {
    pem = await readFile(join(dir, KEY_FILE), "utf8");
  } catch (cause) {
    throw new MarketError("AUTHORITY_MISSING", `There is no authority in ${dir}.`, { hint: "Make one: init", cause });
  }
  const privateKey = createPrivateKey(pem);
  const { x } = createPublicKey(privateKey).export({ format: "jwk" });
  if (x === undefined) throw new MarketError("AUTHORITY_MISSING", `The key in ${dir} is no Ed25519 key.`);
  return {
    publicKey: bytesToHex(Buffer.from(x, "base64url")),
    sign: (payload) => bytesToHex(sign(null, payload, privateKey)),
  };
}

/**
 * Checks what the node showed and makes the challenge that proves the rest: that both keys are in one TPM.
 * Throws EK_CERTIFICATE_REFUSED, TPM_KEY_UNFIT, EVIDENCE_MALFORMED and AUTHORITY_KIND.
 */
export function beginEnrolment(keys: TpmKeys, terms: EnrolTerms): PendingEnrolment {
  const { key, certificate, emulated } = verifyEkCertificate(keys.ekCertificate, terms.ekCas, terms.now);
  assertEkPublic(keys.ekPublic, key);
  if (emulated && terms.kind !== "software")
    throw new MarketError("AUTHORITY_KIND", "This is an emulated TPM; it cannot be endorsed as hardware.", {
      hint: "Endorse it as software, for networks whose requesters accept that.",
    });
  const ak = parseAttestationKey(new Uint8Array(keys.akPublic));
  assertAttestationKey(ak);
  const ekQualifiedName = qualifiedName(ENDORSEMENT_HIERARCHY, tpmName(keys.ekPublic));
  const notBefore = Math.floor(terms.now.getTime() / 1000);
  const secret = randomBytes(32);
  return {
    challenge: makeCredential(key, Buffer.from(hexToBytes(ak.name)), secret),
    secret,
    statement: {
      version: 1,
      kind: terms.kind,
      akName: ak.name,
      akQualifiedName: qualifiedName(ekQualifiedName, ak.name),
      akPublic: Buffer.from(keys.akPublic).toString("base64"),
      ekCertSha256: sha256(certificate),
      operator: terms.operator.toLowerCase() as Address,
      nodeIndex: terms.nodeIndex,
      notBefore,
      notAfter: notBefore + terms.validSeconds,
    },
  };
}

/** Signs the statement once the node's TPM opened the challenge. Throws ENROLMENT_REFUSED. */
export function finishEnrolment(
  authority: TpmAuthority,
  { secret, statement }: PendingEnrolment,
  answer: Uint8Array,
): Endorsement {
  if (answer.length !== secret.length || !timingSafeEqual(answer, secret))
    throw new MarketError("ENROLMENT_REFUSED", "The node's TPM did not open the challenge.");
  const unsigned = { ...statement, authority: authority.publicKey };
  return endorsementSchema.parse({ ...unsigned, signature: authority.sign(endorsementPayload(unsigned)) });
}
