import { expect } from "chai";
import { ethers, loadFixture, time } from "../support/actors.ts";
import { addressOf, DAY } from "../support/market.ts";
import {
  CLAIMED,
  carryOut,
  type Dispute,
  disputeBefore,
  disputed,
  jurorAt,
  juryMarket,
  MIN_STAKE,
  STAKE,
  signVote,
} from "./support.ts";

/** Two votes of a juror for different awards. */
async function doubleVote(on: Dispute, i = 0, awards: [bigint, bigint] = [CLAIMED, 0n]) {
  const juror = jurorAt(on, i);
  const [signature, otherSignature] = [await signVote(on, juror, awards[0]), await signVote(on, juror, awards[1])];
  return { juror: addressOf(juror), award: awards[0], signature, otherAward: awards[1], otherSignature };
}
type Votes = Awaited<ReturnType<typeof doubleVote>>;
const slash = (on: Dispute, votes: Votes, panel = on.panel) =>
  on.jury.connect(on.stranger).slash(on.terms, on.claim, panel, votes);

describe("JuryArbiter#slash", () => {
  it("takes the panel's stake from a juror who signed two awards, to the sink, for nobody's profit", async () => {
    const on = await loadFixture(disputed);
    const juror = jurorAt(on, 0);
    await expect(slash(on, await doubleVote(on)))
      .to.emit(on.jury, "JurorSlashed")
      .withArgs(on.job, juror, on.token, 0, MIN_STAKE);
    expect(await on.jury.stakeOf(juror, on.token)).to.deep.equal([STAKE - MIN_STAKE, 0n, 0n]);
    expect(await on.jury.owedTo(on.sink, on.token)).to.equal(MIN_STAKE);
    expect(await on.jury.owedTo(on.stranger, on.token)).to.equal(0n);
    await on.jury.connect(on.sink).collect(on.token, on.sink);
    expect(await on.token.balanceOf(on.sink)).to.equal(MIN_STAKE);
  });

  it("does so once per dispute, also with a third award and after more was staked", async () => {
    const on = await loadFixture(disputed);
    await slash(on, await doubleVote(on));
    for (const awards of [
      [CLAIMED, 0n],
      [1n, 2n],
    ] as [bigint, bigint][]) {
      await expect(slash(on, await doubleVote(on, 0, awards)))
        .to.be.revertedWithCustomError(on.jury, "AlreadySlashed")
        .withArgs(on.job, 0, jurorAt(on, 0).address);
    }
    await slash(on, await doubleVote(on, 1));
    expect(await on.jury.owedTo(on.sink, on.token)).to.equal(2n * MIN_STAKE);
  });

  it("reaches stake on its way out, after the ruling too, and never more than there is", async () => {
    const on = await loadFixture(disputed);
    const juror = jurorAt(on, 0);
    await carryOut(on, CLAIMED, [0, 1, 2]);
    await on.jury.connect(juror).requestExit(on.token, STAKE - 100n);
    const readyAt = BigInt((await time.latest()) + 14 * DAY);
    await slash(on, await doubleVote(on));
    expect(await on.jury.stakeOf(juror, on.token)).to.deep.equal([0n, STAKE - MIN_STAKE, readyAt]);

    const market = await loadFixture(juryMarket);
    const poor = await disputeBefore(market, { panel: { ...market.panel, minStake: 5000n } });
    await slash(poor, await doubleVote(poor));
    expect(await poor.jury.stakeOf(juror, poor.token)).to.deep.equal([0n, 0n, 0n]);
    expect(await poor.jury.owedTo(poor.sink, poor.token)).to.equal(STAKE);
    await expect(slash(poor, await doubleVote(poor, 4)))
      .to.be.revertedWithCustomError(poor.jury, "NothingToSlash")
      .withArgs(jurorAt(poor, 4).address, poor.addresses.token);
  });

  it("needs two votes of that juror, for two awards", async () => {
    const on = await loadFixture(disputed);
    const votes = await doubleVote(on);
    const { address } = jurorAt(on, 0);
    await expect(slash(on, await doubleVote(on, 0, [7n, 7n])))
      .to.be.revertedWithCustomError(on.jury, "SameAward")
      .withArgs(7);
    const forged = await signVote(on, on.stranger, CLAIMED);
    const forgeries = [
      { ...votes, signature: forged },
      { ...votes, otherSignature: forged },
      { ...votes, otherSignature: votes.signature },
      { ...votes, award: 1n },
      { ...votes, otherSignature: await signVote(on, jurorAt(on, 0), 0n, { job: ethers.id("other") }) },
      { ...votes, otherSignature: "0x" as const },
    ];
    for (const forgery of forgeries) {
      await expect(slash(on, forgery)).to.be.revertedWithCustomError(on.jury, "BadVote").withArgs(address);
    }
    expect(await on.jury.stakeOf(address, on.token)).to.deep.equal([STAKE, 0n, 0n]);
  });

  it("needs a juror of the panel that the orders name", async () => {
    const on = await loadFixture(disputed);
    const signature = await signVote(on, on.stranger, CLAIMED);
    const outsider = { ...(await doubleVote(on)), juror: addressOf(on.stranger), signature };
    await expect(slash(on, outsider)).to.be.revertedWithCustomError(on.jury, "NotJuror").withArgs(on.stranger.address);
    const harder = { ...on.panel, minStake: 10_000n };
    await expect(slash(on, await doubleVote(on), harder)).to.be.revertedWithCustomError(on.jury, "WrongPanel");
    const terms = { ...on.terms, job: { ...on.terms.job, arbiter: on.addresses.market } };
    await expect(on.jury.slash(terms, on.claim, on.panel, await doubleVote(on)))
      .to.be.revertedWithCustomError(on.jury, "NotClaimed")
      .withArgs(on.job, 0);
  });

  it("is not about the disputes of other arbiters", async () => {
    const on = await disputeBefore(await loadFixture(juryMarket), { by: "person" });
    await expect(slash(on, await doubleVote(on)))
      .to.be.revertedWithCustomError(on.jury, "NotArbiter")
      .withArgs(on.job, on.arbiter.address);
  });

  it("needs a claim that the market holds: made-up disputes cost nobody anything", async () => {
    const on = await loadFixture(disputed);
    const claim = { ...on.claim, charge: 41n };
    const [one, other] = [
      await signVote(on, jurorAt(on, 0), 1n, { claim }),
      await signVote(on, jurorAt(on, 0), 2n, { claim }),
    ];
    const votes = {
      juror: addressOf(jurorAt(on, 0)),
      award: 1n,
      signature: one,
      otherAward: 2n,
      otherSignature: other,
    };
    await expect(on.jury.slash(on.terms, claim, on.panel, votes))
      .to.be.revertedWithCustomError(on.jury, "NotClaimed")
      .withArgs(on.job, 0);
  });
});
