import { type KeyObject, X509Certificate } from "node:crypto";
import { byteReader, mustBe } from "../../client/src/evidence/byte-reader.ts";
import { TPM_ATTRIBUTES } from "../../client/src/evidence/tpm-public.ts";
import { MarketError } from "../../protocol/src/index.ts";

/** Extended key usage of endorsement key certificates (TCG EK Credential Profile). */
const EK_CERTIFICATE_USAGE = "2.23.133.8.1";
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** An endorsement key whose certificate chain was verified. */
export interface EndorsementKey {
  key: KeyObject;
  /** The certificate without the padding that some TPMs store behind it. */
  certificate: Buffer;
  /** Does anything in the chain say that an emulator's own CA made it? */
  emulated: boolean;
}

/**
 * Verifies an endorsement key certificate up to a self-signed one among `cas`, all of which the authority trusts.
 * Throws EK_CERTIFICATE_REFUSED.
 * @param stored DER as read from the TPM
 * @param cas PEM, one certificate or several in each
 */
export function verifyEkCertificate(stored: Uint8Array, cas: readonly string[], now: Date): EndorsementKey {
  const certificate = trimDer(Buffer.from(stored));
  const leaf = new X509Certificate(certificate);
  if (!(leaf.keyUsage ?? []).includes(EK_CERTIFICATE_USAGE))
    throw refused("The certificate in the TPM is not one of an endorsement key.");
  const chain = [leaf];
  const candidates = cas.flatMap((pem) => pem.match(PEM_CERTIFICATE) ?? []).map((pem) => new X509Certificate(pem));
  for (let last = leaf; ; ) {
    if (now < last.validFromDate || now > last.validToDate)
      throw refused(`The certificate of "${last.subject}" is not valid at ${now.toISOString()}.`);
    if (last !== leaf && last.checkIssued(last) && last.verify(last.publicKey)) break;
    const issuer = candidates.find((ca) => ca.ca && !chain.includes(ca) && last.checkIssued(ca));
    if (issuer === undefined) throw refused(`None of the given CAs issued the certificate of "${last.subject}".`);
    if (!last.verify(issuer.publicKey)) throw refused(`The certificate of "${last.subject}" has a forged signature.`);
    chain.push(issuer);
    last = issuer;
  }
  const emulated = chain.some(({ subject, issuer, subjectAltName }) =>
    /swtpm/i.test(`${subject} ${issuer} ${subjectAltName ?? ""}`),
  );
  return { key: leaf.publicKey, certificate, emulated };
}

/**
 * Checks that a TPMT_PUBLIC is the endorsement key of the certificate, made by the TCG's default RSA 2048 template (so
 * that `makeCredential` fits it). Throws EK_CERTIFICATE_REFUSED or EVIDENCE_MALFORMED.
 */
export function assertEkPublic(publicArea: Uint8Array, key: KeyObject): void {
  const reader = byteReader(publicArea, "The endorsement key's public area");
  mustBe("The endorsement key's type", reader.uint(2), 0x0001); // RSA
  mustBe("The endorsement key's name algorithm", reader.uint(2), 0x000b); // SHA-256
  const attributes = reader.uint(4);
  reader.sized(32); // authPolicy
  mustBe("The endorsement key's symmetric algorithm", reader.uint(2), 0x0006); // AES
  mustBe("The endorsement key's symmetric bits", reader.uint(2), 128);
  mustBe("The endorsement key's symmetric mode", reader.uint(2), 0x0043); // CFB
  mustBe("The endorsement key's scheme", reader.uint(2), 0x0010); // none
  mustBe("The endorsement key's bits", reader.uint(2), 2048);
  mustBe("The endorsement key's exponent", reader.uint(4), 0); // 65537
  const modulus = Buffer.from(reader.sized(256)).toString("base64url");
  reader.end();
  const { fixedTPM, fixedParent, sensitiveDataOrigin, restricted, decrypt, sign } = TPM_ATTRIBUTES;
  const required = fixedTPM | fixedParent | sensitiveDataOrigin | restricted | decrypt;
  if ((attributes & required) !== required || (attributes & sign) !== 0)
    throw refused("The endorsement key is not a restricted decryption key of its TPM.");
  const certified = key.export({ format: "jwk" });
  if (certified["n"] !== modulus || certified["e"] !== "AQAB")
    throw refused("The endorsement key is not the one in the certificate.");
}

function trimDer(der: Buffer): Buffer {
  if (der[0] !== 0x30 || der[1] !== 0x82 || der.length < 4) throw refused("The TPM holds no DER certificate.");
  const length = 4 + der.readUInt16BE(2);
  if (length > der.length) throw refused("The certificate in the TPM is cut short.");
  return der.subarray(0, length);
}

function refused(message: string): MarketError {
  return new MarketError("EK_CERTIFICATE_REFUSED", message, {
    hint: "Give the authority the CA certificates of the TPM's maker, root and intermediates, as PEM.",
  });
}
