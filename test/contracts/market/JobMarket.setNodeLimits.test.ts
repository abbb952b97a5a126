import { expect } from "chai";
import { loadFixture } from "../support/actors.ts";
import { limitsFor, matchJob, publishNode, readyMarket, signOffer, text32 } from "../support/market.ts";

describe("JobMarket#setNodeLimits", () => {
  it("stores the limits of one node and shows them", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator } = on;
    const largest = { maxActive: 65_535, cpuMilli: 2 ** 32 - 1, memoryMiB: 2 ** 32 - 1, diskMiB: 2 ** 32 - 1 };
    for (const limits of [
      limitsFor({ maxActive: 3, gpus: 1, diskMiB: 9000 }),
      { ...largest, maxBond: (1n << 128n) - 1n, gpus: 65_535 },
    ]) {
      await expect(market.connect(operator).setNodeLimits(operator, 0, limits))
        .to.emit(market, "NodeLimitsSet")
        .withArgs(operator.address, 0, Object.values(limitsInOrder(limits)));
      expect(await market.limitsOf(operator, 0)).to.deep.equal(Object.values(limitsInOrder(limits)).map(BigInt));
    }
    expect(await market.limitsOf(operator, 1)).to.deep.equal([0n, 0n, 0n, 0n, 0n, 0n]);
    await matchJob(on);
  });

  it("replaces what was set before, and lets what runs go on", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, nodeKey } = on;
    await matchJob(on);
    await market.connect(operator).setNodeLimits(operator, 0, limitsFor({ maxActive: 0 }));
    await expect(matchJob(on, { request: on.request({ maxSeconds: 61 }) }))
      .to.be.revertedWithCustomError(market, "LimitExceeded")
      .withArgs(operator.address, 0, text32("maxActive"));
    await market.connect(nodeKey).bumpEpoch(operator, 0);
    expect((await market.useOf(operator, 0)).active).to.equal(1n);
  });

  it("is needed: a node without limits may commit to nothing", async () => {
    const on = await loadFixture(readyMarket);
    await publishNode(on, on.operator, on.newNodeKey, { index: 1 });
    const offer = on.offer({ index: 1 });
    const offerSignatures = [await signOffer(on, on.newNodeKey, offer)];
    for (const [bond, field] of [
      [1n, "maxBond"],
      [0n, "maxActive"],
    ] as const) {
      await expect(matchJob(on, { request: on.request({ bond }), offers: [offer], offerSignatures }))
        .to.be.revertedWithCustomError(on.market, "LimitExceeded")
        .withArgs(on.operator.address, 1, text32(field));
    }
  });

  it("is for the operator's controller alone", async () => {
    const on = await loadFixture(readyMarket);
    const { market, identity, operator, nodeKey, heir } = on;
    await expect(market.connect(nodeKey).setNodeLimits(operator, 0, on.limits))
      .to.be.revertedWithCustomError(market, "NotController")
      .withArgs(operator.address, nodeKey.address);
    await identity.connect(operator).changeOwner(operator, heir);
    await expect(market.connect(operator).setNodeLimits(operator, 0, on.limits))
      .to.be.revertedWithCustomError(market, "NotController")
      .withArgs(operator.address, operator.address);
    await market.connect(heir).setNodeLimits(operator, 0, on.limits);
  });
});

function limitsInOrder({ maxBond, maxActive, cpuMilli, memoryMiB, diskMiB, gpus }: ReturnType<typeof limitsFor>) {
  return { maxBond, maxActive, cpuMilli, memoryMiB, diskMiB, gpus };
}
