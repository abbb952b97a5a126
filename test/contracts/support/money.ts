import { expect } from "chai";
import { namedActors } from "./actors.ts";
import type { Deployed } from "./market.ts";

/**
 * Nothing was created or lost: what market and staking owe to all actors, and `held` token units for open replicas and
 * posted requests, is what they have, to the unit.
 */
export async function expectNothingLost(on: Deployed, held = 0n): Promise<void> {
  const actors = Object.values(await namedActors());
  let [balances, stakes] = [0n, 0n];
  for (const actor of actors) {
    balances += (await on.market.balanceOf(actor, on.token)) as bigint;
    const { free, locked } = await on.staking.stakeOf(actor, on.token);
    const { amount } = await on.staking.exitOf(actor, on.token);
    stakes += free + locked + amount;
  }
  expect(await on.token.balanceOf(on.market), "the market owes what it has").to.equal(balances + held);
  const toSink = (await on.staking.sinkBalance(on.token)) as bigint;
  expect(await on.token.balanceOf(on.staking), "staking owes what it has").to.equal(stakes + toSink);
}
