import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import { DAY, deployedMarket, publishNode, text32 } from "../support/market.ts";

const HOUR = 3600;

describe("IdentityRegistry#addDelegate and #revokeDelegate", () => {
  it("make a delegate valid for a time, or until revoked", async () => {
    const { identity, operator, nodeKey } = await loadFixture(deployedMarket);
    const kind = text32("sigAuth");
    const now = (await time.latest()) + 1;
    await time.setNextBlockTimestamp(now);
    await expect(identity.connect(operator).addDelegate(operator, kind, nodeKey, DAY))
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, kind, nodeKey.address, now + DAY, 0);
    const block = await time.latestBlock();
    expect(await identity.validDelegate(operator, kind, nodeKey)).to.equal(true);
    expect(await identity.validDelegate(operator, text32("veriKey"), nodeKey)).to.equal(false);

    await expect(identity.connect(operator).revokeDelegate(operator, kind, nodeKey))
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, kind, nodeKey.address, 0, block);
    expect(await identity.validDelegate(operator, kind, nodeKey)).to.equal(false);
  });

  it("leave a node's key to publishNode and revokeNode, so that the DID document never contradicts the market", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, otherOperator, nodeKey } = on;
    await publishNode(on, operator, nodeKey);
    const key = [operator.address, 0, nodeKey.address] as const;
    const kind = text32("veriKey");
    await expect(identity.connect(operator).revokeDelegate(operator, kind, nodeKey))
      .to.be.revertedWithCustomError(identity, "DelegateIsNodeKey")
      .withArgs(...key);
    await expect(identity.connect(operator).addDelegate(operator, kind, nodeKey, 1))
      .to.be.revertedWithCustomError(identity, "DelegateIsNodeKey")
      .withArgs(...key);

    // Another operator's word about the key is its own, and so is what the key may do besides serving the node.
    await identity.connect(otherOperator).addDelegate(otherOperator, kind, nodeKey, DAY);
    await identity.connect(operator).addDelegate(operator, text32("sigAuth"), nodeKey, DAY);

    await identity.connect(operator).revokeNode(operator, 0);
    expect(await identity.validDelegate(operator, kind, nodeKey)).to.equal(false);
    expect(await identity.validDelegate(otherOperator, kind, nodeKey)).to.equal(true);
    // A revoked key may be in wrong hands.
    await expect(identity.connect(operator).addDelegate(operator, kind, nodeKey, DAY))
      .to.be.revertedWithCustomError(identity, "DelegateIsNodeKey")
      .withArgs(...key);
  });

  it("end with the node for a key that was a delegate before it became a node's key", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, newNodeKey, stranger } = on;
    const kind = text32("veriKey");
    for (const key of [nodeKey, newNodeKey])
      await identity.connect(operator).addDelegate(operator, kind, key, 365 * DAY);
    await publishNode(on, operator, nodeKey);
    await publishNode(on, operator, newNodeKey);
    await time.increase(HOUR + 1);
    expect(await identity.validDelegate(operator, kind, nodeKey)).to.equal(false);
    await identity.connect(operator).revokeNode(operator, 0);
    await publishNode(on, operator, stranger);
    for (const key of [nodeKey, newNodeKey]) {
      expect(await identity.validDelegate(operator, kind, key)).to.equal(false);
    }
  });

  it("take the longest time for ever", async () => {
    const { identity, operator, stranger } = await loadFixture(deployedMarket);
    await expect(identity.connect(operator).addDelegate(operator, text32("sigAuth"), stranger, ethers.MaxUint256))
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, text32("sigAuth"), stranger.address, ethers.MaxUint256, 0);
    expect(await identity.validDelegate(operator, text32("sigAuth"), stranger)).to.equal(true);
  });

  it("do not take the empty key of a node that was never published for a node's key", async () => {
    const { identity, operator } = await loadFixture(deployedMarket);
    await identity.connect(operator).addDelegate(operator, text32("veriKey"), ethers.ZeroAddress, DAY);
    expect(await identity.validDelegate(operator, text32("veriKey"), ethers.ZeroAddress)).to.equal(true);
  });

  it("let a delegation lapse", async () => {
    const { identity, operator, nodeKey } = await loadFixture(deployedMarket);
    await identity.connect(operator).addDelegate(operator, text32("veriKey"), nodeKey, DAY);
    await time.increase(DAY);
    expect(await identity.validDelegate(operator, text32("veriKey"), nodeKey)).to.equal(true);
    await time.increase(1);
    expect(await identity.validDelegate(operator, text32("veriKey"), nodeKey)).to.equal(false);
  });
});
