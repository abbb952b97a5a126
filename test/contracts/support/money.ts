import { expect } from "chai";
import { namedActors } from "./actors.ts";
import type { Deployed } from "./market.ts";

/**
 * Nothing was created or lost: what market and staking owe to all actors and `others`, and `held` token units for open
 * replicas and posted requests, is what they have, to the unit.
 */
export async function expectNothingLost(on: Deployed, held = 0n, others: readonly string[] = []): Promise<void> {
  const actors = Object.values(await namedActors()).map((actor) => actor.address);
  let [balances, stakes] = [0n, 0n];
  for (const account of [...actors, ...others]) {
    balances += (await on.market.balanceOf(account, on.token)) as bigint;
    const { free, locked } = await on.staking.stakeOf(account, on.token);
    const { amount } = await on.staking.exitOf(account, on.token);
    stakes += free + locked + amount + ((await on.staking.owedTo(account, on.token)) as bigint);
  }
  expect(await on.token.balanceOf(on.market), "the market owes what it has").to.equal(balances + held);
  expect(await on.token.balanceOf(on.staking), "staking owes what it has").to.equal(stakes);
}
