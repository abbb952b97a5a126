import type { Hex } from "@berth/protocol";
import { bytesToHex } from "viem";
import { byteReader, malformed, mustBe } from "./byte-reader.ts";

const TPM_GENERATED_VALUE = 0xff544347;
const TPM_ST_ATTEST_QUOTE = 0x8018;
export const TPM_ALG_SHA256 = 0x000b;
const TPM_ALG_ECDSA = 0x0018;

/** What a TPM says in a quote over one bank of registers. */
export interface Quote {
  /** Qualified name of the key that signed. */
  qualifiedSigner: Hex;
  /** What the caller asked the TPM to include: the report data. */
  extraData: Hex;
  /** Counts the resets of the TPM; a register only grows between two of them. */
  resetCount: number;
  /** Indexes of the quoted registers of the sha256 bank, ascending. */
  pcrs: number[];
  /** sha256 over the values of those registers in that order. */
  pcrDigest: Hex;
}

/**
 * Reads a TPMS_ATTEST that is a quote over the sha256 bank. Throws EVIDENCE_MALFORMED for anything else, any other
 * length, and a structure that no TPM made (wrong magic).
 */
export function parseQuote(bytes: Uint8Array): Quote {
  const reader = byteReader(bytes, "The quote");
  mustBe("The quote's magic", reader.uint(4), TPM_GENERATED_VALUE);
  mustBe("The quote's type", reader.uint(2), TPM_ST_ATTEST_QUOTE);
  const qualifiedSigner = bytesToHex(reader.sized(68));
  const extraData = bytesToHex(reader.sized(66));
  reader.take(8); // clock: milliseconds the TPM was powered, no wall clock
  const resetCount = reader.uint(4);
  reader.take(4); // restartCount: suspends since the reset
  if (reader.uint(1) > 1) throw malformed("The quote's clock has an impossible `safe` flag.");
  reader.take(8); // firmwareVersion
  mustBe("The number of register banks in the quote", reader.uint(4), 1);
  mustBe("The quote's register bank", reader.uint(2), TPM_ALG_SHA256);
  mustBe("The size of the quote's register selection", reader.uint(1), 3);
  const selection = reader.take(3);
  const pcrs = Array.from({ length: 24 }, (_, index) => index).filter(
    (index) => ((selection[index >> 3] ?? 0) >> (index & 7)) & 1,
  );
  const pcrDigest = bytesToHex(reader.sized(32));
  reader.end();
  return { qualifiedSigner, extraData, resetCount, pcrs, pcrDigest };
}

/** Reads a TPMT_SIGNATURE made with ECDSA and SHA-256 on P-256; gives r and s, 32 bytes each, as WebCrypto wants them. */
export function parseSignature(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const reader = byteReader(bytes, "The signature");
  mustBe("The signature's scheme", reader.uint(2), TPM_ALG_ECDSA);
  mustBe("The signature's hash", reader.uint(2), TPM_ALG_SHA256);
  const [r, s] = [reader.sized(32), reader.sized(32)];
  reader.end();
  const signature = new Uint8Array(64);
  signature.set(r, 32 - r.length);
  signature.set(s, 64 - s.length);
  return signature;
}
