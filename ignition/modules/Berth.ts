import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";

/** Nobody holds its key, so nobody earns by having stake slashed. */
const BURN = "0x000000000000000000000000000000000000dEaD";

const NOBODY = "0x0000000000000000000000000000000000000000";

/**
 * The contracts of one market. The market makes its own staking contract; nothing needs setting up afterwards.
 * Parameters: `sink` gets what slashes leave, `guardian` may stop new jobs (nobody, unless one is named).
 */
export default buildModule("Berth", (m) => {
  const identity = m.contract("IdentityRegistry");
  const desk = m.contract("MarketDesk", [identity]);
  const sink = m.getParameter("sink", BURN);
  const guardian = m.getParameter("guardian", NOBODY);
  const market = m.contract("JobMarket", [identity, desk, sink, guardian]);
  return { identity, market };
});
