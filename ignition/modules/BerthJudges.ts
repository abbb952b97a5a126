import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import Berth from "./Berth.ts";

/** PCR 0 to 7: firmware and boot. */
const MEASURED_PCRS = 0x00ff;

/**
 * A market with judges to name in orders: a quorum, attested keys, a jury. None has a right over the market.
 * Parameters: `members` (addresses of the attestation committee), `threshold`, `measuredPcrs` (bit mask), and who holds each
 * role of the lists: `verifiers`, `measurements`, `platforms`, `keys`, `memberships`, `thresholds`; all the deployer
 * unless they are named.
 */
export default buildModule("BerthJudges", (m) => {
  const { identity, market } = m.useModule(Berth);
  const deployer = m.getAccount(0);
  const role = (name: string) => m.getParameter(name, deployer);
  const members = m.getParameter<string[]>("members");
  const threshold = m.getParameter("threshold", 1);
  const committee = m.contract("Committee", [members, threshold, role("memberships"), role("thresholds")]);
  const committeeQuotes = m.contract("CommitteeQuoteVerifier", [committee]);
  const tpmQuotes = m.contract("TpmQuoteVerifier", [committee, m.getParameter("measuredPcrs", MEASURED_PCRS)]);
  const attestation = m.contract("AttestationRegistry", [
    role("verifiers"),
    role("measurements"),
    role("platforms"),
    role("keys"),
  ]);
  const tee = m.contract("TeeVerifier", [attestation]);
  const quorum = m.contract("QuorumVerifier", [market]);
  const jury = m.contract("JuryArbiter", [market]);
  return { identity, market, committee, committeeQuotes, tpmQuotes, attestation, tee, quorum, jury };
});
