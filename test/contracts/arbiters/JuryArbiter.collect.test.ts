import type { Address } from "@berth/protocol";
import { expect } from "chai";
import { type Actor, ethers, loadFixture } from "../support/actors.ts";
import { expectNothingLost } from "../support/money.ts";
import {
  CLAIMED,
  carryOut,
  type Dispute,
  disputeBefore,
  disputed,
  FEE,
  jurorAt,
  juryMarket,
  STAKE,
} from "./support.ts";

/** The jury has, here and in the market, exactly what it owes. */
async function expectJuryWhole(on: Dispute, collected: bigint): Promise<void> {
  let owes = 0n;
  for (const account of [...on.jurors, on.sink]) {
    const { staked, leaving } = await on.jury.stakeOf(account, on.token);
    owes += staked + leaving + ((await on.jury.owedTo(account, on.token)) as bigint);
  }
  const has = (await on.token.balanceOf(on.jury)) as bigint;
  const waiting = (await on.market.balanceOf(on.jury, on.token)) + (await on.staking.owedTo(on.jury, on.token));
  expect(has + waiting).to.equal(owes);
  expect(owes).to.equal(4n * STAKE + FEE - collected);
}

describe("JuryArbiter#collect", () => {
  for (const [who, award] of [
    ["the requester", CLAIMED],
    ["the provider", 0n],
  ] as const) {
    it(`pays each voter its share of a fee that ${who} paid, and fetches it first`, async () => {
      const on = await loadFixture(disputed);
      await carryOut(on, award, [0, 1, 2]);
      await expectJuryWhole(on, 0n);
      const [first, second] = [jurorAt(on, 0), jurorAt(on, 1)];
      await expect(on.jury.connect(first).collect(on.token, on.heir))
        .to.emit(on.jury, "Collected")
        .withArgs(first, on.token, 34, on.heir);
      expect(await on.token.balanceOf(on.heir)).to.equal(34n);
      expect(await on.token.balanceOf(on.jury)).to.equal(4n * STAKE + FEE - 34n);
      await on.jury.connect(second).collect(on.token, second);
      await expectJuryWhole(on, 67n);
      await expectNothingLost(on, 0n, [on.addresses.jury]);
    });
  }

  it("never makes up out of stakes what a token takes on the way", async () => {
    const on = await loadFixture(juryMarket);
    const fee = await ethers.deployContract("FeeToken");
    const token = (await fee.getAddress()) as Address;
    const call = (by: Actor, name: string, ...args: unknown[]) => fee.connect(by).getFunction(name)(...args);
    await call(on.stranger, "setFree", true);
    for (const [owner, spender] of [
      [on.requester, on.market],
      [on.operator, on.staking],
      [on.stranger, on.jury],
    ] as const) {
      await call(owner, "mint", owner, 5000n);
      await call(owner, "approve", spender, 5000n);
    }
    await on.market.connect(on.requester).deposit(on.requester, token, 5000n);
    await on.staking.connect(on.operator).stake(on.operator, token, 5000n);
    await on.jury.connect(on.stranger).stake(token, 5000n);
    const dispute = await disputeBefore(on, { token });
    await carryOut(dispute, CLAIMED, [0, 1, 2]);
    await call(on.stranger, "setFree", false);
    const arrived = FEE - 1n;
    await expect(on.jury.connect(jurorAt(on, 0)).collect(token, on.heir))
      .to.be.revertedWithCustomError(on.jury, "WrongAmountMoved")
      .withArgs(token, FEE, arrived);
    expect(await fee.getFunction("balanceOf")(on.jury)).to.equal(5000n);
    await call(on.stranger, "setFree", true);
    await on.jury.connect(jurorAt(on, 0)).collect(token, on.heir);
    expect(await fee.getFunction("balanceOf")(on.heir)).to.equal(34n);
  });

  it("owes nothing to others, nor twice", async () => {
    const on = await loadFixture(disputed);
    await carryOut(on, CLAIMED, [0, 1, 2]);
    await on.jury.connect(jurorAt(on, 0)).collect(on.token, on.heir);
    for (const account of [jurorAt(on, 0), jurorAt(on, 3), on.stranger]) {
      await expect(on.jury.connect(account).collect(on.token, account))
        .to.be.revertedWithCustomError(on.jury, "NothingOwed")
        .withArgs(account, on.token);
    }
  });
});
