// R1, the hot key cannot move stake, by the ways that ../attacks.test.ts does not take.
import { MODE, type Request } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture } from "../../support/actors.ts";
import { BOND, HEARTBEAT, startLease } from "../../support/leases.ts";
import {
  addressOf,
  DOLLAR,
  fund,
  limitsFor,
  matchJob,
  type Ready,
  readyMarket,
  signOffer,
  text32,
} from "../../support/market.ts";
import { expectNothingLost } from "../../support/money.ts";

const nonce = (text: string) => ethers.id(text) as `0x${string}`;

/** What the thief of a hot key orders from the node itself. */
const thiefs = (on: Ready, replaced: Partial<Request>) =>
  on.request({ requester: addressOf(on.stranger), payer: addressOf(on.stranger), ...replaced });

describe("R1: a stolen hot key, in batches, posts and leases", () => {
  it("gets no further by many matches in one transaction", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, operator, nodeKey, stranger } = on;
    await market.connect(operator).setNodeLimits(operator, 0, limitsFor({ maxBond: 1000n, maxActive: 2 }));
    await fund(on, stranger, DOLLAR);
    const offer = on.offer();
    const signature = await signOffer(on, nodeKey, offer);
    const items = ["one", "two", "three", "four"].map((text) => {
      const order = [thiefs(on, { nonce: nonce(text) }), "0x", "0x", [offer], [signature], []];
      return ethers.dataSlice(market.interface.encodeFunctionData("matchJob", order), 4);
    });
    expect(await market.connect(stranger).matchMany.staticCall(items, 1_000_000n)).to.deep.equal([
      true,
      true,
      false,
      false,
    ]);
    await market.connect(stranger).matchMany(items, 1_000_000n);
    expect((await staking.stakeOf(operator, token)).locked).to.equal(2000n);
  });

  it("gets no further by taking posted requests itself", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, nodeKey, stranger } = on;
    await market.connect(operator).setNodeLimits(operator, 0, limitsFor({ maxBond: 999n }));
    await fund(on, stranger, DOLLAR);
    const request = thiefs(on, { maxPrice: DOLLAR });
    await market.connect(stranger).post(request, "0x", "0x");
    await expect(market.connect(nodeKey).accept(request, on.offer(), []))
      .to.be.revertedWithCustomError(market, "LimitExceeded")
      .withArgs(operator.address, 0, text32("maxBond"));
  });

  it("loses no more than a bond by a lease that it lets fall silent, and the thief gains less than the sink", async () => {
    const on = await loadFixture(readyMarket);
    const { market, staking, token, operator, stranger, requester, sink } = on;
    const { terms, matchedAt } = await startLease(on);
    await market.connect(requester).topUp(terms, 100_000);
    await at(matchedAt + 2 * HEARTBEAT + 1);
    await market.connect(stranger).close(terms);
    expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - BOND, 0n]);
    const [victim, helper, rest] = [requester, stranger, sink].map((one) => staking.owedTo(one, token));
    expect([await victim, await helper, await rest]).to.deep.equal([52n, 100n, 848n]);
    await expectNothingLost(on);
  });

  it("signs for its own node alone: neither another node of the operator nor another operator", async () => {
    const on = await loadFixture(readyMarket);
    const { market, operator, otherOperator, otherNodeKey, nodeKey } = on;
    const stolen = on.offer({ operator: addressOf(otherOperator) });
    await expect(matchJob(on, { offers: [stolen], offerSignatures: [await signOffer(on, nodeKey, stolen)] }))
      .to.be.revertedWithCustomError(market, "BadOfferSignature")
      .withArgs(await market.hashOffer(stolen), otherNodeKey.address);
    const unpublished = on.offer({ index: 1 });
    await market.connect(operator).setNodeLimits(operator, 1, on.limits);
    await expect(
      matchJob(on, { offers: [unpublished], offerSignatures: [await signOffer(on, nodeKey, unpublished)] }),
    ).to.be.revertedWithCustomError(market, "KeyExpiresTooSoon");
  });

  it("offers no lease that the operator's limits forbid", async () => {
    const on = await loadFixture(readyMarket);
    await on.market.connect(on.operator).setNodeLimits(on.operator, 0, limitsFor({ maxActive: 0 }));
    const request = on.request({ mode: MODE.lease, heartbeatSeconds: 60 });
    await expect(matchJob(on, { request }))
      .to.be.revertedWithCustomError(on.market, "LimitExceeded")
      .withArgs(on.operator.address, 0, text32("maxActive"));
  });
});
