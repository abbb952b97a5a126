// Random lives of leases on a real chain, compared with a model that knows nothing of claims: only of seconds.
import { X18 } from "@berth/protocol";
import { expect } from "chai";
import fc from "fast-check";
import { at, loadFixture, networkHelpers } from "../support/actors.ts";
import { earnedDown, heldUp, startLease } from "../support/leases.ts";
import { DOLLAR, readyMarket, State } from "../support/market.ts";
import { expectNothingLost } from "../support/money.ts";

const RUNS = 40;
const MOST_SECONDS = 2000;
/** What must have happened in some life. */
const OUTCOMES = ["claimed", "noticed", "refused", "silent under notice", "slashed", "topped up", "used up"] as const;

type Action = { type: "claim" | "notice" | "end" } | { type: "topUp"; seconds: number };
interface Step {
  /** Seconds since the step before. */
  wait: number;
  action: Action;
}

const anyAction: fc.Arbitrary<Action> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Action>({ type: "claim" }) },
  { weight: 2, arbitrary: fc.nat(300).map((seconds): Action => ({ type: "topUp", seconds: seconds + 1 })) },
  { weight: 1, arbitrary: fc.constant<Action>({ type: "notice" }) },
  { weight: 1, arbitrary: fc.constant<Action>({ type: "end" }) },
);
/** Mostly in time for the next heartbeat, sometimes in time for the one after it, sometimes not. */
const anyWait = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 120 }) },
  { weight: 1, arbitrary: fc.integer({ min: 121, max: 260 }) },
);
const anyStep: fc.Arbitrary<Step> = fc.record({ wait: anyWait, action: anyAction });
const anyLife = fc.record({
  paidSeconds: fc.integer({ min: 1, max: MOST_SECONDS }),
  heartbeat: fc.integer({ min: 60, max: 120 }),
  notice: fc.integer({ min: 0, max: 300 }),
  baseCharge: fc.bigInt(0n, 50n),
  cpuRateX18: fc.bigInt(0n, 3n * 10n ** 15n),
  steps: fc.array(anyStep, { minLength: 1, maxLength: 14 }),
});
type Life = typeof anyLife extends fc.Arbitrary<infer L> ? L : never;

/** What the rules say of a lease in which time is all that counts. Times are seconds since the match. */
interface Model {
  paid: number;
  charged: number;
  heardAt: number;
  claimed: boolean;
  closingAt: number | undefined;
  ended: boolean;
  slashed: boolean;
}

const isSilent = (model: Model, life: Life, now: number) => now > model.heardAt + 2 * life.heartbeat;
/** Silence costs the bond only where the deposit would have paid for it, and nobody had given notice. */
const isFault = (model: Model, life: Life, now: number) =>
  isSilent(model, life, now) && model.closingAt === undefined && model.paid - model.charged >= 2 * life.heartbeat;
const isOver = (model: Model, life: Life, now: number) =>
  isSilent(model, life, now) ||
  (model.closingAt !== undefined && now > model.closingAt) ||
  now > model.heardAt + model.paid - model.charged;
/** Seconds that count at `now`: a heartbeat at most since the node was heard, within notice and deposit. */
const chargedAt = (model: Model, life: Life, now: number) => {
  const counts = Math.min(now, model.closingAt ?? now) - model.heardAt;
  return Math.min(model.paid, model.charged + Math.min(Math.max(counts, 0), life.heartbeat));
};

describe("A lease, whatever happens to it", () => {
  it("pays for the seconds in which the node was heard, once, rounded once, and loses nothing", async () => {
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(anyLife, async (life) => {
        for (const what of await live(life)) seen.add(what);
      }),
      { numRuns: RUNS, seed: 20_261_121 },
    );
    // Random lives that never come to anything would prove nothing.
    expect([...seen].sort()).to.deep.equal([...OUTCOMES].sort());
  }).timeout(180_000);

  it("pays by any number of claims what one claim would, to the last unit", async () => {
    const anyCuts = fc.uniqueArray(fc.integer({ min: 1, max: 119 }), { minLength: 1, maxLength: 10 });
    const property = fc.asyncProperty(anyCuts, fc.bigInt(0n, 3n * 10n ** 15n), async (cuts, cpuRateX18) => {
      const one = await claimedAt([120], cpuRateX18);
      const many = await claimedAt([...cuts.sort((a, b) => a - b), 120], cpuRateX18);
      expect(many).to.equal(one);
    });
    await fc.assert(property, { numRuns: 15, seed: 7 });
  }).timeout(180_000);

  it("never pays more than its deposit, however it was topped up", () => {
    const seconds = fc.array(fc.nat(1_000_000), { maxLength: 20 });
    fc.assert(
      fc.property(seconds, fc.bigInt(0n, 10n ** 38n), fc.bigInt(0n, 10n ** 20n), (sums, rateX18, baseCharge) => {
        const terms = { assignment: { rateX18, baseCharge } } as Parameters<typeof heldUp>[0];
        const total = sums.reduce((sum, one) => sum + one, 0);
        const over = heldUp(terms, total) - earnedDown(terms, total);
        expect(over === 0n || over === 1n).to.equal(true);
        expect((rateX18 * BigInt(total)) % X18 === 0n).to.equal(over === 0n);
      }),
    );
  });
});

/** What a lease with a heartbeat of 120 paid when its node claimed at these seconds. */
async function claimedAt(times: number[], cpuRateX18: bigint) {
  const on = await loadFixture(readyMarket);
  const offer = on.offer({ cpuRateX18 });
  const lease = await startLease({ ...on, offer: () => offer }, { heartbeatSeconds: 120 });
  for (const seconds of times) {
    await at(lease.matchedAt + seconds);
    await on.market.connect(on.nodeKey).claim(lease.terms);
  }
  expect(await on.market.balanceOf(on.operator, on.token)).to.equal(earnedDown(lease.terms, 120));
  return on.market.balanceOf(on.operator, on.token);
}

/** Lives one life, and says what happened in it. */
async function live(life: Life): Promise<Set<(typeof OUTCOMES)[number]>> {
  const seen = new Set<(typeof OUTCOMES)[number]>();
  const ready = await loadFixture(readyMarket);
  const offer = ready.offer({ baseCharge: life.baseCharge, cpuRateX18: life.cpuRateX18 });
  const on = await startLease(
    { ...ready, offer: () => offer },
    { maxSeconds: life.paidSeconds, heartbeatSeconds: life.heartbeat, noticeSeconds: life.notice },
  );
  const { market, staking, token, requester, operator, nodeKey, stranger, terms, job, matchedAt } = on;
  const model: Model = {
    paid: life.paidSeconds,
    charged: 0,
    heardAt: 0,
    claimed: false,
    closingAt: undefined,
    ended: false,
    slashed: false,
  };

  const end = (now: number) => {
    model.slashed = isFault(model, life, now);
    if (model.slashed) seen.add("slashed");
    else if (isSilent(model, life, now) && now <= (model.closingAt ?? 0)) seen.add("silent under notice");
    if (now > model.heardAt + model.paid - model.charged) seen.add("used up");
    model.charged = chargedAt(model, life, now);
    Object.assign(model, { ended: true, claimed: true });
  };
  /** Sends, and says whether the market took it, as the model foresaw. */
  const send = async (call: () => Promise<unknown>, allowed: boolean, what: string) => {
    const done = await call().then(
      () => true,
      () => false,
    );
    expect(done, what).to.equal(allowed);
    if (!allowed) seen.add("refused");
  };
  const act: Record<Action["type"], (now: number, seconds: number) => Promise<void>> = {
    claim: async (now) => {
      const allowed = !isOver(model, life, now);
      await send(() => market.connect(nodeKey).claim(terms), allowed, `claim at ${now}`);
      if (!allowed) return;
      seen.add("claimed");
      Object.assign(model, { charged: chargedAt(model, life, now), heardAt: now, claimed: true });
    },
    topUp: async (now, seconds) => {
      const allowed = !isOver(model, life, now) && model.closingAt === undefined;
      await send(() => market.connect(requester).topUp(terms, seconds), allowed, `top-up at ${now}`);
      if (!allowed) return;
      seen.add("topped up");
      model.paid += seconds;
    },
    notice: async (now) => {
      const over = isOver(model, life, now);
      await send(
        () => market.connect(requester).close(terms),
        over || model.closingAt === undefined,
        `notice at ${now}`,
      );
      if (over || life.notice === 0) return end(now);
      seen.add("noticed");
      model.closingAt ??= now + life.notice;
    },
    end: async (now) => {
      const over = isOver(model, life, now);
      await send(() => market.connect(stranger).close(terms), over, `end at ${now}`);
      if (over) end(now);
    },
  };

  let now = 0;
  for (const { wait, action } of life.steps) {
    now += wait;
    await at(matchedAt + now);
    await act[action.type](now, action.type === "topUp" ? action.seconds : 0);
    expect(await market.balanceOf(operator, token)).to.equal(model.claimed ? earnedDown(terms, model.charged) : 0n);
    if (model.ended) break;
  }
  if (!model.ended) {
    // Whatever happened, anybody ends it after its time.
    now += 2 * MOST_SECONDS + 14 * 300 + 1;
    await networkHelpers.time.setNextBlockTimestamp(matchedAt + now);
    await act.end(now, 0);
  }
  const earned = earnedDown(terms, model.charged);
  expect((await market.replicaOf(job, 0)).state).to.equal(State.Settled);
  expect((await market.useOf(operator, 0)).active).to.equal(0n);
  expect(await market.balanceOf(operator, token)).to.equal(earned);
  expect(await market.balanceOf(requester, token)).to.equal(100n * DOLLAR - earned);
  const lost = model.slashed ? 1000n : 0n;
  expect(await staking.stakeOf(operator, token)).to.deep.equal([10n * DOLLAR - lost, 0n]);
  await expectNothingLost(on);
  return seen;
}
