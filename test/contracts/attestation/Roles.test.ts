import { expect } from "chai";
import { ethers, loadFixture, provider } from "../support/actors.ts";
import { deployAttestation, wallets } from "./support.ts";

const role = ethers.encodeBytes32String;
const KEYS = role("KEYS");

describe("Roles", () => {
  it("start with the holders that the constructor names", async () => {
    const world = await loadFixture(deployAttestation);
    const { registry, committee } = world;
    expect(await registry.holderOf(role("VERIFIERS"))).to.equal(world.verifiersHolder.address);
    expect(await registry.holderOf(role("MEASUREMENTS"))).to.equal(world.measurementsHolder.address);
    expect(await registry.holderOf(role("PLATFORMS"))).to.equal(world.platformsHolder.address);
    expect(await registry.holderOf(KEYS)).to.equal(world.keysHolder.address);
    expect(await committee.holderOf(role("MEMBERS"))).to.equal(world.membersHolder.address);
    expect(await committee.holderOf(role("THRESHOLD"))).to.equal(world.thresholdHolder.address);
  });

  it("cannot start without a holder", async () => {
    const { stranger } = await loadFixture(deployAttestation);
    const [holder, nobody] = [stranger.address, ethers.ZeroAddress];
    const factory = await ethers.getContractFactory("AttestationRegistry");
    const names = ["VERIFIERS", "MEASUREMENTS", "PLATFORMS", "KEYS"];
    for (const [missing, name] of names.entries()) {
      await expect(factory.deploy(...names.map((_, i) => (i === missing ? nobody : holder))))
        .to.be.revertedWithCustomError(factory, "ZeroHolder")
        .withArgs(role(name));
    }
    const members = wallets(1).map(({ address }) => address);
    const committees = await ethers.getContractFactory("Committee");
    await expect(committees.deploy(members, 1, nobody, holder))
      .to.be.revertedWithCustomError(committees, "ZeroHolder")
      .withArgs(role("MEMBERS"));
    await expect(committees.deploy(members, 1, holder, nobody))
      .to.be.revertedWithCustomError(committees, "ZeroHolder")
      .withArgs(role("THRESHOLD"));
  });

  it("move when the nominee takes them, and leave the old holder nothing", async () => {
    const { registry, addresses, keysHolder, heir, stranger } = await loadFixture(deployAttestation);
    await expect(registry.connect(keysHolder).offerRole(KEYS, heir))
      .to.emit(registry, "RoleOffered")
      .withArgs(KEYS, keysHolder.address, heir.address);
    expect(await registry.nomineeOf(KEYS)).to.equal(heir.address);
    expect(await registry.holderOf(KEYS)).to.equal(keysHolder.address);
    await expect(registry.connect(heir).revokeKey(stranger))
      .to.be.revertedWithCustomError(registry, "NotHolder")
      .withArgs(KEYS, heir.address, keysHolder.address);

    await expect(registry.connect(heir).takeRole(KEYS))
      .to.emit(registry, "RoleTaken")
      .withArgs(KEYS, heir.address, keysHolder.address);
    // Storage itself: the mappings of holders and of nominees lie at slots 0 and 1.
    expect(await stored(addresses.registry, 0)).to.equal(heir.address);
    expect(await stored(addresses.registry, 1)).to.equal(ethers.ZeroAddress);
    for (const call of [
      registry.connect(keysHolder).revokeKey(stranger),
      registry.connect(keysHolder).offerRole(KEYS, keysHolder),
    ]) {
      await expect(call)
        .to.be.revertedWithCustomError(registry, "NotHolder")
        .withArgs(KEYS, keysHolder.address, heir.address);
    }
    await registry.connect(heir).revokeKey(stranger);
  });

  it("are offered by their holder alone and taken by the nominee alone, once", async () => {
    const { registry, keysHolder, platformsHolder, heir, stranger } = await loadFixture(deployAttestation);
    await expect(registry.connect(platformsHolder).offerRole(KEYS, platformsHolder))
      .to.be.revertedWithCustomError(registry, "NotHolder")
      .withArgs(KEYS, platformsHolder.address, keysHolder.address);
    await expect(registry.connect(stranger).takeRole(KEYS))
      .to.be.revertedWithCustomError(registry, "NotNominee")
      .withArgs(KEYS, stranger.address, ethers.ZeroAddress);
    await registry.connect(keysHolder).offerRole(KEYS, heir);
    await expect(registry.connect(stranger).takeRole(KEYS))
      .to.be.revertedWithCustomError(registry, "NotNominee")
      .withArgs(KEYS, stranger.address, heir.address);
    await registry.connect(heir).takeRole(KEYS);
    await expect(registry.connect(heir).takeRole(KEYS))
      .to.be.revertedWithCustomError(registry, "NotNominee")
      .withArgs(KEYS, heir.address, ethers.ZeroAddress);
  });

  it("stay where they are when an offer is withdrawn", async () => {
    const { registry, keysHolder, heir } = await loadFixture(deployAttestation);
    await registry.connect(keysHolder).offerRole(KEYS, heir);
    await registry.connect(keysHolder).offerRole(KEYS, ethers.ZeroAddress);
    await expect(registry.connect(heir).takeRole(KEYS))
      .to.be.revertedWithCustomError(registry, "NotNominee")
      .withArgs(KEYS, heir.address, ethers.ZeroAddress);
    expect(await registry.holderOf(KEYS)).to.equal(keysHolder.address);
  });

  it("that nobody ever held cannot be taken", async () => {
    const { registry, stranger } = await loadFixture(deployAttestation);
    await expect(registry.connect(stranger).offerRole(role("FUNDS"), stranger))
      .to.be.revertedWithCustomError(registry, "NotHolder")
      .withArgs(role("FUNDS"), stranger.address, ethers.ZeroAddress);
  });
});

async function stored(contract: string, mapping: number): Promise<string> {
  const slot = ethers.keccak256(ethers.AbiCoder.defaultAbiCoder().encode(["bytes32", "uint256"], [KEYS, mapping]));
  const word = await provider.request({ method: "eth_getStorageAt", params: [contract, slot, "latest"] });
  return ethers.getAddress(ethers.dataSlice(word as string, 12));
}
