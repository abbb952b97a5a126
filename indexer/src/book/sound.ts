import { MarketError, MODE, type Request, ZERO_ADDRESS } from "@berth/protocol";

const MAX_COMPENSATION_BPS = 1000;
/** The longest heartbeat, and the longest notice, of a lease. */
const MAX_WAIT_SECONDS = 366 * 24 * 3600;

type Need = (sound: boolean, field: keyof Request, rule: string) => void;

/** Refuses what no offer could make good: the contract's own checks, in its order. Throws REQUEST_UNSOUND. */
export function requireSound(request: Request): void {
  const need: Need = (sound, field, rule) => {
    if (sound) return;
    throw new MarketError("REQUEST_UNSOUND", `The market refuses this request: \`${field}\` ${rule}.`, {
      hint: `Correct \`${field}\` and sign again.`,
    });
  };
  need(request.requester !== ZERO_ADDRESS, "requester", "must not be zero");
  need(request.replicas > 0, "replicas", "must be at least 1");
  need(request.matcherTip <= request.maxPrice, "matcherTip", "must not be above `maxPrice`");
  need(request.compensationBps <= MAX_COMPENSATION_BPS, "compensationBps", `must be at most ${MAX_COMPENSATION_BPS}`);
  need(request.bounty <= request.bond / 10n, "bounty", "must not be above a tenth of `bond`");
  need(request.submitWindow <= MAX_WAIT_SECONDS, "submitWindow", "must be at most 366 days");
  need(request.heartbeatSeconds <= MAX_WAIT_SECONDS, "heartbeatSeconds", "must be at most 366 days");
  need(request.noticeSeconds <= MAX_WAIT_SECONDS, "noticeSeconds", "must be at most 366 days");
  if (request.mode === MODE.lease) requireSoundLease(request, need);
  else requireSoundBatch(request, need);
}

function requireSoundBatch(request: Request, need: Need): void {
  need(request.submitWindow >= request.maxSeconds, "submitWindow", "must not be below `maxSeconds`");
  need(request.acceptWindow <= request.submitWindow, "acceptWindow", "must not be above `submitWindow`");
  const judged = request.verifier !== ZERO_ADDRESS;
  need(!judged || request.arbiterWindow > 0, "arbiterWindow", "must leave time for the verifier to answer");
  if (request.arbiter === ZERO_ADDRESS) return;
  need(request.challengeWindow > 0, "challengeWindow", "must leave time for a dispute where there is an arbiter");
  need(request.arbiterWindow > 0, "arbiterWindow", "must leave time for the arbiter to rule");
  need(request.arbiterFee <= request.bond, "arbiterFee", "must not be above `bond`");
}

/** Nobody judges a lease. */
function requireSoundLease(request: Request, need: Need): void {
  need(request.heartbeatSeconds > 0, "heartbeatSeconds", "must not be zero for a lease");
  const patience = 2 * request.heartbeatSeconds;
  need(request.acceptWindow <= patience, "acceptWindow", "must be at most two heartbeats of a lease");
  need(request.verifier === ZERO_ADDRESS, "verifier", "must be zero for a lease");
  need(request.arbiter === ZERO_ADDRESS, "arbiter", "must be zero for a lease");
}
