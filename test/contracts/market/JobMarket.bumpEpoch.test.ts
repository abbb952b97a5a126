import { expect } from "chai";
import { loadFixture, time } from "../support/actors.ts";
import { publishNode, readyMarket, runningJob } from "../support/market.ts";

describe("JobMarket#bumpEpoch", () => {
  it("kills the node's offers and keeps what it has in use", async () => {
    const { market, operator, nodeKey } = await loadFixture(runningJob);
    await expect(market.connect(nodeKey).bumpEpoch(operator, 0))
      .to.emit(market, "EpochBumped")
      .withArgs(operator.address, 0, 1);
    expect(await market.useOf(operator, 0)).to.deep.equal([1n, 1n, 1000n, 512n, 128n, 0n, 0n, true]);
  });

  it("keeps a running job alive", async () => {
    const on = await loadFixture(runningJob);
    await on.market.connect(on.operator).bumpEpoch(on.operator, 0);
    await on.market.connect(on.nodeKey).decline(on.terms, 0);
    const declinedAt = BigInt(await time.latest());
    expect(await on.market.useOf(on.operator, 0)).to.deep.equal([1n, 0n, 0n, 0n, 0n, 0n, declinedAt, true]);
  });

  it("is for the node's key and the operator's controller, and not for a key in wrong hands", async () => {
    const on = await loadFixture(readyMarket);
    const { market, identity, operator, nodeKey, newNodeKey, stranger } = on;
    await expect(market.connect(stranger).bumpEpoch(operator, 0))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, stranger.address);
    await identity.connect(operator).revokeNode(operator, 0);
    await publishNode(on, operator, newNodeKey);
    await expect(market.connect(nodeKey).bumpEpoch(operator, 0))
      .to.be.revertedWithCustomError(market, "NotNode")
      .withArgs(operator.address, 0, nodeKey.address);
    await market.connect(newNodeKey).bumpEpoch(operator, 0);
    await market.connect(operator).bumpEpoch(operator, 0);
    expect((await market.useOf(operator, 0)).epoch).to.equal(2n);
  });
});
