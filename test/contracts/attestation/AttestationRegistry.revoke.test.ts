import { expect } from "chai";
import { ethers, loadFixture, networkHelpers } from "../support/actors.ts";
import { believed, MEASUREMENT, NO_KEY, openRegistry, PLATFORM, registerBelieved, STATUS } from "./support.ts";

const key = new ethers.Wallet(ethers.id("result key"));
const role = ethers.encodeBytes32String;

async function attestedKey() {
  const world = await openRegistry();
  await registerBelieved(world, key);
  return world;
}

describe("AttestationRegistry: what is allowed and what is revoked", () => {
  it("is written by the holder of its role alone", async () => {
    const world = await loadFixture(attestedKey);
    const { registry, stranger, verifiersHolder, measurementsHolder, platformsHolder, keysHolder, addresses } = world;
    const calls = [
      { list: "VERIFIERS", holder: verifiersHolder, name: "allowVerifier", argument: addresses.tpmVerifier },
      { list: "VERIFIERS", holder: verifiersHolder, name: "revokeVerifier", argument: addresses.believer },
      { list: "MEASUREMENTS", holder: measurementsHolder, name: "allowMeasurement", argument: ethers.id("new") },
      { list: "MEASUREMENTS", holder: measurementsHolder, name: "revokeMeasurement", argument: MEASUREMENT },
      { list: "PLATFORMS", holder: platformsHolder, name: "revokePlatform", argument: PLATFORM },
      { list: "PLATFORMS", holder: platformsHolder, name: "reinstatePlatform", argument: PLATFORM },
      { list: "KEYS", holder: keysHolder, name: "revokeKey", argument: key.address },
    ] as const;
    const holders = [verifiersHolder, measurementsHolder, platformsHolder, keysHolder];
    for (const { list, holder, name, argument } of calls) {
      for (const other of [stranger, ...holders.filter(({ address }) => address !== holder.address)]) {
        await expect(registry.connect(other)[name](argument))
          .to.be.revertedWithCustomError(registry, "NotHolder")
          .withArgs(role(list), other.address, holder.address);
      }
    }
    expect(await registry.statusOf(key.address)).to.equal(STATUS.Good);
    expect(await registry.verifierAllowed(addresses.tpmVerifier)).to.equal(false);
    expect(await registry.measurementAllowed(ethers.id("new"))).to.equal(false);
  });

  it("ends every key of a verifier at once, for good", async () => {
    const { registry, verifiersHolder, addresses, ...world } = await loadFixture(attestedKey);
    await expect(registry.connect(verifiersHolder).revokeVerifier(addresses.believer))
      .to.emit(registry, "VerifierRevoked")
      .withArgs(addresses.believer, 1);
    expect(await registry.verifierAllowed(addresses.believer)).to.equal(false);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.VerifierRevoked);
    expect(await registry.keyOf(key.address)).to.deep.equal(NO_KEY);

    await expect(registry.connect(verifiersHolder).revokeVerifier(addresses.believer))
      .to.be.revertedWithCustomError(registry, "VerifierNotAllowed")
      .withArgs(addresses.believer);
    await expect(registry.connect(verifiersHolder).allowVerifier(addresses.believer))
      .to.emit(registry, "VerifierAllowed")
      .withArgs(addresses.believer, 2);
    expect(await registry.verifierAllowed(addresses.believer)).to.equal(true);
    // The record is of the verifier as it was before.
    expect(await registry.statusOf(key.address)).to.equal(STATUS.VerifierRevoked);
    await networkHelpers.mine(1);
    await registerBelieved({ ...world, registry, verifiersHolder, addresses }, key);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.Good);
  });

  it("leaves the keys of other verifiers alone", async () => {
    const world = await loadFixture(attestedKey);
    await world.registry.connect(world.verifiersHolder).allowVerifier(world.tpmVerifier);
    await world.registry.connect(world.verifiersHolder).revokeVerifier(world.tpmVerifier);
    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.Good);
  });

  it("allows a verifier once, and only a contract", async () => {
    const { registry, verifiersHolder, stranger, addresses } = await loadFixture(attestedKey);
    await expect(registry.connect(verifiersHolder).allowVerifier(addresses.believer))
      .to.be.revertedWithCustomError(registry, "VerifierAlreadyAllowed")
      .withArgs(addresses.believer, 1);
    await expect(registry.connect(verifiersHolder).allowVerifier(stranger))
      .to.be.revertedWithCustomError(registry, "VerifierWithoutCode")
      .withArgs(stranger.address);
  });

  it("ends every key with a measurement at once, for good", async () => {
    const world = await loadFixture(attestedKey);
    const { registry, measurementsHolder } = world;
    await expect(registry.connect(measurementsHolder).revokeMeasurement(MEASUREMENT))
      .to.emit(registry, "MeasurementRevoked")
      .withArgs(MEASUREMENT, 1);
    expect(await registry.measurementAllowed(MEASUREMENT)).to.equal(false);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.MeasurementRevoked);
    expect(await registry.keyOf(key.address)).to.deep.equal(NO_KEY);

    await expect(registry.connect(measurementsHolder).revokeMeasurement(MEASUREMENT))
      .to.be.revertedWithCustomError(registry, "MeasurementNotAllowed")
      .withArgs(MEASUREMENT);
    await expect(registry.connect(measurementsHolder).allowMeasurement(MEASUREMENT))
      .to.emit(registry, "MeasurementAllowed")
      .withArgs(MEASUREMENT, 2);
    expect(await registry.measurementAllowed(MEASUREMENT)).to.equal(true);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.MeasurementRevoked);
    await networkHelpers.mine(1);
    await registerBelieved(world, key);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.Good);
  });

  it("allows a measurement once, and never zero", async () => {
    const { registry, measurementsHolder } = await loadFixture(attestedKey);
    await expect(registry.connect(measurementsHolder).allowMeasurement(MEASUREMENT))
      .to.be.revertedWithCustomError(registry, "MeasurementAlreadyAllowed")
      .withArgs(MEASUREMENT, 1);
    await expect(registry.connect(measurementsHolder).allowMeasurement(ethers.ZeroHash)).to.be.revertedWithCustomError(
      registry,
      "ZeroMeasurement",
    );
  });

  it("ends every key on a platform until the platform is reinstated", async () => {
    const { registry, platformsHolder } = await loadFixture(attestedKey);
    const held = await registry.keyOf(key.address);
    await expect(registry.connect(platformsHolder).revokePlatform(PLATFORM))
      .to.emit(registry, "PlatformRevoked")
      .withArgs(PLATFORM);
    expect(await registry.platformRevoked(PLATFORM)).to.equal(true);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.PlatformRevoked);
    expect(await registry.keyOf(key.address)).to.deep.equal(NO_KEY);
    await expect(registry.connect(platformsHolder).revokePlatform(PLATFORM))
      .to.be.revertedWithCustomError(registry, "PlatformIsRevoked")
      .withArgs(PLATFORM);

    await expect(registry.connect(platformsHolder).reinstatePlatform(PLATFORM))
      .to.emit(registry, "PlatformReinstated")
      .withArgs(PLATFORM);
    expect(await registry.platformRevoked(PLATFORM)).to.equal(false);
    expect(await registry.keyOf(key.address)).to.deep.equal(held);
    await expect(registry.connect(platformsHolder).reinstatePlatform(PLATFORM))
      .to.be.revertedWithCustomError(registry, "PlatformNotRevoked")
      .withArgs(PLATFORM);
  });

  it("ends a key for good, by the holder of KEYS", async () => {
    const world = await loadFixture(attestedKey);
    const { registry, keysHolder } = world;
    await expect(registry.connect(keysHolder).revokeKey(key.address))
      .to.emit(registry, "KeyRevoked")
      .withArgs(key.address, keysHolder.address);
    expect(await registry.statusOf(key.address)).to.equal(STATUS.KeyRevoked);
    expect(await registry.keyOf(key.address)).to.deep.equal(NO_KEY);
    await expect(registry.connect(keysHolder).revokeKey(key.address))
      .to.be.revertedWithCustomError(registry, "KeyIsRevoked")
      .withArgs(key.address);

    await networkHelpers.mine(1);
    const { claim, evidence, consent } = await believed(world, key);
    await expect(registry.register(world.believer, evidence, claim, consent))
      .to.be.revertedWithCustomError(registry, "KeyIsRevoked")
      .withArgs(key.address);
  });

  it("ends a key by the key itself, even before it is registered", async () => {
    const world = await loadFixture(openRegistry);
    await networkHelpers.setBalance(key.address, 10n ** 18n);
    await world.registry.connect(key.connect(ethers.provider)).revokeKey(key.address);
    expect(await world.registry.statusOf(key.address)).to.equal(STATUS.KeyRevoked);
    await networkHelpers.mine(1);
    const { claim, evidence, consent } = await believed(world, key);
    await expect(world.registry.register(world.believer, evidence, claim, consent))
      .to.be.revertedWithCustomError(world.registry, "KeyIsRevoked")
      .withArgs(key.address);
  });
});
