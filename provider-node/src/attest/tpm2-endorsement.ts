import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Endorsement, endorsementSchema, MarketError } from "@berth/protocol";
import { readIfThere, writeDurably } from "./durable-file.ts";
import type { Tpm2Config } from "./tpm2-config.ts";
import type { AttestationKey } from "./tpm2-key.ts";

/** The authority's statement about `key`. Throws TPM_NOT_ENROLLED when it is missing, damaged, expired or for another key. */
export async function readEndorsement(config: Tpm2Config, key: AttestationKey, now: Date): Promise<Endorsement> {
  const text = await readIfThere(endorsementPath(config));
  if (text === undefined) throw notEnrolled("No authority has endorsed this node's attestation key yet.");
  let endorsement: Endorsement;
  try {
    endorsement = endorsementSchema.parse(JSON.parse(text.toString("utf8")));
  } catch (cause) {
    throw notEnrolled(`The endorsement in ${endorsementPath(config)} is damaged.`, cause);
  }
  if (endorsement.akName !== key.name)
    throw notEnrolled("The endorsement is for another attestation key, maybe from before the TPM was cleared.");
  const seconds = now.getTime() / 1000;
  if (seconds < endorsement.notBefore || seconds > endorsement.notAfter)
    throw notEnrolled("The endorsement of this node's attestation key is not valid now.");
  return endorsement;
}

/** Keeps the statement for the next quotes. Whether it is genuine is for those to judge who verify the quotes. */
export async function storeEndorsement(config: Tpm2Config, endorsement: Endorsement): Promise<void> {
  await mkdir(config.stateDir, { recursive: true, mode: 0o700 });
  await writeDurably(endorsementPath(config), `${JSON.stringify(endorsementSchema.parse(endorsement), null, 2)}\n`);
}

function endorsementPath({ stateDir }: Tpm2Config): string {
  return join(stateDir, "endorsement.json");
}

function notEnrolled(message: string, cause?: unknown): MarketError {
  return new MarketError("TPM_NOT_ENROLLED", message, {
    hint: "Have an authority that requesters trust enrol it: scripts/tpm-authority.ts enrol",
    cause,
  });
}
