import { type Hex, MarketError } from "@berth/protocol";
import { concat, sha256 } from "viem";
import { byteReader, mustBe } from "./byte-reader.ts";
import { TPM_ALG_SHA256 } from "./tpm-attest.ts";

const TPM_ALG_ECC = 0x0023;
const TPM_ALG_ECDSA = 0x0018;
const TPM_ALG_NULL = 0x0010;
const TPM_ECC_NIST_P256 = 0x0003;

/** Bits of TPMA_OBJECT. */
export const TPM_ATTRIBUTES = {
  fixedTPM: 1 << 1,
  fixedParent: 1 << 4,
  sensitiveDataOrigin: 1 << 5,
  restricted: 1 << 16,
  decrypt: 1 << 17,
  sign: 1 << 18,
} as const;
type Attribute = keyof typeof TPM_ATTRIBUTES;

/** A TPM's attestation key, as far as a verifier cares. */
export interface AttestationKey {
  attributes: number;
  /** `000b` and the sha256 of the public area. */
  name: Hex;
  /** Uncompressed P-256 point, 65 bytes. */
  point: Uint8Array<ArrayBuffer>;
}

/** Reads the TPMT_PUBLIC of a P-256 key that can only sign with ECDSA and SHA-256; throws EVIDENCE_MALFORMED otherwise. */
export function parseAttestationKey(bytes: Uint8Array): AttestationKey {
  const reader = byteReader(bytes, "The public area");
  mustBe("The attestation key's type", reader.uint(2), TPM_ALG_ECC);
  mustBe("The attestation key's name algorithm", reader.uint(2), TPM_ALG_SHA256);
  const attributes = reader.uint(4);
  reader.sized(32); // authPolicy: who may use the key, not what it may sign
  mustBe("The attestation key's symmetric algorithm", reader.uint(2), TPM_ALG_NULL);
  mustBe("The attestation key's scheme", reader.uint(2), TPM_ALG_ECDSA);
  mustBe("The attestation key's hash", reader.uint(2), TPM_ALG_SHA256);
  mustBe("The attestation key's curve", reader.uint(2), TPM_ECC_NIST_P256);
  mustBe("The attestation key's derivation", reader.uint(2), TPM_ALG_NULL);
  const [x, y] = [reader.sized(32), reader.sized(32)];
  reader.end();
  const point = new Uint8Array(65);
  point[0] = 4;
  point.set(x, 33 - x.length);
  point.set(y, 65 - y.length);
  return { attributes, name: tpmName(bytes), point };
}

/** The name of an object whose name algorithm is sha256: `000b` and the digest of its public area (TPMT_PUBLIC). */
export function tpmName(publicArea: Uint8Array): Hex {
  return concat(["0x000b", sha256(publicArea)]);
}

/** The name of an object together with its parents'. A primary key's parent is its hierarchy, named by its handle. */
export function qualifiedName(parent: Hex, name: Hex): Hex {
  return concat(["0x000b", sha256(concat([parent, name]))]);
}

/** Throws TPM_KEY_UNFIT unless the key never left its TPM and signs nothing but what that TPM says about itself. */
export function assertAttestationKey({ attributes }: AttestationKey): void {
  const required: Attribute[] = ["fixedTPM", "fixedParent", "sensitiveDataOrigin", "restricted", "sign"];
  const missing = required.filter((name) => (attributes & TPM_ATTRIBUTES[name]) === 0);
  if (missing.length > 0)
    throw new MarketError("TPM_KEY_UNFIT", `The attestation key lacks the attributes ${missing.join(", ")}.`, {
      hint: "Make it with `tpm2_createak`: a restricted signing key that cannot leave the TPM.",
    });
  if ((attributes & TPM_ATTRIBUTES.decrypt) !== 0)
    throw new MarketError("TPM_KEY_UNFIT", "The attestation key can also decrypt.", {
      hint: "A key that does both can be made to sign what looks like a quote; make it with `tpm2_createak`.",
    });
}
