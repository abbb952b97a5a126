import { add, amountIn, transfer } from "../money.ts";
import { type Calls, type Rule, those } from "../scene.ts";

export const deposit: Rule<Calls["deposit"]> = {
  refusals: ({ storage, by }, { amount }) =>
    those({ ZeroAmount: amount === 0n, ERC20InsufficientBalance: amountIn(storage, "wallets", by) < amount }),
  outcome: ({ storage, facts, by }, { account, amount }) =>
    add(transfer(storage, by, facts.market, amount), "balances", account, amount),
};

export const withdraw: Rule<Calls["withdraw"]> = {
  refusals: ({ storage, by }, { account, amount }) =>
    those({
      NotController: by !== account,
      ZeroAmount: amount === 0n,
      BalanceTooLow: amountIn(storage, "balances", account) < amount,
    }),
  outcome: ({ storage, facts }, { account, amount, to }) =>
    transfer(add(storage, "balances", account, -amount), facts.market, to, amount),
};
