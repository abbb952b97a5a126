import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import { limitsFor, matchJob, readyMarket } from "../support/market.ts";

const LIMITS =
  "tuple(uint128 maxBond,uint32 maxActive,uint32 cpuMilli,uint32 memoryMiB,uint32 diskMiB,uint16 gpus," +
  "address[] tokens,address[] verifiers,address[] arbiters)";

describe("JobMarket#setNodeLimits", () => {
  it("stores the hash and shows the limits", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator } = on;
    const limits = limitsFor(on, { maxActive: 3 });
    const hash = ethers.keccak256(ethers.AbiCoder.defaultAbiCoder().encode([LIMITS], [limits]));
    await expect(market.connect(operator).setNodeLimits(operator, 0, limits))
      .to.emit(market, "NodeLimitsSet")
      .withArgs(operator.address, 0, hash, Object.values(limits));
    expect(await market.limitsHashOf(operator, 0)).to.equal(hash);
    await matchJob(on, { limits: [limits] });
  });

  it("is for the operator's controller alone", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, nodeKey } = on;
    await expect(market.connect(nodeKey).setNodeLimits(operator, 0, on.limits))
      .to.be.revertedWithCustomError(market, "NotController")
      .withArgs(operator.address, nodeKey.address);
  });
});
