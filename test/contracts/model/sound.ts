import { MODE, type Request, ZERO_ADDRESS } from "@berth/protocol";

const LONGEST_WAIT = 366 * 86_400;

/** Is it a request that some offer could serve? What makes it one is said in `contracts/market/libraries/Fit.sol` only. */
export function isSound(request: Request): boolean {
  return (
    request.requester !== ZERO_ADDRESS &&
    request.replicas > 0 &&
    request.matcherTip <= request.maxPrice &&
    request.compensationBps <= 1000 &&
    10n * request.bounty <= request.bond &&
    [request.submitWindow, request.heartbeatSeconds, request.noticeSeconds].every((wait) => wait <= LONGEST_WAIT) &&
    (request.mode === MODE.lease ? isSoundLease(request) : isSoundBatch(request))
  );
}

function isSoundLease({ heartbeatSeconds, acceptWindow, verifier, arbiter }: Request): boolean {
  const unjudged = verifier === ZERO_ADDRESS && arbiter === ZERO_ADDRESS;
  return heartbeatSeconds > 0 && acceptWindow <= 2 * heartbeatSeconds && unjudged;
}

function isSoundBatch(request: Request): boolean {
  const { submitWindow, maxSeconds, acceptWindow, challengeWindow, arbiterWindow } = request;
  if (submitWindow < maxSeconds || acceptWindow > submitWindow) return false;
  if (request.verifier !== ZERO_ADDRESS && arbiterWindow === 0) return false;
  if (request.arbiter === ZERO_ADDRESS) return true;
  return challengeWindow > 0 && arbiterWindow > 0 && request.arbiterFee <= request.bond;
}
