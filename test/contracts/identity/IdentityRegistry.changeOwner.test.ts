import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import { DAY, deployedMarket, publishNode, text32 } from "../support/market.ts";

describe("IdentityRegistry#changeOwner", () => {
  it("starts with every account as its own owner", async () => {
    const { identity, operator } = await loadFixture(deployedMarket);
    expect(await identity.identityOwner(operator)).to.equal(operator.address);
    expect(await identity.controllerOf(operator)).to.equal(operator.address);
    expect(await identity.changed(operator)).to.equal(0n);
  });

  it("hands control over", async () => {
    const { identity, operator, heir } = await loadFixture(deployedMarket);
    await expect(identity.connect(operator).changeOwner(operator, heir))
      .to.emit(identity, "DIDOwnerChanged")
      .withArgs(operator.address, heir.address, 0);
    expect(await identity.identityOwner(operator)).to.equal(heir.address);
    await expect(identity.connect(operator).changeOwner(operator, operator))
      .to.be.revertedWithCustomError(identity, "NotController")
      .withArgs(operator.address, operator.address, heir.address);
    await identity.connect(heir).changeOwner(operator, operator);
    expect(await identity.identityOwner(operator)).to.equal(operator.address);
  });

  it("deactivates for good, and leaves the last owner in control of what is owned", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, heir, nodeKey } = on;
    await publishNode(on, operator, nodeKey);
    await identity.connect(operator).changeOwner(operator, heir);
    await identity.connect(heir).changeOwner(operator, ethers.ZeroAddress);

    expect(await identity.deactivated(operator)).to.equal(true);
    expect(await identity.identityOwner(operator)).to.equal(ethers.ZeroAddress);
    expect(await identity.controllerOf(operator)).to.equal(heir.address);
    expect(await identity.validDelegate(operator, text32("veriKey"), nodeKey)).to.equal(false);
    const name = text32("did/svc/X");
    for (const change of [
      identity.connect(heir).changeOwner(operator, heir),
      identity.connect(heir).addDelegate(operator, text32("sigAuth"), nodeKey, DAY),
      identity.connect(heir).revokeDelegate(operator, text32("sigAuth"), nodeKey),
      identity.connect(heir).setAttribute(operator, name, "0x01", DAY),
      identity.connect(heir).revokeAttribute(operator, name, "0x01"),
    ]) {
      await expect(change).to.be.revertedWithCustomError(identity, "IdentityDeactivated").withArgs(operator.address);
    }
    // The identity's own key is no way back in either.
    await expect(identity.connect(operator).changeOwner(operator, operator)).to.be.revertedWithCustomError(
      identity,
      "NotController",
    );
  });
});
