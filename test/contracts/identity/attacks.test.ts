// Each test performs the attack on a signed call, as an attacker with everything that it could really have would.
import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import { aProfile, DAY, type Deployed, deployedMarket, text32 } from "../support/market.ts";
import * as sign from "./signed-calls.ts";
import { send, signCall } from "./signed-calls.ts";

const ERC_1271_YES = "0x1626ba7e";
/** What a wallet may burn, what EIP-150 holds back for that, and what is left to go on with. */
const GAS_NEEDED = 200_000 + Math.floor(200_000 / 63) + 20_000;

/** The stranger wants to become the operator's delegate with a signature that it saw. */
async function aWish() {
  const on = await deployedMarket();
  const wish = sign.addDelegate(on.operator, "sigAuth", on.stranger, DAY);
  const refused = (nonce: number, controller: string = on.operator.address) => ({
    error: "BadControllerSignature",
    args: [on.operator.address, controller, nonce],
  });
  return { ...on, wish, refused };
}

async function expectRefused(
  on: Deployed,
  attack: Promise<unknown>,
  { error, args }: { error: string; args: unknown[] },
) {
  await expect(attack)
    .to.be.revertedWithCustomError(on.identity, error)
    .withArgs(...args);
  expect(await on.identity.validDelegate(on.operator, text32("sigAuth"), on.stranger)).to.equal(false);
}

describe("A signed call is good for one chain, one registry, one time", () => {
  it("cannot be brought over from another chain", async () => {
    const on = await loadFixture(aWish);
    const signed = await signCall(on, on.operator, on.wish, { chainId: 1 });
    await expectRefused(on, send(on, on.stranger, on.wish, signed), on.refused(0));
  });

  it("cannot be brought over from another registry", async () => {
    const on = await loadFixture(aWish);
    const other = await ethers.deployContract("IdentityRegistry");
    const signed = await signCall(on, on.operator, on.wish, { registry: await other.getAddress() });
    await expectRefused(on, send(on, on.stranger, on.wish, signed), on.refused(0));
  });

  it("cannot be used twice", async () => {
    const on = await loadFixture(aWish);
    const signed = await signCall(on, on.operator, on.wish);
    await send(on, on.stranger, on.wish, signed);
    await on.identity.connect(on.operator).revokeDelegate(on.operator, text32("sigAuth"), on.stranger);
    await expectRefused(on, send(on, on.stranger, on.wish, signed), on.refused(1));
  });

  it("cannot be used before those that were signed earlier", async () => {
    const on = await loadFixture(aWish);
    const signed = await signCall(on, on.operator, on.wish, { nonce: 1n });
    await expectRefused(on, send(on, on.stranger, on.wish, signed), on.refused(0));
  });

  it("cannot be used after its deadline, nor with a later one", async () => {
    const on = await loadFixture(aWish);
    const signed = await signCall(on, on.operator, on.wish);
    const later = { ...signed, deadline: signed.deadline + 1 };
    await expectRefused(on, send(on, on.stranger, on.wish, later), on.refused(0));
    await time.setNextBlockTimestamp(signed.deadline + 1);
    const passed = { error: "DeadlinePassed", args: [signed.deadline] };
    await expectRefused(on, send(on, on.stranger, on.wish, signed), passed);
  });

  it("cannot be used after the identity went to somebody else, nor when it comes back", async () => {
    const on = await loadFixture(aWish);
    const { identity, operator, stranger, heir } = on;
    const signed = await signCall(on, operator, on.wish);
    await identity.connect(operator).changeOwner(operator, heir);
    await expectRefused(on, send(on, stranger, on.wish, signed), on.refused(1, heir.address));
    const now = await signCall(on, operator, on.wish);
    await expectRefused(on, send(on, stranger, on.wish, now), on.refused(1, heir.address));
    await identity.connect(heir).changeOwner(operator, operator);
    await expectRefused(on, send(on, stranger, on.wish, signed), on.refused(2));
  });

  it("cannot be turned into another call", async () => {
    const on = await loadFixture(aWish);
    const { operator, stranger, nodeKey } = on;
    const revoking = sign.revokeDelegate(operator, "sigAuth", stranger);
    const other = sign.addDelegate(operator, "sigAuth", nodeKey, DAY);
    const longer = sign.addDelegate(operator, "sigAuth", stranger, 2 * DAY);
    for (const signed of [revoking, other, longer]) {
      await expectRefused(on, send(on, stranger, on.wish, await signCall(on, operator, signed)), on.refused(0));
    }
  });

  it("cannot be used with another profile", async () => {
    const on = await loadFixture(aWish);
    const { operator, stranger, nodeKey } = on;
    const honest = await sign.publishNode(on, operator, nodeKey);
    const signed = await signCall(on, operator, honest);
    const changes = { validTo: 2 ** 40 - 1, salt: 1n, wgEndpoint: "x", contentUrl: "x", profileCid: "x" };
    for (const [name, value] of Object.entries(changes)) {
      const forged = await sign.publishNode(on, operator, nodeKey, { [name]: value });
      await expectRefused(on, send(on, stranger, forged, signed), on.refused(0));
    }
    await send(on, stranger, honest, signed);
  });

  it("cannot be signed by anybody else, whichever call it is, nor used after its deadline", async () => {
    const on = await loadFixture(aWish);
    const { identity, operator, stranger, nodeKey } = on;
    await identity.connect(operator).publishNode(...(await sign.publishNode(on, operator, nodeKey)).args);
    for (const call of [
      sign.changeOwner(operator, stranger.address),
      sign.addDelegate(operator, "sigAuth", stranger, DAY),
      sign.revokeDelegate(operator, "sigAuth", stranger),
      sign.setAttribute(operator, "did/svc/BerthContent", "0x61", DAY),
      sign.revokeAttribute(operator, "did/svc/BerthContent", "0x61"),
      await sign.publishNode(on, operator, nodeKey),
      sign.revokeNode(operator, 0),
    ]) {
      await expectRefused(on, send(on, stranger, call, await signCall(on, stranger, call)), on.refused(0));
      const deadline = await time.latest();
      const late = { error: "DeadlinePassed", args: [deadline] };
      await expectRefused(on, send(on, stranger, call, await signCall(on, operator, call, { deadline })), late);
    }
    expect(await identity.nonceOf(operator)).to.equal(0n);
  });

  it("cannot be signed by the node's key, by the caller or by nobody", async () => {
    const on = await loadFixture(aWish);
    const { operator, stranger, nodeKey } = on;
    const publishing = await sign.publishNode(on, operator, nodeKey);
    await send(on, stranger, publishing, await signCall(on, operator, publishing));
    for (const thief of [nodeKey, stranger]) {
      await expectRefused(on, send(on, stranger, on.wish, await signCall(on, thief, on.wish)), on.refused(1));
    }
    const { deadline } = await signCall(on, operator, on.wish);
    for (const signature of ["0x", `0x${"00".repeat(65)}`]) {
      await expectRefused(on, send(on, stranger, on.wish, { deadline, signature }), on.refused(1));
    }
  });
});

describe("A wallet that controls an identity, or is a node's key", () => {
  const hostile: [does: string, deploy: () => Promise<{ getAddress(): Promise<string> }>, leastGas?: bigint][] = [
    ["answers true", () => ethers.deployContract("IdentityLiar", [ethers.toBeHex(1, 32)])],
    ["says yes and more", () => ethers.deployContract("IdentityLiar", [`${ethers.zeroPadBytes(ERC_1271_YES, 31)}01`])],
    ["answers nothing at all", () => ethers.deployContract("TestToken")],
    ["returns a bomb", () => ethers.deployContract("BombWallet")],
    ["burns all gas", () => ethers.deployContract("IdentityGasBurner"), 200_000n],
  ];
  for (const [does, deploy, leastGas = 21_000n] of hostile) {
    it(`and ${does} has not signed, and costs no more than its cap`, async () => {
      const on = await loadFixture(aWish);
      const wallet = await (await deploy()).getAddress();
      await on.identity.connect(on.operator).changeOwner(on.operator, wallet);
      const signed = await signCall(on, on.stranger, on.wish);
      const gasLimit = 2_000_000n;
      await expectRefused(on, send(on, on.stranger, on.wish, signed, { gasLimit }), on.refused(1, wallet));
      expect(await gasOfLatest()).to.be.within(leastGas, 300_000n);

      const profile = await aProfile({ address: wallet });
      const { otherOperator } = on;
      await expect(on.identity.connect(otherOperator).publishNode(otherOperator, profile, "0x", { gasLimit }))
        .to.be.revertedWithCustomError(on.identity, "BadKeyProof")
        .withArgs(otherOperator.address, 0, wallet);
      expect(await gasOfLatest()).to.be.within(leastGas, 320_000n);
    });
  }

  it("is asked with its whole cap or not at all: who brings too little gas does not make it fail", async () => {
    const on = await loadFixture(aWish);
    const { identity, operator, stranger, heir } = on;
    const wallet = await ethers.deployContract("OwnedWallet", [heir]);
    await identity.connect(operator).changeOwner(operator, wallet);
    const signed = await signCall(on, heir, on.wish);
    const tooLittle = { error: "GasTooLow", args: [GAS_NEEDED] };
    await expectRefused(on, send(on, stranger, on.wish, signed, { gasLimit: 240_000n }), tooLittle);
    await send(on, stranger, on.wish, signed, { gasLimit: 300_000n });
    expect(await identity.validDelegate(operator, text32("sigAuth"), stranger)).to.equal(true);
  });

  async function gasOfLatest(): Promise<bigint> {
    const block = await ethers.provider.getBlock("latest");
    return block?.gasUsed ?? 0n;
  }
});
