import { amountIn, transfer } from "../money.ts";
import { type Calls, type Rule, type Scene, those } from "../scene.ts";
import { noExit, noStake, put, type Storage } from "../storage.ts";

/** Seconds between `requestExit` and `exit`. */
const EXIT_DELAY = 7 * 86_400;

export const stake: Rule<Calls["stake"]> = {
  refusals: ({ storage, by }, { amount }) =>
    those({ ZeroAmount: amount === 0n, ERC20InsufficientBalance: amountIn(storage, "wallets", by) < amount }),
  outcome: ({ storage, facts, by }, { operator, amount }) =>
    free(transfer(storage, by, facts.staking, amount), operator, amount),
};

export const requestExit: Rule<Calls["requestExit"]> = {
  refusals: ({ storage, by }, { operator, amount }) =>
    those({
      NotController: by !== operator,
      ZeroAmount: amount === 0n,
      StakeTooLow: (storage.stakes[operator] ?? noStake).free < amount,
    }),
  outcome: (scene, { operator, amount }) => {
    const leaving = exitOf(scene, operator).amount + amount;
    const storage = free(scene.storage, operator, -amount);
    return put(storage, "exits", operator, { amount: leaving, readyAt: scene.now + EXIT_DELAY });
  },
};

export const cancelExit: Rule<Calls["cancelExit"]> = {
  refusals: (scene, { operator }) =>
    those({ NotController: scene.by !== operator, NoExit: exitOf(scene, operator).amount === 0n }),
  outcome: (scene, { operator }) =>
    put(free(scene.storage, operator, exitOf(scene, operator).amount), "exits", operator, noExit),
};

export const exit: Rule<Calls["exit"]> = {
  refusals: (scene, { operator }) => {
    const { amount, readyAt } = exitOf(scene, operator);
    return those({
      NotController: scene.by !== operator,
      NoExit: amount === 0n,
      ExitNotReady: amount > 0n && scene.now < readyAt,
    });
  },
  outcome: (scene, { operator, to }) =>
    transfer(put(scene.storage, "exits", operator, noExit), scene.facts.staking, to, exitOf(scene, operator).amount),
};

export const collect: Rule<Calls["collect"]> = {
  refusals: ({ storage, by }, { account }) =>
    those({ NotController: by !== account, NothingOwed: amountIn(storage, "owed", account) === 0n }),
  outcome: ({ storage, facts }, { account, to }) =>
    transfer(put(storage, "owed", account, 0n), facts.staking, to, amountIn(storage, "owed", account)),
};

function free(storage: Storage, operator: string, amount: bigint): Storage {
  const row = storage.stakes[operator] ?? noStake;
  return put(storage, "stakes", operator, { ...row, free: row.free + amount });
}

function exitOf({ storage }: Scene, operator: string) {
  return storage.exits[operator] ?? noExit;
}
