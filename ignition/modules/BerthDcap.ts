import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";

/**
 * The quote verifier for Intel TDX and SGX, in front of Automata's contracts where a chain has them.
 * Parameters: `dcap` (their address), `advisories` (ids of Intel advisories that do not lower a quote's tier).
 */
export default buildModule("BerthDcap", (m) => {
  const advisories = m.getParameter<string[]>("advisories", []);
  return { dcapQuotes: m.contract("DcapQuoteVerifier", [m.getParameter("dcap"), advisories]) };
});
