import { expect } from "chai";
import { ethers, loadFixture, networkHelpers, provider, time } from "../support/actors.ts";
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

  it("point to their own block when it changed the identity before", async () => {
    const { identity, operator } = await loadFixture(deployedMarket);
    const name = text32("did/svc/BerthContent");
    const nonce = await operator.getNonce();
    await provider.send("evm_setAutomine", [false]);
    const sent = [];
    for (const [i, value] of ["0x61", "0x62"].entries()) {
      const options = { nonce: nonce + i, gasLimit: 100_000 };
      sent.push(await identity.connect(operator).setAttribute(operator, name, value, DAY, options));
    }
    await networkHelpers.mine();
    await provider.send("evm_setAutomine", [true]);
    const [now, block] = [await time.latest(), await time.latestBlock()];
    for (const [i, previousChange] of [0, block].entries()) {
      await expect(sent[i])
        .to.emit(identity, "DIDAttributeChanged")
        .withArgs(operator.address, name, i === 0 ? "0x61" : "0x62", now + DAY, previousChange);
    }
    expect(await identity.changed(operator)).to.equal(block);
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
