import type { Endorsement } from "../../protocol/src/index.ts";
import {
  activateCredential,
  readTpmKeys,
  storeEndorsement,
  type Tpm2Config,
} from "../../provider-node/src/attest/index.ts";
import { beginEnrolment, type EnrolTerms, finishEnrolment, type TpmAuthority } from "./tpm-authority.ts";

/**
 * Both sides of an enrolment where authority and node are at hand: reads the node's TPM, challenges it, endorses its
 * attestation key and stores the endorsement with the node. Throws what the steps throw.
 */
export async function enrolNode(
  authority: TpmAuthority,
  node: Tpm2Config,
  terms: EnrolTerms,
  context: Parameters<typeof readTpmKeys>[1],
): Promise<Endorsement> {
  const pending = beginEnrolment(await readTpmKeys(node, context), terms);
  const answer = await activateCredential(node, pending.challenge, context);
  const endorsement = finishEnrolment(authority, pending, answer);
  await storeEndorsement(node, endorsement);
  const { akName, kind, operator, nodeIndex } = endorsement;
  context.log.info({ akName, kind, operator, nodeIndex }, "attestation key endorsed");
  return endorsement;
}
