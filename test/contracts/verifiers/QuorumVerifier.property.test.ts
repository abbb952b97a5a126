// Random traces of a quorum: who commits what, reveals, lies or keeps silent, in any order and at any time, while strangers try
// to finalize and the requester approves or disputes. However it goes, it ends, and everybody gets what the rules say.
import { dataToQuorum, quorumToData } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { at, loadFixture, time } from "../support/actors.ts";
import { addressOf, DOLLAR, NO_CLAIM, Reason, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";
import {
  commit,
  hex,
  matchQuorum,
  openingOf,
  QUORUM,
  type QuorumJobRun,
  quorumMarket,
  replicaAt,
  reveal,
  stateOf,
} from "./support.ts";

const BOND = 1000n;
const CHARGE = 5n;

type Step =
  | { do: "commit"; replica: number; output: string }
  | { do: "reveal" | "wrongReveal" | "finalize" | "decline" | "approve" | "dispute"; replica: number }
  | { do: "revealAll" }
  | { do: "wait"; seconds: number };

const replica = fc.nat(4);
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("commit" as const), replica, output: fc.constantFrom("a", "a", "b", "c") }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constantFrom(
        "reveal",
        "reveal",
        "reveal",
        "wrongReveal",
        "finalize",
        "finalize",
        "decline",
        "approve",
        "dispute",
      ),
      replica,
    }) as fc.Arbitrary<Step>,
  },
  { weight: 1, arbitrary: fc.constant({ do: "revealAll" as const }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("wait" as const), seconds: fc.constantFrom(1, 20, 35, 100, 250) }),
  },
);
const anyJob = fc.record({
  replicas: fc.integer({ min: 1, max: 5 }),
  more: fc.nat(2), // votes asked for beyond the smallest majority
  arbiter: fc.boolean(),
  // Most traces would never agree by chance, so many nodes work as they should before anything else happens.
  outputs: fc.array(fc.constantFrom("a", "a", "a", "a", "b", "b", "decline", "nothing"), {
    minLength: 5,
    maxLength: 5,
  }),
  before: fc.array(anyStep, { maxLength: 8 }),
  pause: fc.constantFrom(1, 40, 335, 335),
  reveals: fc.array(fc.constantFrom(true, true, true, false), { minLength: 5, maxLength: 5 }),
  after: fc.array(anyStep, { maxLength: 20 }),
});

/** What a trace has done to one replica, by the rules alone. */
interface Told {
  output?: string; // committed to
  revealed: boolean;
  declined: boolean;
  approved: boolean;
  disputed: boolean;
}

describe("a quorum, whatever anybody does", () => {
  it("ends in bounded time, with everybody's outcome as the rules say and nothing lost", async () => {
    const seen = new Map<string, number>();
    await fc.assert(
      fc.asyncProperty(anyJob, async ({ replicas, more, arbiter, outputs, before, pause, reveals, after }) => {
        const market = await loadFixture(quorumMarket);
        const judge = addressOf(market.arbiter);
        const agreeing = Math.min(replicas, Math.floor(replicas / 2) + 1 + more);
        if (arbiter) {
          for (const { operator } of market.nodes)
            await market.market.connect(operator).setAccepted(operator, [judge], true);
        }
        const request = market.quorumRequest({
          replicas,
          verifierData: quorumToData({ ...QUORUM, agreeing }),
          ...(arbiter ? { arbiter: judge, arbiterFee: 10n, challengeWindow: 450 } : {}),
        });
        const on = await matchQuorum(market, request);
        const told: Told[] = on.replicas.map(() => ({
          revealed: false,
          declined: false,
          approved: false,
          disputed: false,
        }));
        const commits = outputs.slice(0, replicas).flatMap((output, i): Step[] => {
          if (output === "nothing") return [];
          return output === "decline" ? [{ do: output, replica: i }] : [{ do: "commit", replica: i, output }];
        });
        const pauses: Step[] = [{ do: "wait", seconds: pause }];
        const openings = reveals.flatMap((yes, i): Step[] =>
          yes && i < replicas ? [{ do: "reveal", replica: i }] : [],
        );
        for (const step of [...commits, ...before, ...pauses, ...openings, ...after]) await take(on, told, step);
        await end(on);
        for (const outcome of await expectRules(on, told)) seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
      }),
      { numRuns: Number(process.env["BERTH_RUNS"] ?? 60), seed: Number(process.env["BERTH_SEED"] ?? 2026) },
    );
    // Otherwise the traces would prove nothing.
    for (const outcome of ["stands", "outvoted", "silent", "void", "absent", "declined", "approved", "disputed"]) {
      expect(seen.get(outcome) ?? 0, `traces reach ${outcome}`).to.be.above(0);
    }
  }).timeout(300_000);
});

/** Tries one step; a refusal changes nothing and is part of the trace. */
async function take(on: QuorumJobRun, told: Told[], step: Step): Promise<void> {
  if (step.do === "wait") return time.increase(step.seconds).then(() => undefined);
  if (step.do === "revealAll") return revealAll(on, told);
  const index = step.replica % told.length;
  const [of, known] = [replicaAt(on, index), told[index]];
  if (known === undefined) return;
  const { terms, claim = NO_CLAIM } = of;
  if (step.do === "commit") {
    if (await done(() => commit(on, index, step.output))) known.output = step.output;
  } else if (step.do === "reveal") {
    if (of.opening !== undefined && (await done(() => reveal(on, index)))) known.revealed = true;
  } else if (step.do === "wrongReveal") {
    if (of.opening === undefined) return;
    const lie = openingOf(on, index, { outputDigest: hex("lie") });
    expect(await done(() => on.quorum.reveal(terms.job, [lie])), "a lie opens nothing").to.equal(false);
  } else if (step.do === "finalize") {
    await done(() => on.market.connect(on.stranger).finalize(terms, claim));
  } else if (step.do === "decline") {
    if (await done(() => on.market.connect(of.key).decline(terms, index))) known.declined = true;
  } else if (step.do === "approve") {
    if (await done(() => on.market.connect(on.requester).approve(terms, claim))) known.approved = true;
  } else if (await done(() => on.market.connect(on.requester).dispute(terms, claim))) known.disputed = true;
}

async function revealAll(on: QuorumJobRun, told: Told[]): Promise<void> {
  const committed = told.flatMap(({ output }, i) => (output === undefined ? [] : [i]));
  if (committed.length > 0 && (await done(() => reveal(on, ...committed)))) {
    for (const i of committed) (told[i] as Told).revealed = true;
  }
}

/** Did the call go through? Whatever else it does must be one of the contracts' own errors. */
async function done(call: () => Promise<unknown>): Promise<boolean> {
  try {
    await call();
    return true;
  } catch (error) {
    expect(String((error as Error).message)).to.match(/reverted with custom error|unrecognized custom error/);
    return false;
  }
}

/** The last window that the orders name passes; then a stranger alone, who knows only what is public, ends every replica. */
async function end(on: QuorumJobRun): Promise<void> {
  const { challengeWindow, arbiterWindow } = on.request;
  const latest = on.matchedAt + on.request.submitWindow + challengeWindow + arbiterWindow;
  await at(Math.max(latest, await time.latest()) + 1);
  for (const [i, { terms, claim = NO_CLAIM }] of on.replicas.entries()) {
    const state = await stateOf(on, i);
    if (state === State.Settled || state === State.Refunded) continue;
    await on.market.connect(on.stranger).finalize(terms, claim);
  }
}

/** Compares where every replica and every unit of money went with the rules, told from the trace alone. */
async function expectRules(on: QuorumJobRun, told: Told[]): Promise<string[]> {
  const { agreeing } = dataToQuorum(on.request.verifierData) ?? { agreeing: 0 };
  const votes = new Map<string, number>();
  for (const { output, revealed } of told) {
    if (revealed && output !== undefined) votes.set(output, (votes.get(output) ?? 0) + 1);
  }
  const winner = [...votes].find(([, count]) => count >= agreeing)?.[0];
  const outcomes = told.map((known) => outcomeOf(known, winner));
  let [paid, slashed] = [0n, 0n];
  for (const [i, outcome] of outcomes.entries()) {
    const { operator } = replicaAt(on, i);
    const settled = ["approved", "disputed", "stands"].includes(outcome);
    const lost = ["outvoted", "silent", "absent"].includes(outcome) ? BOND : 0n;
    expect(await stateOf(on, i), `replica ${i}: ${outcome}`).to.equal(settled ? State.Settled : State.Refunded);
    expect(await on.market.balanceOf(operator, on.token)).to.equal(settled ? CHARGE : 0n);
    expect(await on.staking.stakeOf(operator, on.token)).to.deep.equal([10n * DOLLAR - lost, 0n]);
    if (!settled) await expectReason(on, i, outcome);
    paid += settled ? CHARGE : 0n;
    slashed += lost;
  }
  expect(await on.market.balanceOf(on.requester, on.token)).to.equal(100n * DOLLAR - paid);
  expect(await on.staking.owedTo(on.sink, on.token)).to.equal(slashed);
  await expectNothingLost(
    on,
    0n,
    on.nodes.slice(2).map(({ operator }) => operator.address),
  );
  return outcomes;
}

function outcomeOf(known: Told, winner: string | undefined): string {
  if (known.declined) return "declined";
  if (known.output === undefined) return "absent";
  if (known.approved) return "approved";
  // The arbiter says nothing in these traces, so a disputed replica is paid.
  if (known.disputed) return "disputed";
  if (!known.revealed) return "silent";
  if (winner === undefined) return "void";
  return known.output === winner ? "stands" : "outvoted";
}

async function expectReason(on: QuorumJobRun, i: number, outcome: string): Promise<void> {
  const filter = on.market.filters["ReplicaRefunded"]?.(on.job, replicaAt(on, i).operator.address);
  if (filter === undefined) throw new Error("The market has no event ReplicaRefunded.");
  const [event] = await on.market.queryFilter(filter, 0);
  const log = event === undefined ? null : on.market.interface.parseLog(event);
  const reasons: Record<string, bigint> = {
    declined: Reason.Declined,
    absent: Reason.TimedOut,
    silent: Reason.Refused,
    outvoted: Reason.Refused,
    void: Reason.Undecided,
  };
  expect(log?.args["reason"], outcome).to.equal(reasons[outcome]);
}
