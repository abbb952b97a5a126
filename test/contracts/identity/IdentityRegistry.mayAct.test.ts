import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import { DAY, deployedMarket, publishNode } from "../support/market.ts";

const HOUR = 3600;

async function publishedNode() {
  const on = await deployedMarket();
  await publishNode(on, on.operator, on.nodeKey, { validTo: (await time.latest()) + DAY });
  const { identity, operator } = on;
  return {
    ...on,
    signer: async (index = 0) => (await identity.signerOf(operator, index)) as [key: string, validTo: bigint],
    mayAct: async (caller: { address: string }, index = 0) =>
      (await identity.mayAct(operator, index, caller.address)) as boolean,
  };
}

describe("IdentityRegistry#signerOf", () => {
  it("is the node's key with its last second, expired or not", async () => {
    const { signer, nodeKey, identity, operator } = await loadFixture(publishedNode);
    const { validTo } = await identity.nodeOf(operator, 0);
    expect(await signer()).to.deep.equal([nodeKey.address, validTo]);
    await time.increaseTo(validTo + 1n);
    expect(await signer()).to.deep.equal([nodeKey.address, validTo]);
  });

  it("is the new key as soon as the old one is replaced", async () => {
    const on = await loadFixture(publishedNode);
    await publishNode(on, on.operator, on.newNodeKey);
    expect((await on.signer())[0]).to.equal(on.newNodeKey.address);
  });

  it("is nobody for a node that was never published, or revoked, or whose operator was deactivated", async () => {
    const { identity, operator, otherOperator, signer } = await loadFixture(publishedNode);
    const nobody = [ethers.ZeroAddress, 0n];
    expect(await signer(1)).to.deep.equal(nobody);
    expect(await identity.signerOf(otherOperator, 0)).to.deep.equal(nobody);
    await identity.connect(operator).changeOwner(operator, ethers.ZeroAddress);
    expect(await signer()).to.deep.equal(nobody);
    await identity.connect(operator).revokeNode(operator, 0);
    expect(await signer()).to.deep.equal(nobody);
  });

  it("is nobody for a revoked node of an active operator", async () => {
    const { identity, operator, signer } = await loadFixture(publishedNode);
    await identity.connect(operator).revokeNode(operator, 0);
    expect(await signer()).to.deep.equal([ethers.ZeroAddress, 0n]);
  });
});

describe("IdentityRegistry#mayAct", () => {
  it("lets the node's key act, even when it has expired or its operator was deactivated", async () => {
    const { identity, operator, nodeKey, stranger, mayAct } = await loadFixture(publishedNode);
    expect(await mayAct(nodeKey)).to.equal(true);
    expect(await mayAct(stranger)).to.equal(false);
    expect(await mayAct(nodeKey, 1), "another node").to.equal(false);
    await time.increase(2 * DAY);
    expect(await mayAct(nodeKey)).to.equal(true);
    await identity.connect(operator).changeOwner(operator, ethers.ZeroAddress);
    expect(await mayAct(nodeKey)).to.equal(true);
  });

  it("lets the replaced key act for an hour, and the controller always", async () => {
    const on = await loadFixture(publishedNode);
    const { operator, nodeKey, newNodeKey, mayAct } = on;
    await publishNode(on, operator, newNodeKey);
    const now = await time.latest();
    for (const key of [nodeKey, newNodeKey, operator]) expect(await mayAct(key)).to.equal(true);
    await time.increaseTo(now + HOUR);
    expect(await mayAct(nodeKey)).to.equal(true);
    await time.increaseTo(now + HOUR + 1);
    expect(await mayAct(nodeKey)).to.equal(false);
    for (const key of [newNodeKey, operator]) expect(await mayAct(key)).to.equal(true);
  });

  it("gives the hour to a key that had expired as well", async () => {
    const on = await loadFixture(publishedNode);
    await time.increase(2 * DAY);
    await publishNode(on, on.operator, on.newNodeKey);
    const now = await time.latest();
    expect(await on.mayAct(on.nodeKey)).to.equal(true);
    await time.increaseTo(now + HOUR + 1);
    expect(await on.mayAct(on.nodeKey)).to.equal(false);
  });

  it("starts no new hour when a node is renewed", async () => {
    const on = await loadFixture(publishedNode);
    await publishNode(on, on.operator, on.newNodeKey);
    await time.increase(HOUR - 10);
    await publishNode(on, on.operator, on.newNodeKey);
    expect(await on.mayAct(on.nodeKey)).to.equal(true);
    await time.increase(10);
    expect(await on.mayAct(on.nodeKey)).to.equal(false);
  });

  it("lets nobody but the controller act once the node is revoked, also when it comes back with another key", async () => {
    const on = await loadFixture(publishedNode);
    const { identity, operator, nodeKey, newNodeKey, stranger, mayAct } = on;
    await publishNode(on, operator, newNodeKey);
    await identity.connect(operator).revokeNode(operator, 0);
    for (const key of [nodeKey, newNodeKey]) expect(await mayAct(key)).to.equal(false);
    expect(await mayAct(operator)).to.equal(true);
    await publishNode(on, operator, stranger);
    for (const key of [nodeKey, newNodeKey]) expect(await mayAct(key)).to.equal(false);
    expect(await mayAct(stranger)).to.equal(true);
  });

  it("knows the operator's controller by its present name", async () => {
    const { identity, operator, heir, mayAct } = await loadFixture(publishedNode);
    await identity.connect(operator).changeOwner(operator, heir);
    expect(await mayAct(heir)).to.equal(true);
    expect(await mayAct(operator)).to.equal(false);
    await identity.connect(heir).changeOwner(operator, ethers.ZeroAddress);
    expect(await mayAct(heir)).to.equal(true);
    expect(await mayAct(operator)).to.equal(false);
  });
});
