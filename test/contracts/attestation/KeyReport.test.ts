import { expect } from "chai";
import { ethers, loadFixture } from "../support/actors.ts";
import { type Claim, deployAttestation, keyReport, type Named, named } from "./support.ts";

const claim: Claim = {
  operator: "0x1111111111111111111111111111111111111111",
  nodeIndex: 7,
  key: "0x2222222222222222222222222222222222222222",
  wgKey: ethers.id("wireguard key"),
  challengeBlock: 0,
};

describe("KeyReport", () => {
  it("hashes its fields in their order, under its own domain", async () => {
    const world = await loadFixture(deployAttestation);
    const harness = named<Named<"keyReport">>(await ethers.deployContract("AttestHarness"));
    const { operator, nodeIndex, key, wgKey } = claim;
    const nonce = ethers.id("block");
    const fields = {
      chainId: world.chainId,
      registry: world.addresses.registry,
      operator,
      nodeIndex,
      key,
      wgKey,
      nonce,
    };
    expect(await harness.keyReport(fields)).to.equal(keyReport(world, claim, nonce));
  });

  it("has a fixed value for fixed fields, so that no change of the encoding goes unseen", async () => {
    const harness = named<Named<"keyReport">>(await ethers.deployContract("AttestHarness"));
    const registry = "0x3333333333333333333333333333333333333333";
    const { operator, nodeIndex, key, wgKey } = claim;
    const fields = { chainId: 31337, registry, operator, nodeIndex, key, wgKey, nonce: ethers.id("block") };
    expect(await harness.keyReport(fields)).to.equal(
      "0xf3251e2797911de0580cc642ffc756ea10b1e2178e77e5e24489d27d0a2cf69b",
    );
  });
});
