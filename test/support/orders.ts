import { type Address, type Hex, MODE, type Offer, type Request, ZERO_ADDRESS, ZERO_BYTES32 } from "@berth/protocol";
import fc from "fast-check";

const account = (digit: string) => `0x${digit.repeat(40)}` as Address;

/** A request that fits `anOffer()`, with some members replaced. */
export function aRequest(replaced: Partial<Request> = {}): Request {
  return {
    requester: account("1"),
    payer: account("1"),
    matcher: ZERO_ADDRESS,
    token: account("a"),
    maxPrice: 10_000_000n,
    matcherTip: 0n,
    specHash: `0x${"5".repeat(64)}`,
    mode: MODE.batch,
    replicas: 1,
    cpuMilli: 1000,
    memoryMiB: 512,
    diskMiB: 128,
    gpus: 0,
    traits: 0b1n,
    gpuModel: ZERO_BYTES32,
    region: ZERO_BYTES32,
    maxSeconds: 60,
    openUntil: 2_000_000_000,
    acceptWindow: 30,
    submitWindow: 300,
    challengeWindow: 600,
    heartbeatSeconds: 0,
    noticeSeconds: 0,
    verifier: ZERO_ADDRESS,
    verifierData: ZERO_BYTES32,
    arbiter: ZERO_ADDRESS,
    arbiterData: ZERO_BYTES32,
    arbiterFee: 0n,
    arbiterWindow: 0,
    bond: 1_000n,
    bounty: 0n,
    compensationBps: 500,
    minStake: 0n,
    operators: ZERO_BYTES32,
    nonce: `0x${"7".repeat(64)}`,
    ...replaced,
  };
}

/** An offer that serves `aRequest()`, with some members replaced. */
export function anOffer(replaced: Partial<Offer> = {}): Offer {
  return {
    operator: account("2"),
    index: 0,
    epoch: 0,
    requester: ZERO_ADDRESS,
    token: account("a"),
    cpuRateX18: 10n ** 15n,
    memoryRateX18: 10n ** 14n,
    diskRateX18: 10n ** 13n,
    gpuRateX18: 0n,
    baseCharge: 5n,
    cpuMilli: 4000,
    memoryMiB: 4096,
    diskMiB: 1024,
    gpus: 0,
    traits: 0b111n,
    gpuModel: ZERO_BYTES32,
    region: ZERO_BYTES32,
    maxSeconds: 3600,
    minSubmitMargin: 60,
    minHeartbeatSeconds: 60,
    maxSettleSeconds: 86_400,
    maxBond: 1_000_000n,
    maxCompensationBps: 1000,
    verifier: ZERO_ADDRESS,
    verifierData: ZERO_BYTES32,
    arbiter: ZERO_ADDRESS,
    arbiterData: ZERO_BYTES32,
    arbiterFee: 0n,
    expiresAt: 2_000_000_000,
    ...replaced,
  };
}

const amount = fc.bigInt(0n, 10n ** 24n);

/** Requests of any resources, times and amounts. */
export const anyRequest: fc.Arbitrary<Request> = fc
  .record({
    cpuMilli: fc.nat(64_000),
    memoryMiB: fc.nat(1 << 20),
    diskMiB: fc.nat(1 << 20),
    gpus: fc.nat(8),
    maxSeconds: fc.nat(1_000_000),
    mode: fc.nat(1),
    heartbeatSeconds: fc.nat(86_400),
    noticeSeconds: fc.nat(86_400),
    matcherTip: amount,
    bond: amount,
    bounty: amount,
    minStake: amount,
    compensationBps: fc.nat(1000),
    operators: fc.bigInt(0n, (1n << 256n) - 1n).map((root): Hex => `0x${root.toString(16).padStart(64, "0")}`),
  })
  .map(aRequest);

/** Offers of any prices. */
export const anyOffer: fc.Arbitrary<Offer> = fc
  .record({ cpuRateX18: amount, memoryRateX18: amount, diskRateX18: amount, gpuRateX18: amount, baseCharge: amount })
  .map(anOffer);
