import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import { aProfile, DAY, deployedMarket, text32 } from "../support/market.ts";
import * as sign from "./signed-calls.ts";
import { send, signCall } from "./signed-calls.ts";

const SERVICE = "did/svc/BerthContent";

describe("IdentityRegistry#…Signed", () => {
  it("does what the controller signed, whoever sends it, and counts the nonces up", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, stranger, nodeKey, newNodeKey, heir } = on;
    const relay = async (call: sign.Call, nonce: bigint) => {
      expect(await identity.nonceOf(operator)).to.equal(nonce);
      return send(on, stranger, call, await signCall(on, operator, call));
    };

    await relay(sign.addDelegate(operator, "sigAuth", heir, DAY), 0n);
    const block = await time.latestBlock();
    expect(await identity.validDelegate(operator, text32("sigAuth"), heir)).to.equal(true);
    await relay(sign.revokeDelegate(operator, "sigAuth", heir), 1n);
    expect(await identity.validDelegate(operator, text32("sigAuth"), heir)).to.equal(false);

    const setting = await relay(sign.setAttribute(operator, SERVICE, "0x6162", DAY), 2n);
    await expect(setting)
      .to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, text32(SERVICE), "0x6162", (await time.latest()) + DAY, block + 1);
    await expect(await relay(sign.revokeAttribute(operator, SERVICE, "0x6162"), 3n))
      .to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, text32(SERVICE), "0x6162", 0, block + 2);

    await relay(await sign.publishNode(on, operator, nodeKey, { profileCid: "bafkprofile" }), 4n);
    const { wgKey } = await aProfile(nodeKey);
    expect((await identity.nodeOf(operator, 0)).slice(0, 1)).to.deep.equal([nodeKey.address]);
    expect((await identity.nodeOf(operator, 0)).wgKey).to.equal(wgKey);
    await relay(await sign.publishNode(on, operator, newNodeKey), 5n);
    expect((await identity.nodeOf(operator, 0)).key).to.equal(newNodeKey.address);
    await relay(sign.revokeNode(operator, 0), 6n);
    expect((await identity.nodeOf(operator, 0)).key).to.equal(ethers.ZeroAddress);

    await relay(sign.changeOwner(operator, heir.address), 7n);
    expect(await identity.identityOwner(operator)).to.equal(heir.address);
    // One for the signature, one for the change of owner.
    expect(await identity.nonceOf(operator)).to.equal(9n);
  });

  it("takes the signature of a wallet that is the controller", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, heir, stranger } = on;
    const wallet = await ethers.deployContract("OwnedWallet", [heir]);
    await identity.connect(operator).changeOwner(operator, wallet);
    const call = sign.addDelegate(operator, "sigAuth", stranger, DAY);
    await send(on, stranger, call, await signCall(on, heir, call));
    expect(await identity.validDelegate(operator, text32("sigAuth"), stranger)).to.equal(true);
  });

  it("lets the last owner of a deactivated identity take its nodes out of service, and nothing else", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, stranger, nodeKey } = on;
    const publishing = await sign.publishNode(on, operator, nodeKey);
    await send(on, stranger, publishing, await signCall(on, operator, publishing));
    const ending = sign.changeOwner(operator, ethers.ZeroAddress);
    await send(on, stranger, ending, await signCall(on, operator, ending));
    expect(await identity.deactivated(operator)).to.equal(true);

    for (const call of [
      sign.changeOwner(operator, operator.address),
      sign.addDelegate(operator, "sigAuth", stranger, DAY),
      sign.revokeDelegate(operator, "sigAuth", stranger),
      sign.setAttribute(operator, SERVICE, "0x61", DAY),
      sign.revokeAttribute(operator, SERVICE, "0x61"),
      await sign.publishNode(on, operator, nodeKey),
    ]) {
      await expect(send(on, stranger, call, await signCall(on, operator, call)))
        .to.be.revertedWithCustomError(identity, "IdentityDeactivated")
        .withArgs(operator.address);
    }
    const revoking = sign.revokeNode(operator, 0);
    await send(on, stranger, revoking, await signCall(on, operator, revoking));
    expect((await identity.nodeOf(operator, 0)).validTo).to.equal(0n);
  });

  it("counts to its deadline's last second", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, stranger } = on;
    const deadline = (await time.latest()) + 100;
    const call = sign.addDelegate(operator, "sigAuth", stranger, DAY);
    const signed = await signCall(on, operator, call, { deadline });
    await time.setNextBlockTimestamp(deadline);
    await send(on, stranger, call, signed);
    expect(await identity.validDelegate(operator, text32("sigAuth"), stranger)).to.equal(true);
  });
});

describe("IdentityRegistry#burnNonces", () => {
  it("voids what was signed and not used, also for nonces to come", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, stranger } = on;
    const call = sign.addDelegate(operator, "sigAuth", stranger, DAY);
    const signed = await Promise.all([0n, 1n, 2n].map((nonce) => signCall(on, operator, call, { nonce })));
    await expect(identity.connect(operator).burnNonces(operator, 2))
      .to.emit(identity, "NoncesBurned")
      .withArgs(operator.address, 2);
    expect(await identity.nonceOf(operator)).to.equal(2n);
    expect(await identity.changed(operator), "no change of the DID document").to.equal(0n);
    const [first, second, third] = signed;
    if (!first || !second || !third) throw new Error("Three were signed.");
    for (const voided of [first, second]) {
      await expect(send(on, stranger, call, voided))
        .to.be.revertedWithCustomError(identity, "BadControllerSignature")
        .withArgs(operator.address, operator.address, 2);
    }
    await send(on, stranger, call, third);
  });

  it("is for the controller, of a deactivated identity too", async () => {
    const { identity, operator, stranger } = await loadFixture(deployedMarket);
    await expect(identity.connect(stranger).burnNonces(operator, 1))
      .to.be.revertedWithCustomError(identity, "NotController")
      .withArgs(operator.address, stranger.address, operator.address);
    await identity.connect(operator).changeOwner(operator, ethers.ZeroAddress);
    await identity.connect(operator).burnNonces(operator, 65_535);
    expect(await identity.nonceOf(operator)).to.equal(65_536n);
  });
});
