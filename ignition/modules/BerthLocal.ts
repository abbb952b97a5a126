import { buildModule } from "@nomicfoundation/hardhat-ignition/modules";
import Berth from "./Berth.ts";

/** The contracts of one market and a token to pay with, for local chains. */
export default buildModule("BerthLocal", (m) => {
  const { identity, market } = m.useModule(Berth);
  const testToken = m.contract("TestToken");
  return { identity, market, testToken };
});
