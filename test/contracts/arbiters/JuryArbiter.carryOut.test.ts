import { type Address, type Hex, juryEvidence, panelHash, sortedJurors } from "@berth/protocol";
import { expect } from "chai";
import { at, ethers, loadFixture } from "../support/actors.ts";
import { addressOf, DOLLAR, State } from "../support/market.ts";
import {
  CLAIMED,
  carryOut,
  type Dispute,
  disputeBefore,
  disputed,
  evidence,
  FEE,
  jurorAt,
  juryMarket,
  MIN_STAKE,
  STAKE,
  signVote,
  stakeAsJuror,
} from "./support.ts";

const shares = (on: Dispute) => Promise.all(on.jurors.map((juror) => on.jury.owedTo(juror, on.token)));
const rule = (on: Dispute, proof: string) => on.jury.connect(on.stranger).carryOut(on.terms, on.claim, proof);

describe("JuryArbiter#carryOut", () => {
  it("puts through what enough jurors voted for, whoever carries it: the requester lost", async () => {
    const on = await loadFixture(disputed);
    await expect(carryOut(on, CLAIMED, [0, 1, 3]))
      .to.emit(on.jury, "RulingCarriedOut")
      .withArgs(
        on.job,
        0,
        CLAIMED,
        [0, 1, 3].map((i) => jurorAt(on, i).address),
      );
    expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Settled);
    expect(await on.market.balanceOf(on.operator, on.token)).to.equal(CLAIMED);
    expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR - CLAIMED - FEE);
    expect(await on.market.balanceOf(on.jury, on.token)).to.equal(FEE);
    expect(await shares(on)).to.deep.equal([34n, 33n, 0n, 33n, 0n]);
    expect(await on.staking.stakeOf(on.operator, on.token)).to.deep.equal([10n * DOLLAR, 0n]);
  });

  it("awards less where they say so: the provider lost", async () => {
    const on = await loadFixture(disputed);
    await carryOut(on, 10n, [0, 1, 2, 3]);
    expect(await on.market.balanceOf(on.operator, on.token)).to.equal(10n);
    expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR - 10n);
    expect(await on.market.balanceOf(on.jury, on.token)).to.equal(0n);
    expect(await on.staking.owedTo(on.jury, on.token)).to.equal(FEE);
    // Three quarters were denied, and so much of the bond goes.
    expect(await on.staking.stakeOf(on.operator, on.token)).to.deep.equal([10n * DOLLAR - 750n, 0n]);
    expect(await shares(on)).to.deep.equal([25n, 25n, 25n, 25n, 0n]);
  });

  it("leaves a fee that does not divide to the first, and owes nobody nothing", async () => {
    const on = await disputeBefore(await loadFixture(juryMarket), { fee: 2n });
    const carried = await carryOut(on, CLAIMED, [0, 1, 3]);
    const owed = await on.jury.queryFilter("Owed", carried.blockNumber ?? undefined);
    expect(owed.map((event) => on.jury.interface.parseLog(event)?.args.toArray())).to.deep.equal([
      [jurorAt(on, 0).address, on.addresses.token, 2n],
    ]);
    expect(await shares(on)).to.deep.equal([2n, 0n, 0n, 0n, 0n]);
  });

  it("does it once, in time, for the replica and claim in dispute", async () => {
    const on = await loadFixture(disputed);
    const proof = await evidence(on, CLAIMED, [0, 1, 2]);
    await expect(on.jury.carryOut(on.terms, { ...on.claim, charge: 41n }, proof))
      .to.be.revertedWithCustomError(on.jury, "BadVote")
      .withArgs(jurorAt(on, 0).address);
    await at(on.disputedAt + 1001);
    await expect(rule(on, proof))
      .to.be.revertedWithCustomError(on.market, "WindowClosed")
      .withArgs(on.job, 0, on.disputedAt + 1000);
    const again = await loadFixture(disputed);
    await at(again.disputedAt + 1000);
    await rule(again, proof);
    await expect(rule(again, proof))
      .to.be.revertedWithCustomError(on.market, "WrongState")
      .withArgs(on.job, 0, State.Settled, State.Disputed);
    expect(await shares(again)).to.deep.equal([34n, 33n, 33n, 0n, 0n]);
  });

  it("leaves a jury that says nothing to the market's deadline: the provider is paid, the fee goes back", async () => {
    const on = await loadFixture(disputed);
    await at(on.disputedAt + 1001);
    await on.market.connect(on.stranger).finalize(on.terms, on.claim);
    expect(await on.market.balanceOf(on.operator, on.token)).to.equal(CLAIMED);
    expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR - CLAIMED);
    expect(await shares(on)).to.deep.equal([0n, 0n, 0n, 0n, 0n]);
  });

  it("refuses an award above the claim, as the market does", async () => {
    const on = await loadFixture(disputed);
    await expect(carryOut(on, CLAIMED + 1n, [0, 1, 2]))
      .to.be.revertedWithCustomError(on.market, "AwardTooHigh")
      .withArgs(on.job, 0, CLAIMED + 1n, CLAIMED);
  });

  it("refuses too few votes", async () => {
    const on = await loadFixture(disputed);
    await expect(carryOut(on, CLAIMED, [0, 3]))
      .to.be.revertedWithCustomError(on.jury, "TooFewVotes")
      .withArgs(2, 3);
    await expect(carryOut(on, CLAIMED, []))
      .to.be.revertedWithCustomError(on.jury, "TooFewVotes")
      .withArgs(0, 3);
  });

  it("refuses votes for another award, replica, job or claim, and those of other keys", async () => {
    const on = await loadFixture(disputed);
    const third = jurorAt(on, 2);
    const wrong: Hex[] = [
      await signVote(on, third, CLAIMED - 1n),
      await signVote(on, third, CLAIMED, { replica: 1 }),
      await signVote(on, third, CLAIMED, { job: ethers.id("other") }),
      await signVote(on, third, CLAIMED, { claim: { ...on.claim, resultBytes: 1n } }),
      await signVote(on, on.stranger, CLAIMED),
      await signVote(on, jurorAt(on, 0), CLAIMED),
      "0x00",
      `0x${"00".repeat(65)}`,
    ];
    for (const signature of wrong) {
      const votes = new Map<Address, Hex>([
        [addressOf(jurorAt(on, 0)), await signVote(on, jurorAt(on, 0), CLAIMED)],
        [addressOf(jurorAt(on, 1)), await signVote(on, jurorAt(on, 1), CLAIMED)],
        [addressOf(third), signature],
      ]);
      await expect(rule(on, juryEvidence(on.panel, CLAIMED, votes)))
        .to.be.revertedWithCustomError(on.jury, "BadVote")
        .withArgs(third.address);
    }
  });

  it("counts no vote without enough at stake; what is on its way out does not count", async () => {
    const on = await loadFixture(disputed);
    await expect(carryOut(on, CLAIMED, [0, 1, 4]))
      .to.be.revertedWithCustomError(on.jury, "StakeTooLow")
      .withArgs(jurorAt(on, 4).address, on.addresses.token, 0, MIN_STAKE);
    await stakeAsJuror(on, jurorAt(on, 4), MIN_STAKE);
    await on.jury.connect(jurorAt(on, 0)).requestExit(on.token, STAKE - MIN_STAKE + 1n);
    await expect(carryOut(on, CLAIMED, [0, 1, 4]))
      .to.be.revertedWithCustomError(on.jury, "StakeTooLow")
      .withArgs(jurorAt(on, 0).address, on.addresses.token, MIN_STAKE - 1n, MIN_STAKE);
    await carryOut(on, CLAIMED, [1, 2, 4]);
    expect((await on.market.replicaOf(on.job, 0)).state).to.equal(State.Settled);
  });

  it("takes the panel that the orders name and no other", async () => {
    const on = await loadFixture(disputed);
    const easier = { ...on.panel, minStake: 0n };
    await expect(rule(on, await evidence(on, CLAIMED, [0, 1, 2], easier)))
      .to.be.revertedWithCustomError(on.jury, "WrongPanel")
      .withArgs(on.job, panelHash(easier), panelHash(on.panel));
  });

  it("refuses a panel whose minority could rule, one with more votes than jurors, and one with a juror twice", async () => {
    const market = await loadFixture(juryMarket);
    for (const needed of [0, 2, 6]) {
      const panel = { ...market.panel, needed };
      const on = await disputeBefore(await loadFixture(juryMarket), { panel });
      await expect(carryOut(on, CLAIMED, [0, 1, 2, 3]))
        .to.be.revertedWithCustomError(on.jury, "UnsoundPanel")
        .withArgs(5, needed);
    }
    const [first, second, third] = sortedJurors(market.panel.jurors) as [Address, Address, Address];
    for (const [jurors, index] of [
      [[first, first, second], 1],
      [[first, third, second], 2],
    ] as const) {
      const on = await disputeBefore(await loadFixture(juryMarket), { panel: { ...market.panel, jurors, needed: 2 } });
      await expect(carryOut(on, CLAIMED, [0, 1]))
        .to.be.revertedWithCustomError(on.jury, "JurorsNotAscending")
        .withArgs(index);
    }
    const nobody = await disputeBefore(await loadFixture(juryMarket), {
      panel: { ...market.panel, jurors: [], needed: 0 },
    });
    await expect(carryOut(nobody, CLAIMED, []))
      .to.be.revertedWithCustomError(nobody.jury, "UnsoundPanel")
      .withArgs(0, 0);
  });

  it("rules with the smallest majority of an even panel, and with a single juror", async () => {
    const market = await loadFixture(juryMarket);
    const [first, ...others] = market.panel.jurors as [Address, ...Address[]];
    const four = await disputeBefore(market, {
      panel: { ...market.panel, jurors: [first, ...others.slice(0, 3)], needed: 3 },
    });
    await carryOut(four, 0n, [0, 1, 2]);
    expect(await four.market.balanceOf(four.operator, four.token)).to.equal(0n);
    const alone = await disputeBefore(await loadFixture(juryMarket), {
      panel: { ...market.panel, jurors: [first], needed: 1 },
    });
    await carryOut(alone, CLAIMED, [0]);
    expect(await shares(alone)).to.deep.equal([FEE, 0n, 0n, 0n, 0n]);
  });

  it("refuses evidence that cannot be read, or has not one place per juror", async () => {
    const on = await loadFixture(disputed);
    const whole = await evidence(on, CLAIMED, [0, 1, 2]);
    for (const bytes of ["0x", "0x01", ethers.dataSlice(whole, 0, 300), `0x${"ff".repeat(640)}`]) {
      await expect(rule(on, bytes)).to.be.revertedWithCustomError(on.jury, "BadEvidence");
    }
    const signatures = [await signVote(on, jurorAt(on, 0), CLAIMED)];
    const type =
      "tuple(tuple(address[] jurors, uint16 needed, address stakeToken, uint128 minStake) panel, uint128 award, bytes[] signatures)";
    const short = ethers.AbiCoder.defaultAbiCoder().encode([type], [{ panel: on.panel, award: CLAIMED, signatures }]);
    await expect(rule(on, short)).to.be.revertedWithCustomError(on.jury, "WrongVoteCount").withArgs(1, 5);
  });

  it("refuses a job of another arbiter", async () => {
    const on = await loadFixture(disputed);
    const terms = { ...on.terms, job: { ...on.terms.job, arbiter: on.addresses.market } };
    await expect(on.jury.carryOut(terms, on.claim, await evidence(on, CLAIMED, [0, 1, 2])))
      .to.be.revertedWithCustomError(on.jury, "NotArbiter")
      .withArgs(on.job, on.addresses.market);
  });

  it("pays no fee for terms that are not the market's", async () => {
    const on = await loadFixture(disputed);
    const terms = { ...on.terms, job: { ...on.terms.job, arbiterFee: 1_000_000n } };
    await expect(on.jury.carryOut(terms, on.claim, await evidence(on, CLAIMED, [0, 1, 2])))
      .to.be.revertedWithCustomError(on.market, "WrongClaim")
      .withArgs(on.job, 0);
    expect(await shares(on)).to.deep.equal([0n, 0n, 0n, 0n, 0n]);
  });

  it("hashes votes as programs do", async () => {
    const on = await loadFixture(disputed);
    const hash = await on.jury.hashVote(on.job, 0, on.claim, 7n);
    expect(ethers.recoverAddress(hash, await signVote(on, jurorAt(on, 0), 7n))).to.equal(jurorAt(on, 0).address);
    expect(await on.jury.market()).to.equal(on.addresses.market);
  });
});
