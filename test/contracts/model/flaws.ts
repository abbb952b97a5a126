import { type Offer, type Request, type Terms, textToBytes32, ZERO_ADDRESS } from "@berth/protocol";

const DAY = 86_400;

type RequestFlaw = (request: Request) => Partial<Request>;
type OfferFlaw = (offer: Offer) => Partial<Offer>;
type TermsFlaw = (terms: Terms) => Terms;

/** What makes a request wrong that was good. */
export const requestFlaws: readonly RequestFlaw[] = [
  () => ({ requester: ZERO_ADDRESS }),
  () => ({ replicas: 0 }),
  ({ maxPrice }) => ({ matcherTip: maxPrice + 1n }),
  () => ({ compensationBps: 1001 }),
  ({ bond }) => ({ bounty: bond / 10n + 1n }),
  () => ({ submitWindow: 367 * DAY }),
  () => ({ heartbeatSeconds: 367 * DAY }),
  () => ({ noticeSeconds: 367 * DAY }),
  ({ maxSeconds }) => ({ submitWindow: maxSeconds - 1 }),
  ({ submitWindow, heartbeatSeconds }) => ({ acceptWindow: Math.max(submitWindow, 2 * heartbeatSeconds) + 1 }),
  () => ({ heartbeatSeconds: 0 }),
  () => ({ arbiterWindow: 0 }),
  () => ({ challengeWindow: 0 }),
  ({ bond }) => ({ arbiterFee: bond + 1n }),
  () => ({ maxPrice: 60n }),
  () => ({ maxPrice: 2n ** 100n }),
  () => ({ openUntil: 1 }),
  () => ({ traits: 0b1000n }),
  () => ({ region: textToBytes32("nowhere") }),
  () => ({ gpuModel: textToBytes32("abacus") }),
  () => ({ gpus: 1 }),
  () => ({ bond: 5_000n }),
  () => ({ minStake: 50_000n }),
  () => ({ submitWindow: 100 * DAY }),
  () => ({ operators: textToBytes32("another list") }),
];

/** What makes an offer unfit that was fit. */
export const offerFlaws: readonly OfferFlaw[] = [
  ({ epoch }) => ({ epoch: epoch + 1 }),
  () => ({ expiresAt: 1 }),
  () => ({ token: ZERO_ADDRESS }),
  ({ operator }) => ({ requester: operator }),
  () => ({ cpuMilli: 999 }),
  () => ({ memoryMiB: 511 }),
  () => ({ diskMiB: 127 }),
  () => ({ maxBond: 699n }),
  () => ({ maxSeconds: 59 }),
  () => ({ minHeartbeatSeconds: 0 }),
  () => ({ minHeartbeatSeconds: 151 }),
  () => ({ minSubmitMargin: 241 }),
  () => ({ maxSettleSeconds: 249 }),
  () => ({ maxCompensationBps: 499 }),
  ({ operator }) => ({ verifier: operator }),
  ({ operator }) => ({ arbiter: operator }),
  () => ({ verifierData: textToBytes32("other") }),
  () => ({ arbiterData: textToBytes32("other") }),
  ({ arbiterFee }) => ({ arbiterFee: arbiterFee + 1n }),
  () => ({ baseCharge: 2_000n }),
];

/** What makes terms other than the agreed ones. */
export const termsFlaws: readonly TermsFlaw[] = [
  ({ job, assignment }) => ({ job, assignment: { ...assignment, baseCharge: assignment.baseCharge + 1n } }),
  ({ job, assignment }) => ({ job: { ...job, bond: job.bond + 1n }, assignment }),
  ({ job, assignment }) => ({ job: { ...job, maxSeconds: job.maxSeconds + 1 }, assignment }),
  ({ job, assignment }) => ({ job, assignment: { ...assignment, replica: 1 - Math.min(assignment.replica, 1) } }),
  ({ job, assignment }) => ({ job: { ...job, mode: 1 - job.mode }, assignment }),
];
