import { expect } from "chai";
import { at, ethers, loadFixture, networkHelpers, time } from "../support/actors.ts";
import { addressOf, aProfile, DAY, deployedMarket, keyProof, publishNode, text32 } from "../support/market.ts";

const VERI_KEY = text32("veriKey");
const WG_KEY = text32("did/pub/X25519/enc/base64");
const HOUR = 3600;

/** Where the registry keeps the WireGuard key of the node that holds `prefix`. */
const prefixSlot = (prefix: bigint) =>
  ethers.keccak256(ethers.AbiCoder.defaultAbiCoder().encode(["uint56", "uint256"], [prefix, 6]));
const servicesHash = (texts: [wgEndpoint: string, contentUrl: string, profileCid: string]) =>
  ethers.dataSlice(ethers.keccak256(ethers.concat(texts.map((text) => ethers.id(text)))), 0, 24);

describe("IdentityRegistry#publishNode", () => {
  it("stores what contracts read and announces all of it", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey } = on;
    const profileCid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    const profile = await aProfile(nodeKey, { salt: 7n, profileCid });
    const { key, wgKey, salt, validTo, wgEndpoint, contentUrl } = profile;
    const prefix = await identity.meshPrefix(operator, 0, salt);

    const publishing = publishNode(on, operator, nodeKey, profile);
    await expect(publishing)
      .to.emit(identity, "NodePublished")
      .withArgs(operator.address, 0, key, wgKey, prefix, validTo, 1, wgEndpoint, contentUrl, profileCid);
    const block = await time.latestBlock();
    await expect(publishing)
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, VERI_KEY, key, validTo, 0)
      .and.to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, WG_KEY, wgKey, validTo, block);
    for (const [name, text] of [
      ["did/svc/BerthWireGuard", wgEndpoint],
      ["did/svc/BerthContent", contentUrl],
      ["did/svc/BerthProfile", profileCid],
    ] as const) {
      await expect(publishing)
        .to.emit(identity, "DIDAttributeChanged")
        .withArgs(operator.address, text32(name), ethers.hexlify(ethers.toUtf8Bytes(text)), validTo, block);
    }

    const services = servicesHash([wgEndpoint, contentUrl, profileCid]);
    expect(await identity.nodeOf(operator, 0)).to.deep.equal([key, BigInt(validTo), prefix, wgKey, 1n, services]);
    expect(await identity.signerOf(operator, 0)).to.deep.equal([key, BigInt(validTo)]);
    expect(await identity.validDelegate(operator, VERI_KEY, key)).to.equal(true);
    expect(await identity.changed(operator)).to.equal(block);
  });

  it("says nothing about texts that are empty", async () => {
    const on = await loadFixture(deployedMarket);
    const none = { wgEndpoint: "", contentUrl: "", profileCid: "" };
    const publishing = await publishNode(on, on.operator, on.nodeKey, none);
    expect((await publishing.wait())?.logs, "delegate, WireGuard key and NodePublished").to.have.lengthOf(3);
    expect((await on.identity.nodeOf(on.operator, 0)).servicesHash).to.equal(servicesHash(["", "", ""]));
  });

  it("commits to the texts anew with each publication", async () => {
    const on = await loadFixture(deployedMarket);
    const texts = async () => (await on.identity.nodeOf(on.operator, 0)).servicesHash;
    await publishNode(on, on.operator, on.nodeKey, { wgEndpoint: "a", contentUrl: "b", profileCid: "c" });
    expect(await texts()).to.equal(servicesHash(["a", "b", "c"]));
    await publishNode(on, on.operator, on.nodeKey, { wgEndpoint: "a", contentUrl: "b", profileCid: "d" });
    expect(await texts()).to.equal(servicesHash(["a", "b", "d"]));
    await publishNode(on, on.operator, on.newNodeKey, { wgEndpoint: "ab", contentUrl: "", profileCid: "d" });
    expect(await texts()).to.equal(servicesHash(["ab", "", "d"]));
  });

  it("derives the mesh prefix from chain, registry, operator, index and salt", async () => {
    const { identity, operator, addresses } = await loadFixture(deployedMarket);
    const types = ["bytes32", "uint256", "address", "address", "uint32", "uint64"];
    const values = [ethers.id("berth/mesh/v1"), 31337, addresses.identity, operator.address, 3, 9];
    const digest = ethers.keccak256(ethers.AbiCoder.defaultAbiCoder().encode(types, values));
    expect(await identity.meshPrefix(operator, 3, 9)).to.equal(BigInt(digest.slice(0, 16)));
  });

  it("revokes the replaced WireGuard key at once, the hot key after an hour, and counts versions on", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, newNodeKey } = on;
    const old = await aProfile(nodeKey);
    await publishNode(on, operator, nodeKey);
    const published = await time.latestBlock();

    const now = (await time.latest()) + 10;
    await at(now);
    await expect(publishNode(on, operator, newNodeKey))
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, VERI_KEY, nodeKey.address, now + HOUR, published)
      .and.to.emit(identity, "DIDAttributeChanged")
      .withArgs(operator.address, WG_KEY, old.wgKey, 0, published + 1);
    const current = await aProfile(newNodeKey);
    expect((await identity.nodeOf(operator, 0)).wgKey).to.equal(current.wgKey);
    expect((await identity.nodeOf(operator, 0)).keyVersion).to.equal(2n);
    expect(await identity.validDelegate(operator, VERI_KEY, newNodeKey)).to.equal(true);
    await time.increaseTo(now + HOUR);
    expect(await identity.validDelegate(operator, VERI_KEY, nodeKey)).to.equal(true);
    await time.increaseTo(now + HOUR + 1);
    expect(await identity.validDelegate(operator, VERI_KEY, nodeKey)).to.equal(false);
  });

  it("lets the replaced key come back, and gives the hour to the one that it replaces", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, newNodeKey } = on;
    for (const key of [nodeKey, newNodeKey, nodeKey]) await publishNode(on, operator, key);
    const now = await time.latest();
    expect((await identity.nodeOf(operator, 0)).key).to.equal(nodeKey.address);
    expect((await identity.nodeOf(operator, 0)).keyVersion).to.equal(3n);
    expect(await identity.validDelegate(operator, VERI_KEY, newNodeKey)).to.equal(true);
    await time.increaseTo(now + HOUR + 1);
    expect(await identity.validDelegate(operator, VERI_KEY, nodeKey)).to.equal(true);
    expect(await identity.validDelegate(operator, VERI_KEY, newNodeKey)).to.equal(false);
  });

  it("ends the hour of a replaced key when the next one is replaced", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, newNodeKey, heir } = on;
    await publishNode(on, operator, nodeKey);
    await publishNode(on, operator, newNodeKey);
    const block = await time.latestBlock();
    await expect(publishNode(on, operator, heir))
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, VERI_KEY, nodeKey.address, 0, block);
    expect(await identity.validDelegate(operator, VERI_KEY, nodeKey)).to.equal(false);
    expect(await identity.validDelegate(operator, VERI_KEY, newNodeKey)).to.equal(true);
    await expect(publishNode(on, operator, nodeKey), "it has served its time")
      .to.be.revertedWithCustomError(identity, "KeyTaken")
      .withArgs(nodeKey.address);
  });

  it("does not lengthen the life of a key by replacing it", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, newNodeKey } = on;
    const validTo = (await time.latest()) + 100;
    await publishNode(on, operator, nodeKey, { validTo });
    const block = await time.latestBlock();
    await expect(publishNode(on, operator, newNodeKey))
      .to.emit(identity, "DIDDelegateChanged")
      .withArgs(operator.address, VERI_KEY, nodeKey.address, validTo, block);
    await time.increaseTo(validTo);
    expect(await identity.validDelegate(operator, VERI_KEY, nodeKey)).to.equal(true);
    await time.increaseTo(validTo + 1);
    expect(await identity.validDelegate(operator, VERI_KEY, nodeKey)).to.equal(false);
  });

  it("renews a node without revoking what stays", async () => {
    const on = await loadFixture(deployedMarket);
    await publishNode(on, on.operator, on.nodeKey);
    const renewing = await publishNode(on, on.operator, on.nodeKey);
    const revocations = (await renewing.wait())?.logs.filter(
      (log: { fragment?: { name: string }; args?: { validTo?: bigint } }) =>
        log.fragment?.name.startsWith("DID") && log.args?.validTo === 0n,
    );
    expect(revocations).to.deep.equal([]);
  });

  it("lets a key count to its last second and not longer", async () => {
    const on = await loadFixture(deployedMarket);
    const validTo = (await time.latest()) + DAY;
    await publishNode(on, on.operator, on.nodeKey, { validTo });
    await time.increaseTo(validTo);
    expect(await on.identity.validDelegate(on.operator, VERI_KEY, on.nodeKey)).to.equal(true);
    await time.increaseTo(validTo + 1);
    expect(await on.identity.validDelegate(on.operator, VERI_KEY, on.nodeKey)).to.equal(false);
  });

  it("takes a proof from a key that is a contract", async () => {
    const on = await loadFixture(deployedMarket);
    const wallet = await ethers.deployContract("OwnedWallet", [on.nodeKey]);
    const key = await wallet.getAddress();
    const profile = await aProfile({ address: key });
    const node = { operator: addressOf(on.operator), index: 0, wgKey: profile.wgKey };
    const proof = await keyProof(on, on.nodeKey, node);
    await on.identity.connect(on.operator).publishNode(on.operator, profile, proof);
    expect((await on.identity.nodeOf(on.operator, 0)).key).to.equal(key);
  });

  it("refuses everybody but the controller", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, stranger } = on;
    await expect(identity.connect(stranger).publishNode(operator, await aProfile(nodeKey), "0x"))
      .to.be.revertedWithCustomError(identity, "NotController")
      .withArgs(operator.address, stranger.address, operator.address);
  });

  it("refuses a deactivated operator", async () => {
    const on = await loadFixture(deployedMarket);
    await on.identity.connect(on.operator).changeOwner(on.operator, ethers.ZeroAddress);
    await expect(publishNode(on, on.operator, on.nodeKey))
      .to.be.revertedWithCustomError(on.identity, "IdentityDeactivated")
      .withArgs(on.operator.address);
  });

  it("refuses a key that did not agree, and a proof made for another node", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey, stranger } = on;
    const profile = await aProfile(nodeKey);
    const node = { operator: addressOf(operator), index: 0, wgKey: profile.wgKey };
    for (const proof of [await keyProof(on, stranger, node), await keyProof(on, nodeKey, { ...node, index: 1 })]) {
      await expect(identity.connect(operator).publishNode(operator, profile, proof))
        .to.be.revertedWithCustomError(identity, "BadKeyProof")
        .withArgs(operator.address, 0, nodeKey.address);
    }
  });

  it("never lets a key serve two nodes, even one that was rotated out", async () => {
    const on = await loadFixture(deployedMarket);
    await publishNode(on, on.operator, on.nodeKey);
    await publishNode(on, on.operator, on.newNodeKey);
    for (const [operator, index] of [
      [on.otherOperator, 0],
      [on.operator, 1],
    ] as const) {
      await expect(publishNode(on, operator, on.nodeKey, { index }))
        .to.be.revertedWithCustomError(on.identity, "KeyTaken")
        .withArgs(on.nodeKey.address);
    }
  });

  it("refuses an empty key and an expiry that has passed", async () => {
    const on = await loadFixture(deployedMarket);
    const { identity, operator, nodeKey } = on;
    const publish = async (replaced: object) =>
      identity.connect(operator).publishNode(operator, { ...(await aProfile(nodeKey)), ...replaced }, "0x");
    await expect(publish({ key: ethers.ZeroAddress })).to.be.revertedWithCustomError(identity, "ZeroKey");
    await expect(publish({ wgKey: ethers.ZeroHash })).to.be.revertedWithCustomError(identity, "ZeroKey");
    const validTo = (await time.latest()) + 10;
    await at(validTo);
    await expect(publish({ validTo })).to.be.revertedWithCustomError(identity, "ExpiryPassed").withArgs(validTo);
  });

  it("moves to another prefix with another salt and frees the old one", async () => {
    const on = await loadFixture(deployedMarket);
    await publishNode(on, on.operator, on.nodeKey, { salt: 1n });
    const freed = await on.identity.meshPrefix(on.operator, 0, 1n);
    await publishNode(on, on.operator, on.nodeKey, { salt: 2n });
    expect(await networkHelpers.getStorageAt(on.addresses.identity, prefixSlot(freed))).to.equal(ethers.ZeroHash);
    expect((await on.identity.nodeOf(on.operator, 0)).prefix).to.equal(
      await on.identity.meshPrefix(on.operator, 0, 2n),
    );
    await publishNode(on, on.operator, on.nodeKey, { salt: 1n });
    expect((await on.identity.nodeOf(on.operator, 0)).prefix).to.equal(
      await on.identity.meshPrefix(on.operator, 0, 1n),
    );
  });

  it("refuses a prefix that another node holds", async () => {
    const on = await loadFixture(deployedMarket);
    const prefix = await on.identity.meshPrefix(on.operator, 0, 5n);
    // Two nodes with one prefix need 2^56 tries, so the other holder is written into storage.
    const slot = prefixSlot(prefix);
    await networkHelpers.setStorageAt(on.addresses.identity, slot, ethers.id("their WireGuard key"));
    await expect(publishNode(on, on.operator, on.nodeKey, { salt: 5n }))
      .to.be.revertedWithCustomError(on.identity, "PrefixTaken")
      .withArgs(prefix);
    await publishNode(on, on.operator, on.nodeKey, { salt: 6n });
  });
});
