import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";

/** Nobody holds its key, so nobody earns by having stake slashed. */
const BURN = "0x000000000000000000000000000000000000dEaD";

/** The contracts of one market. The market makes its own staking contract; nothing needs setting up afterwards. */
export default buildModule("Berth", (m) => {
  const identity = m.contract("IdentityRegistry");
  const market = m.contract("JobMarket", [identity, m.getParameter("sink", BURN)]);
  return { identity, market };
});
