import { type Endorsement, endorsementPayload, MarketError } from "@berth/protocol";
import { hexToBytes } from "viem";

/** Throws ENDORSEMENT_FORGED unless the authority named in the endorsement signed it. Whether to trust it is another question. */
export async function verifyEndorsementSignature(endorsement: Endorsement): Promise<string> {
  const key = await crypto.subtle.importKey("raw", bytes(endorsement.authority), "Ed25519", false, ["verify"]);
  const payload = endorsementPayload(endorsement);
  if (!(await crypto.subtle.verify("Ed25519", key, bytes(endorsement.signature), payload)))
    throw new MarketError("ENDORSEMENT_FORGED", "The endorsement's signature is not by the authority it names.");
  return `Ed25519 by ${endorsement.authority}`;
}

function bytes(hex: `0x${string}`): Uint8Array<ArrayBuffer> {
  return new Uint8Array(hexToBytes(hex));
}
