import { type Address, MODE, type Offer, type Request, textToBytes32, ZERO_ADDRESS } from "@berth/protocol";
import fc from "fast-check";
import { anOffer, aRequest } from "../../support/orders.ts";
import type { Facts } from "./scene.ts";

/** What a random request is like. Small numbers, so that people run out of money, stake and capacity. */
export interface Shape {
  mode: number;
  replicas: number;
  otherPayer: boolean;
  judged: boolean;
  arbitrated: boolean;
  challengeWindow: number;
  bond: bigint;
  arbiterFee: bigint;
  bounty: bigint;
  compensationBps: number;
  matcherTip: bigint;
  minStake: bigint;
  noticeSeconds: number;
  heartbeatSeconds: number;
  maxSeconds: number;
  acceptWindow: number;
  cpuMilli: number;
  listed: boolean;
  namedMatcher: boolean;
  baseCharge: bigint;
}

const rarely = fc.nat(23).map((number) => number === 23);

export const anyShape: fc.Arbitrary<Shape> = fc.record({
  mode: fc.constantFrom(MODE.batch, MODE.batch, MODE.lease),
  replicas: fc.constantFrom(1, 1, 2),
  otherPayer: fc.boolean(),
  judged: fc.boolean(),
  arbitrated: fc.boolean(),
  challengeWindow: fc.constantFrom(0, 200, 200),
  bond: fc.constantFrom(0n, 700n, 701n),
  arbiterFee: fc.constantFrom(0n, 50n, 690n),
  bounty: fc.constantFrom(0n, 33n, 70n),
  compensationBps: fc.constantFrom(0, 500, 1000),
  matcherTip: fc.constantFrom(0n, 7n),
  minStake: fc.constantFrom(0n, 0n, 2_500n),
  noticeSeconds: fc.constantFrom(0, 90),
  heartbeatSeconds: fc.constantFrom(60, 150),
  maxSeconds: fc.constantFrom(60, 211),
  acceptWindow: fc.constantFrom(0, 45, 120),
  cpuMilli: fc.constantFrom(1000, 1700),
  listed: rarely,
  namedMatcher: rarely,
  baseCharge: fc.constantFrom(0n, 5n, 333n),
});

/** The request of that shape, open for 5,000 seconds from `now`. */
export function requestOf(
  shape: Shape,
  facts: Facts,
  by: { requester: Address; payer: Address; matcher: Address },
  now: number,
  nonce: number,
): Request {
  const lease = shape.mode === MODE.lease;
  const arbitrated = shape.arbitrated && !lease;
  const { mode, replicas, heartbeatSeconds, noticeSeconds, maxSeconds, acceptWindow, cpuMilli } = shape;
  return aRequest({
    mode,
    replicas,
    heartbeatSeconds,
    noticeSeconds,
    maxSeconds,
    acceptWindow,
    cpuMilli,
    requester: by.requester,
    payer: shape.otherPayer ? by.payer : by.requester,
    matcher: shape.namedMatcher ? by.matcher : ZERO_ADDRESS,
    token: facts.token,
    maxPrice: 1_300n,
    matcherTip: shape.matcherTip,
    openUntil: now + 5_000,
    submitWindow: 300,
    challengeWindow: arbitrated ? Math.max(100, shape.challengeWindow) : shape.challengeWindow,
    arbiterWindow: 250,
    verifier: shape.judged && !lease ? facts.judge : ZERO_ADDRESS,
    arbiter: arbitrated ? facts.arbiter : ZERO_ADDRESS,
    arbiterFee: arbitrated && shape.arbiterFee <= shape.bond ? shape.arbiterFee : 0n,
    bond: shape.bond,
    bounty: 10n * shape.bounty <= shape.bond ? shape.bounty : 0n,
    compensationBps: shape.compensationBps,
    minStake: shape.minStake,
    operators: shape.listed ? facts.list.root : aRequest().operators,
    nonce: textToBytes32(`request ${nonce}`),
  });
}

/** An offer that serves `request`, good for 4,000 seconds from `now`. */
export function offerOf(shape: Shape, request: Request, operator: Address, epoch: number, now: number): Offer {
  const { token, verifier, verifierData, arbiter, arbiterData, arbiterFee } = request;
  const same = { token, verifier, verifierData, arbiter, arbiterData, arbiterFee };
  return anOffer({ ...same, operator, epoch, baseCharge: shape.baseCharge, expiresAt: now + 4_000 });
}
