import { type Address, type Claim, chargeOfDown, type Hex, MODE, ZERO_BYTES32 } from "@berth/protocol";
import { deadlinesOf } from "./deadlines.ts";
import { termsFlaws } from "./flaws.ts";
import { amountIn } from "./money.ts";
import type { Move } from "./moves.ts";
import { planMatchOf, planNewOrder, postedOrders } from "./plan-orders.ts";
import { replicaOf, State } from "./replicas.ts";
import type { Call, CallName, Match, Settlement } from "./scene.ts";
import { noExit, noStake } from "./storage.ts";
import type { Order, Run, Trace } from "./trace.ts";

/** A move made into a call that can be sent. */
export interface Plan {
  call: Call;
  by: Address;
  /** Unix seconds of its block. */
  now: number;
  /** A request that was made for it. */
  order?: Order;
}

export const NOTHING: Claim = { resultHash: ZERO_BYTES32, resultBytes: 0n, charge: 0n };
const RESULT: Hex = `0x${"42".repeat(32)}`;
const TIGHT = { maxBond: 700n, maxActive: 1, cpuMilli: 1500, memoryMiB: 65_536, diskMiB: 65_536, gpus: 0 };
export const LOOSE = { maxBond: 10_000n, maxActive: 5, cpuMilli: 64_000, memoryMiB: 65_536, diskMiB: 65_536, gpus: 8 };

/** The call that `move` comes to where `trace` is; undefined when there is nothing yet to do it with. */
export function plan(trace: Trace, move: Move): Plan | undefined {
  const { facts, people, storage } = trace;
  const soon = trace.latest + 1 + (move.pick % 25);
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
    case "tell":
      return undefined;
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
      return planRun(trace, move, make);
  }
}

type Make = (call: Call, by: Address, now?: number) => Plan;

function planOrder(trace: Trace, move: Move, make: Make): Plan | undefined {
  const { people } = trace;
  const fresh = planNewOrder(trace, move);
  const { request } = fresh;
  const last = move.share < 25;
  const open = timeOf(trace, move, last ? [request.openUntil] : []);
  if (move.kind === "post") {
    const args = { request, requesterSigned: move.pick % 2 === 0, payerSigned: move.flaw !== "state" };
    return {
      ...make({ name: "post", args }, args.requesterSigned ? people.stranger : request.requester, open),
      order: fresh,
    };
  }
  if (move.kind === "matchJob") {
    const match = planMatchOf(trace, move, fresh);
    const until = [request.openUntil, ...match.offers.map(({ expiresAt }) => expiresAt)];
    const now = timeOf(trace, move, last ? until : []);
    return { ...make({ name: "matchJob", args: match }, people.matcher, now), order: fresh };
  }
  const posted = postedOrders(trace);
  const withdrawn = move.kind === "cancel" && move.share % 4 === 0;
  const order = pickOf(move.flaw === "state" || withdrawn ? trace.orders : posted, move.pick);
  if (order === undefined) return undefined;
  const until = timeOf(trace, move, last || move.kind === "cancel" ? [order.request.openUntil] : []);
  if (move.kind === "cancel") {
    const by = move.when === "soon" ? order.request.requester : people.stranger;
    return make({ name: "cancel", args: { request: order.request } }, by, until);
  }
  const match = planMatchOf(trace, move, order);
  if (move.kind === "matchPosted") {
    return make(
      { name: "matchJob", args: { ...match, requesterSigned: false, payerSigned: false } },
      people.matcher,
      until,
    );
  }
  const offer = match.offers[0];
  if (offer === undefined) return undefined;
  return make({ name: "accept", args: { request: order.request, offer } }, keyOf(trace, offer.operator), until);
}

/** A new job, then one of those that there are already. */
function planMatchMany(trace: Trace, move: Move, make: Make): Plan {
  const fresh = planNewOrder(trace, move);
  const old = pickOf(or(postedOrders(trace), trace.orders), move.pick);
  const items: Match[] = [fresh, ...(old === undefined ? [] : [old])].map((order) => planMatchOf(trace, move, order));
  return { ...make({ name: "matchMany", args: { items } }, trace.people.matcher), order: fresh };
}

/** Which replicas a call is meant for. */
const aims: Partial<Record<CallName, (mode: number, state: number) => boolean>> = {
  decline: (_, state) => state === State.Active,
  submit: (mode, state) => mode === MODE.batch && state === State.Active,
  approve: (_, state) => state === State.Submitted || state === State.Judging,
  dispute: (_, state) => state === State.Submitted || state === State.Judging,
  rule: (_, state) => state === State.Disputed,
  finalize: (mode, state) => mode === MODE.batch && state >= State.Active && state <= State.Disputed,
  finalizeMany: (mode, state) => mode === MODE.batch && state >= State.Active && state <= State.Disputed,
  claim: (mode, state) => mode === MODE.lease && state === State.Active,
  topUp: (mode, state) => mode === MODE.lease && state === State.Active,
  close: (mode, state) => mode === MODE.lease && state === State.Active,
};

function planRun(trace: Trace, move: Move, make: Make): Plan | undefined {
  const { facts, people, storage } = trace;
  const aim = aims[move.kind as CallName] ?? (() => true);
  const fits = ({ terms }: Run) => aim(terms.job.mode, replicaOf(storage, terms).state);
  const arbitrated = ({ terms }: Run) => move.kind !== "dispute" || BigInt(terms.job.arbiter) !== 0n;
  const fitting = trace.runs.filter(fits);
  const wanted = move.flaw === "state" ? trace.runs : or(fitting.filter(arbitrated), fitting);
  const run = pickOf(wanted, move.pick);
  if (run === undefined) return undefined;

  const now = timeOf(trace, move, deadlinesOf(storage, run.terms));
  const { terms, claim } = flawed(settlementOf(trace, run), move);
  const { job, assignment } = terms;
  const node = oneOf([assignment.operator, keyOf(trace, assignment.operator)], move.share);
  const someAmount = (most: bigint) => (move.flaw === "amount" ? most + 1n : (most * BigInt(move.share)) / 100n);
  switch (move.kind) {
    case "decline": {
      const sibling = move.pick % 3 === 0 ? assignment.replica : 1 - Math.min(1, assignment.replica);
      return make({ name: "decline", args: { terms, sibling } }, node, now);
    }
    case "submit": {
      const charge = someAmount(chargeOfDown(run.terms, now - replicaOf(storage, run.terms).matchedAt));
      const posted = {
        resultHash: move.flaw === "claim" ? ZERO_BYTES32 : RESULT,
        resultBytes: BigInt(move.pick),
        charge,
      };
      return make({ name: "submit", args: { terms, claim: posted } }, node, now);
    }
    case "approve":
      return make({ name: "approve", args: { terms, claim } }, oneOf([job.requester, job.payer], move.share), now);
    case "dispute":
      return make({ name: "dispute", args: { terms, claim } }, job.requester, now);
    case "rule":
      return make({ name: "rule", args: { terms, claim, award: someAmount(claim.charge) } }, facts.arbiter, now);
    case "finalize":
      return make({ name: "finalize", args: { terms, claim } }, people.stranger, now);
    case "finalizeMany": {
      const other = settlementOf(trace, pickOf(or(fitting, trace.runs), move.pick + 1) ?? run);
      return make({ name: "finalizeMany", args: { items: [{ terms, claim }, other] } }, people.stranger, now);
    }
    case "claim":
      return make({ name: "claim", args: { terms } }, node, now);
    case "topUp": {
      const addedSeconds = move.flaw === "amount" ? 2 ** 32 - 1 : move.share;
      return make({ name: "topUp", args: { terms, addedSeconds } }, people.payer, now);
    }
    case "close":
      return make(
        { name: "close", args: { terms } },
        oneOf([job.requester, job.payer, node, people.stranger], move.pick),
        now,
      );
    default:
      throw new Error(`Nobody knows how to ${move.kind}.`);
  }
}

/** What `finalize` takes for a replica: nothing claimed where there is no result. */
function settlementOf({ storage }: Trace, { terms, claim }: Run): Settlement {
  const active = replicaOf(storage, terms).state === State.Active;
  return { terms, claim: active ? NOTHING : (claim ?? NOTHING) };
}

function flawed({ terms, claim }: Settlement, { flaw, share, pick }: Move): Settlement {
  const change = flaw === "terms" ? pickOf(termsFlaws, pick + share) : undefined;
  const off = flaw === "claim" ? 1n : 0n;
  return { terms: change?.(terms) ?? terms, claim: { ...claim, charge: claim.charge + off } };
}

/** Soon, or at a deadline that is not over, or one second later. */
function timeOf({ latest }: Trace, move: Move, deadlines: readonly number[]): number {
  const late = move.when === "after" ? 1 : 0;
  const ahead = deadlines.map((deadline) => deadline + late).filter((time) => time > latest);
  const soon = latest + 1 + (move.pick % 25);
  return move.when === "soon" ? soon : (pickOf(ahead, move.share) ?? soon);
}

function keyOf({ facts }: Trace, operator: Address): Address {
  return facts.nodes[operator]?.key ?? operator;
}

function stranger({ people, facts }: Trace, { share }: Move): Address {
  return oneOf([people.stranger, people.requester, people.payer, people.operator, facts.arbiter], share);
}

function or<Item>(first: readonly Item[], second: readonly Item[]): readonly Item[] {
  return first.length > 0 ? first : second;
}

function pickOf<Item>(items: readonly Item[], pick: number): Item | undefined {
  return items[pick % items.length];
}

/** As `pickOf`, of items that are there. */
function oneOf<Item>(items: readonly Item[], pick: number): Item {
  const item = pickOf(items, pick);
  if (item === undefined) throw new Error("There is nothing to pick from.");
  return item;
}
