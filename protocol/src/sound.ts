import { ZERO_ADDRESS } from "./constants.ts";
import { MarketError } from "./errors.ts";
import { MODE, type Request } from "./orders.ts";

/** What of a request decides if it is sound: known before anything of it is stored or signed. */
export type RequestTerms = Omit<Request, "specHash" | "openUntil" | "nonce">;

/** The first rule that a request breaks. */
export interface RequestFlaw {
  /** As the contract names it in `BadRequest(jobId, field)`. */
  field: keyof RequestTerms;
  /** What the field must be or not, for people: reads after its name. */
  rule: string;
}

/** In basis points of the deposit. */
const MAX_COMPENSATION_BPS = 1000;
/** A bounty is at most a tenth of the bond. */
const MAX_BOUNTY_SHARE = 10n;
/** The longest time to wait for a result, a heartbeat or the end of a notice: 366 days. */
const MAX_WAIT_SECONDS = 366 * 24 * 3600;

type Rule = [sound: boolean, field: RequestFlaw["field"], rule: string];

/**
 * What makes a request one that no offer could serve; undefined where it is sound. These are the checks of
 * `Fit.requireSound` in `contracts/market/libraries/Fit.sol`, in the same order and under the same names.
 */
export function requestFlaw(request: RequestTerms): RequestFlaw | undefined {
  const { mode, bond, bounty, submitWindow, heartbeatSeconds, noticeSeconds } = request;
  const rules: Rule[] = [
    [request.requester !== ZERO_ADDRESS, "requester", "must not be zero"],
    [request.replicas > 0, "replicas", "must be at least 1"],
    [request.matcherTip <= request.maxPrice, "matcherTip", "must not be above `maxPrice`"],
    [request.compensationBps <= MAX_COMPENSATION_BPS, "compensationBps", `must be at most ${MAX_COMPENSATION_BPS}`],
    [bounty <= bond / MAX_BOUNTY_SHARE, "bounty", "must not be above a tenth of `bond`"],
    [submitWindow <= MAX_WAIT_SECONDS, "submitWindow", "must be at most 366 days"],
    [heartbeatSeconds <= MAX_WAIT_SECONDS, "heartbeatSeconds", "must be at most 366 days"],
    [noticeSeconds <= MAX_WAIT_SECONDS, "noticeSeconds", "must be at most 366 days"],
    ...(mode === MODE.lease ? leaseRules(request) : batchRules(request)),
  ];
  const broken = rules.find(([sound]) => !sound);
  return broken && { field: broken[1], rule: broken[2] };
}

/** Refuses what the market would refuse whatever offer it is matched with. Throws REQUEST_UNSOUND. */
export function requireSound(request: RequestTerms): void {
  const flaw = requestFlaw(request);
  if (flaw === undefined) return;
  const { field, rule } = flaw;
  const message = `The market would refuse this request: \`${field}\` ${rule}; it is ${request[field]}.`;
  throw new MarketError("REQUEST_UNSOUND", message, {
    hint: `Correct \`${field}\`. A request that was signed already must be signed again.`,
  });
}

function batchRules(request: RequestTerms): Rule[] {
  const { submitWindow, challengeWindow, arbiterWindow } = request;
  const [judged, disputable] = [request.verifier !== ZERO_ADDRESS, request.arbiter !== ZERO_ADDRESS];
  return [
    [submitWindow >= request.maxSeconds, "submitWindow", "must not be below `maxSeconds`"],
    [request.acceptWindow <= submitWindow, "acceptWindow", "must not be above `submitWindow`"],
    [!judged || arbiterWindow > 0, "arbiterWindow", "must leave time for the verifier to answer"],
    [!disputable || challengeWindow > 0, "challengeWindow", "must leave time for a dispute where there is an arbiter"],
    [!disputable || arbiterWindow > 0, "arbiterWindow", "must leave time for the arbiter to rule"],
    [!disputable || request.arbiterFee <= request.bond, "arbiterFee", "must not be above `bond`"],
  ];
}

/** Nobody judges a lease. */
function leaseRules({ heartbeatSeconds, acceptWindow, verifier, arbiter }: RequestTerms): Rule[] {
  return [
    [heartbeatSeconds > 0, "heartbeatSeconds", "must not be zero for a lease"],
    [acceptWindow <= 2 * heartbeatSeconds, "acceptWindow", "must be at most two heartbeats of a lease"],
    [verifier === ZERO_ADDRESS, "verifier", "must be zero for a lease"],
    [arbiter === ZERO_ADDRESS, "arbiter", "must be zero for a lease"],
  ];
}
