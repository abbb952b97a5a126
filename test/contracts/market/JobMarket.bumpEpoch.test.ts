import { expect } from "chai";
import { loadFixture } from "../support/actors.ts";
import { publishNode, readyMarket, runningJob } from "../support/market.ts";

describe("JobMarket#bumpEpoch", () => {
  it("kills the node's offers and keeps what it has in use", async () => {
    const { market, operator, nodeKey } = await loadFixture(runningJob);
    await expect(market.connect(nodeKey).bumpEpoch(operator, 0))
      .to.emit(market, "EpochBumped")
      .withArgs(operator.address, 0, 1);
    expect(await market.useOf(operator, 0)).to.deep.equal([1n, 1n, 1000n, 512n, 128n, 0n, true]);
  });

  it("keeps a running job alive", async () => {
    const on = await loadFixture(runningJob);
    await on.market.connect(on.operator).bumpEpoch(on.operator, 0);
    await on.market.connect(on.nodeKey).decline(on.terms);
    expect(await on.market.useOf(on.operator, 0)).to.deep.equal([1n, 0n, 0n, 0n, 0n, 0n, true]);
  });

  it("is for the node's current key and the operator's controller", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, nodeKey, newNodeKey } = on;
    await publishNode(on, operator, newNodeKey);
    await expect(market.connect(nodeKey).bumpEpoch(operator, 0))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, nodeKey.address);
    await market.connect(newNodeKey).bumpEpoch(operator, 0);
    await market.connect(operator).bumpEpoch(operator, 0);
    expect((await market.useOf(operator, 0)).epoch).to.equal(2n);
  });
});
