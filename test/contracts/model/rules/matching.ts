import {
  jobIdOf,
  misfits,
  type Offer,
  priceOf,
  type Request,
  replicaCommitment,
  standingMisfits,
  termsOf,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import { lock } from "../bonds.ts";
import { add, amountIn } from "../money.ts";
import { State } from "../replicas.ts";
import { type Calls, type Rule, type Scene, those } from "../scene.ts";
import { noLimits, noStake, noUse, put, type Storage } from "../storage.ts";
import { firstOf, notNew, unauthorized } from "./requests.ts";

export const matchJob: Rule<Calls["matchJob"]> = {
  refusals: (scene, args) => {
    const { request, offers } = args;
    const { state } = firstOf(scene, request);
    const posted = state === State.Posted;
    const short = amountIn(scene.storage, "balances", request.payer) < priceOf(request, offers);
    return [
      ...those({
        WrongState: !posted && state !== State.None,
        WrongOfferCount: offers.length !== request.replicas,
        OperatorTwice: new Set(offers.map((offer) => offer.operator)).size !== offers.length,
        BadOfferSignature: offers.length > 0 && !args.offersSigned,
        BalanceTooLow: !posted && short,
      }),
      ...(posted ? [] : unauthorized(scene, args)),
      ...unbindable(scene, request, offers),
    ];
  },
  outcome: (scene, { request, offers }) => bindAll(scene, request, offers),
};

export const accept: Rule<Calls["accept"]> = {
  refusals: (scene, { request, offer }) => [
    ...those({
      WrongState: firstOf(scene, request).state !== State.Posted,
      WrongOfferCount: request.replicas !== 1,
      NotNode: scene.by !== scene.facts.nodes[offer.operator]?.key,
    }),
    ...unbindable(scene, request, [offer]),
  ],
  outcome: (scene, { request, offer }) => bindAll(scene, request, [offer]),
};

/** What refuses a match, whoever makes it. */
function unbindable(scene: Scene, request: Request, offers: Offer[]): string[] {
  const { list } = scene.facts;
  const listed = request.operators !== ZERO_BYTES32;
  const allowed = ({ operator }: Offer) => request.operators === list.root && list.proofs[operator] !== undefined;
  return [
    ...notNew(scene, request),
    ...those({
      NotMatcher: request.matcher !== ZERO_ADDRESS && request.matcher !== scene.by,
      PriceAboveCap: priceOf(request, offers) > request.maxPrice,
      OperatorNotAllowed: listed && !offers.every(allowed),
    }),
    ...offers.flatMap((offer) => unservable(scene, request, offer)),
  ];
}

/** What the two orders and the standing of the node refuse, by the market's names. */
function unservable(scene: Scene, request: Request, offer: Offer): string[] {
  const { storage, facts, now } = scene;
  const { operator } = offer;
  const stake = storage.stakes[operator] ?? noStake;
  const whats = [facts.token, facts.judge, facts.arbiter];
  const standing = {
    use: storage.uses[operator] ?? noUse,
    limits: storage.limits[operator] ?? noLimits,
    keyValidTo: facts.nodes[operator]?.validTo ?? 0,
    freeStake: stake.free,
    lockedStake: stake.locked,
    accepts: whats.filter((what) => storage.accepted[`${operator}/${what}`]),
    deactivated: false,
  };
  const apart = misfits(request, offer, now).map(({ field }) =>
    field === "expiresAt" ? "OfferExpired" : "OfferMismatch",
  );
  const refused = standingMisfits(request, offer, standing, now).flatMap(({ field }) => errorsFor(field));
  return [...apart, ...refused];
}

function errorsFor(field: string): string[] {
  if (field.startsWith("accepts")) return ["NotAccepted"];
  if (field.startsWith("limits")) return ["LimitExceeded"];
  // The operator's limit and the offer's capacity both bound what is in use.
  if (field.startsWith("free ")) return ["LimitExceeded", "CapacityExceeded"];
  const names: Record<string, string> = {
    epoch: "WrongEpoch",
    keyValidTo: "KeyExpiresTooSoon",
    freeStake: "StakeTooLow",
    minStake: "StakeBelowMinimum",
  };
  const name = names[field];
  if (name === undefined) throw new Error(`No error is known for ${field}.`);
  return [name];
}

function bindAll(scene: Scene, request: Request, offers: Offer[]): Storage {
  const { storage, by } = scene;
  const posted = firstOf(scene, request).state === State.Posted;
  const price = priceOf(request, offers);
  const charged = add(storage, "balances", request.payer, (posted ? request.maxPrice : 0n) - price);
  const tipped = add(charged, "balances", by, request.matcherTip);
  return offers.reduce((before, offer, replica) => bind(before, scene, request, offer, replica), tipped);
}

function bind(storage: Storage, { facts, now }: Scene, request: Request, offer: Offer, replica: number): Storage {
  const use = storage.uses[offer.operator] ?? noUse;
  const taken = put(storage, "uses", offer.operator, {
    ...use,
    active: use.active + 1,
    cpuMilli: use.cpuMilli + request.cpuMilli,
    memoryMiB: use.memoryMiB + request.memoryMiB,
    diskMiB: use.diskMiB + request.diskMiB,
    gpus: use.gpus + request.gpus,
    touched: true,
  });
  const commitment = replicaCommitment(termsOf(facts.domain, request, offer, replica));
  const key = `${jobIdOf(facts.domain, request)}/${replica}`;
  const running = put(taken, "replicas", key, { state: State.Active, matchedAt: now, lastAt: 0, commitment });
  return lock(running, offer.operator, request.bond);
}
