import { MODE, type Request, type Terms, X18 } from "@berth/protocol";
import { time } from "./actors.ts";
import { jobId, matchJob, type Ready, readyMarket, termsFor } from "./market.ts";

export const HEARTBEAT = 100;
export const NOTICE = 250;
export const PAID_SECONDS = 1000;
export const BOND = 1000n;
export const BOUNTY = 100n;
/** 5 and 1,000 seconds at 1.05248, rounded up. */
export const DEPOSIT = 1058n;
/** 5 % of the deposit, rounded down. */
export const COMPENSATION = 52n;

/** Token units that a lease earned in `seconds`: rounded down, once. */
export const earnedDown = ({ assignment }: Terms, seconds: number) =>
  assignment.baseCharge + (assignment.rateX18 * BigInt(seconds)) / X18;
/** Token units held for a lease of `seconds`: rounded up, once. */
export const heldUp = ({ assignment }: Terms, seconds: number) =>
  assignment.baseCharge + (assignment.rateX18 * BigInt(seconds) + X18 - 1n) / X18;

/** A request for a lease of 1,000 seconds with a heartbeat of 100 and a notice of 250. */
export const leaseRequest = (on: Ready, replaced: Partial<Request> = {}): Request =>
  on.request({
    mode: MODE.lease,
    maxSeconds: PAID_SECONDS,
    heartbeatSeconds: HEARTBEAT,
    noticeSeconds: NOTICE,
    bond: BOND,
    bounty: BOUNTY,
    ...replaced,
  });

/** A lease that has just been matched. */
export const runningLease = async () => startLease(await readyMarket());

/** One that ends without a notice. */
export const leaseWithoutNotice = async () => startLease(await readyMarket(), { noticeSeconds: 0 });

/** Matches a lease in the market `on`. */
export async function startLease(on: Ready, replaced: Partial<Request> = {}, payerSignature = "0x") {
  const request = leaseRequest(on, replaced);
  await matchJob(on, { request, payerSignature });
  const matchedAt = await time.latest();
  const terms = termsFor(on, request, on.offer());
  return { ...on, matchedRequest: request, terms, job: jobId(on, request), matchedAt };
}
