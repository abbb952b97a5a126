import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import { aProfile, deployedMarket, publishNode, text32 } from "../support/market.ts";

async function publishedNode() {
  const on = await deployedMarket();
  await publishNode(on, on.operator, on.nodeKey);
  return on;
}

describe("IdentityRegistry#revokeNode", () => {
  it("ends the node's keys and frees its prefix", async () => {
    const on = await loadFixture(publishedNode);
    const { identity, operator, nodeKey } = on;
    const { wgKey } = await aProfile(nodeKey);
    const changed = await identity.changed(operator);
    const revoking = identity.connect(operator).revokeNode(operator, 0);
    await expect(revoking).to.emit(identity, "NodeRevoked").withArgs(operator.address, 0);
    await expect(revoking)
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, text32("veriKey"), nodeKey.address, 0, changed)
      .and.to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, text32("did/pub/X25519/enc/base64"), wgKey, 0, changed + 1n);

    expect(await identity.nodeOf(operator, 0)).to.deep.equal([
      ...[ethers.ZeroAddress, 0n, 0n, ethers.ZeroHash, 0n],
      ethers.dataSlice(ethers.ZeroHash, 0, 24),
    ]);
    expect(await identity.signerOf(operator, 0)).to.deep.equal([ethers.ZeroAddress, 0n]);
    expect(await identity.validDelegate(operator, text32("veriKey"), nodeKey)).to.equal(false);
  });

  it("ends the hour of a replaced key too", async () => {
    const on = await loadFixture(publishedNode);
    const { identity, operator, nodeKey, newNodeKey } = on;
    await publishNode(on, operator, newNodeKey);
    const changed = await identity.changed(operator);
    await expect(identity.connect(operator).revokeNode(operator, 0))
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, text32("veriKey"), nodeKey.address, 0, changed);
    expect(await identity.validDelegate(operator, text32("veriKey"), nodeKey)).to.equal(false);
    await expect(publishNode(on, operator, nodeKey), "it is not the node's last key")
      .to.be.revertedWithCustomError(identity, "KeyTaken")
      .withArgs(nodeKey.address);
  });

  it("says nothing of a replaced key whose hour is over", async () => {
    const on = await loadFixture(publishedNode);
    await publishNode(on, on.operator, on.newNodeKey);
    await time.increase(3601);
    const revoking = await on.identity.connect(on.operator).revokeNode(on.operator, 0);
    expect((await revoking.wait())?.logs, "delegate, WireGuard key and NodeRevoked").to.have.lengthOf(3);
  });

  it("leaves the way back open, with the next key version", async () => {
    const on = await loadFixture(publishedNode);
    await on.identity.connect(on.operator).revokeNode(on.operator, 0);
    await publishNode(on, on.operator, on.nodeKey);
    expect((await on.identity.nodeOf(on.operator, 0)).keyVersion).to.equal(2n);
  });

  it("works for the last owner of a deactivated identity", async () => {
    const on = await loadFixture(publishedNode);
    await on.identity.connect(on.operator).changeOwner(on.operator, ethers.ZeroAddress);
    await on.identity.connect(on.operator).revokeNode(on.operator, 0);
    expect((await on.identity.nodeOf(on.operator, 0)).validTo).to.equal(0n);
  });

  it("refuses a node that is not published", async () => {
    const { identity, operator } = await loadFixture(publishedNode);
    await identity.connect(operator).revokeNode(operator, 0);
    for (const index of [0, 1]) {
      await expect(identity.connect(operator).revokeNode(operator, index))
        .to.be.revertedWithCustomError(identity, "NodeUnknown")
        .withArgs(operator.address, index);
    }
  });

  it("refuses everybody but the controller, the node's key included", async () => {
    const { identity, operator, nodeKey } = await loadFixture(publishedNode);
    await expect(identity.connect(nodeKey).revokeNode(operator, 0))
      .to.be.revertedWithCustomError(identity, "NotController")
      .withArgs(operator.address, nodeKey.address, operator.address);
  });
});
