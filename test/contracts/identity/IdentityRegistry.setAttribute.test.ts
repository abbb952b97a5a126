import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import { DAY, deployedMarket, text32 } from "../support/market.ts";

describe("IdentityRegistry#setAttribute and #revokeAttribute", () => {
  it("are events, chained by block", async () => {
    const { identity, operator } = await loadFixture(deployedMarket);
    const name = text32("did/svc/BerthContent");
    const now = (await time.latest()) + 1;
    await time.setNextBlockTimestamp(now);
    await expect(identity.connect(operator).setAttribute(operator, name, "0x6162", DAY))
      .to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, name, "0x6162", now + DAY, 0);
    const block = await time.latestBlock();
    await expect(identity.connect(operator).revokeAttribute(operator, name, "0x6162"))
      .to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, name, "0x6162", 0, block);
  });

  it("take the longest time for ever", async () => {
    const { identity, operator } = await loadFixture(deployedMarket);
    const name = text32("did/svc/BerthContent");
    await expect(identity.connect(operator).setAttribute(operator, name, "0x", ethers.MaxUint256))
      .to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, name, "0x", ethers.MaxUint256, 0);
  });

  it("belong to the controller", async () => {
    const { identity, operator, stranger } = await loadFixture(deployedMarket);
    await expect(identity.connect(stranger).setAttribute(operator, text32("did/svc/X"), "0x", DAY))
      .to.be.revertedWithCustomError(identity, "NotController")
      .withArgs(operator.address, stranger.address, operator.address);
  });
});
