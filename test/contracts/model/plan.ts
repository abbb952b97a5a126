import type { Address } from "@berth/protocol";
import { aimedAt, aims, isRunCall } from "./aims.ts";
import { amountIn } from "./money.ts";
import type { Kind, Move } from "./moves.ts";
import { oneOf, or, pickOf } from "./pick.ts";
import { planMatchMany, planOrder } from "./plan-orders.ts";
import { planRun } from "./plan-runs.ts";
import { keyOf, type Plan, stranger } from "./plans.ts";
import type { Call } from "./scene.ts";
import { noExit, noStake } from "./storage.ts";
import type { Trace } from "./trace.ts";
import { soonOf, timeOf } from "./when.ts";

const TIGHT = { maxBond: 700n, maxActive: 1, cpuMilli: 1500, memoryMiB: 65_536, diskMiB: 65_536, gpus: 0 };
export const LOOSE = { maxBond: 10_000n, maxActive: 5, cpuMilli: 64_000, memoryMiB: 65_536, diskMiB: 65_536, gpus: 8 };

/** The call that `move` comes to where `trace` is; undefined when there is nothing yet to do it with. */
export function plan(trace: Trace, move: Move): Plan | undefined {
  if (move.kind === "tell") return undefined;
  return planAs(trace, move) ?? planAs(trace, { ...move, kind: instead(trace, move) });
}

/** Something that can be done now: with a replica that is open, or else a new job. */
function instead(trace: Trace, { share }: Move): Kind {
  const kinds = Object.keys(aims).filter((kind) => isRunCall(kind) && aimedAt(trace, kind).length > 0);
  return (pickOf(kinds, share) as Kind | undefined) ?? "matchJob";
}

function planAs(trace: Trace, move: Move): Plan | undefined {
  const { facts, people, storage } = trace;
  const soon = soonOf(trace, move);
  const operator = oneOf([people.operator, people.otherOperator], move.pick);
  const anyone = oneOf(Object.values(people), move.pick);
  const make = (call: Call, by: Address, now = soon): Plan => ({
    call,
    by: move.flaw === "caller" ? stranger(trace, move) : by,
    now,
  });
  const some = (total: bigint) => (move.flaw === "amount" ? total + 1n : (total * BigInt(move.share)) / 100n);
  const someoneWith = (book: "balances" | "owed") => {
    const rich = Object.values(people).concat(facts.arbiter, facts.sink);
    return oneOf(
      or(
        rich.filter((account) => amountIn(storage, book, account) > 0n),
        rich,
      ),
      move.pick,
    );
  };

  switch (move.kind) {
    case "deposit": {
      const amount = some(amountIn(storage, "wallets", anyone));
      return make(
        { name: "deposit", args: { account: oneOf([people.requester, people.payer], move.pick), amount } },
        anyone,
      );
    }
    case "withdraw": {
      const account = someoneWith("balances");
      const amount = some(amountIn(storage, "balances", account) / 2n + 1n);
      return make({ name: "withdraw", args: { account, amount, to: anyone } }, account);
    }
    case "stake":
      return make({ name: "stake", args: { operator, amount: some(amountIn(storage, "wallets", anyone)) } }, anyone);
    case "requestExit": {
      const amount = some((storage.stakes[operator] ?? noStake).free);
      return make(
        { name: "requestExit", args: { operator, amount: move.pick % 3 === 0 ? amount : amount / 4n } },
        operator,
      );
    }
    case "cancelExit":
      return make({ name: "cancelExit", args: { operator } }, operator);
    case "exit": {
      const { readyAt } = storage.exits[operator] ?? noExit;
      return make({ name: "exit", args: { operator, to: anyone } }, operator, timeOf(trace, move, [readyAt - 1]));
    }
    case "collect": {
      const account = someoneWith("owed");
      return make({ name: "collect", args: { account, to: anyone } }, account);
    }
    case "bumpEpoch":
      return make({ name: "bumpEpoch", args: { operator } }, oneOf([operator, keyOf(trace, operator)], move.share));
    case "setNodeLimits":
      return make({ name: "setNodeLimits", args: { operator, limits: move.share < 40 ? TIGHT : LOOSE } }, operator);
    case "setAccepted": {
      const what = [facts.token, facts.judge, facts.arbiter].slice(move.pick % 3);
      return make({ name: "setAccepted", args: { operator, what, accepted: move.share > 30 } }, operator);
    }
    case "setPaused":
      return make({ name: "setPaused", args: { paused: !storage.paused } }, facts.guardian);
    case "post":
    case "matchJob":
    case "cancel":
    case "accept":
    case "matchPosted":
      return planOrder(trace, move, make);
    case "matchMany":
      return planMatchMany(trace, move, make);
    default:
      return isRunCall(move.kind) ? planRun(trace, move, move.kind, make) : undefined;
  }
}
