import {
  depositUp,
  MarketError,
  MODE,
  maskToTraits,
  misfits,
  type Offer,
  operatorTree,
  priceOf,
  type Request,
  type Spec,
  textToBytes32,
  traitsToMask,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import type { Address } from "viem";
import { explainMisfits, type Lack } from "../explain.ts";
import { bytes32ToText, formatMoney, type TokenInfo } from "../format.ts";
import type { ListedOffer } from "../indexer.ts";
import { traitsOf } from "./build-spec.ts";

/** What a requester wants of the market, beside the spec. */
export interface Wishes {
  requester: Address;
  token: TokenInfo;
  /** Of the image. */
  architecture?: string | undefined;
  replicas?: number | undefined;
  /** Token units for all replicas together. */
  maxPrice?: bigint | undefined;
  challengeSeconds?: number | undefined;
  /** Token units. Absent: the deposit, or less where the offers chosen put up less. */
  bond?: bigint | undefined;
  region?: string | undefined;
  /** What the GPUs must be called, of those offers that have some. */
  gpuModel?: string | undefined;
  /** The only operators that may take it. Absent: any. */
  operators?: readonly Address[] | undefined;
}

/** Terms that the cheapest fitting offers take, and what they cost. */
export interface Estimate {
  /** Everything of a request but what only its last moment decides. */
  terms: Omit<Request, "specHash" | "openUntil" | "nonce">;
  offers: ListedOffer[];
  /** Token units: what these offers cost at most, all replicas and the tip together. */
  price: bigint;
}

/** Seconds after the longest run that are left for publishing, whatever offers ask. */
const MIN_SUBMIT_MARGIN_SECONDS = 60;
/** A node that wants longer could keep a requester waiting for hours. */
const MAX_SUBMIT_MARGIN_SECONDS = 3600;
const ACCEPT_SECONDS = 60;
const CHALLENGE_SECONDS = 3600;
const COMPENSATION_BPS = 1000;
/** How far the price limit lies above the estimate when nobody gave one, in percent: room for the next-cheapest offers. */
const HEADROOM_PERCENT = 150n;

/**
 * The cheapest offers for a spec, one for each replica and operator, and request terms that suit them. Pure.
 * Throws NO_OFFER_FITS with the reasons, grouped; GPUS_MISSING, GPUS_IN_GVISOR.
 */
export function estimate(spec: Spec, wishes: Wishes, offers: readonly ListedOffer[], now: number): Estimate {
  const { replicas = 1, maxPrice } = wishes;
  assertGpus(spec, wishes);
  const quotes = offers.map((listed) => quote(spec, wishes, listed, now));
  const fitting = quotes.filter(({ lacks }) => lacks.length === 0).sort((a, b) => compare(a.deposit, b.deposit));
  const byOperator = new Map<string, (typeof fitting)[number]>();
  for (const each of fitting)
    if (!byOperator.has(each.listed.offer.operator)) byOperator.set(each.listed.offer.operator, each);
  const chosen = [...byOperator.values()].slice(0, replicas);
  if (chosen.length < replicas) throw noOfferFits(quotes, fitting.length, byOperator.size, replicas);

  const terms = {
    ...chosen.reduce((shared, { terms: own }) => merge(shared, own), chosen[0]?.terms as Estimate["terms"]),
    replicas,
  };
  const draft = asRequest(terms);
  const price = priceOf(
    draft,
    chosen.map(({ listed }) => listed.offer),
  );
  if (maxPrice !== undefined && price > maxPrice) throw tooDear(wishes.token, price, maxPrice, offers.length);
  return {
    terms: { ...terms, maxPrice: maxPrice ?? (price * HEADROOM_PERCENT + 99n) / 100n },
    offers: chosen.map(({ listed }) => listed),
    price,
  };
}

/**
 * Terms without any offer to go by: what a request says when it is posted without an indexer.
 * Throws PRICE_MISSING, GPUS_MISSING, GPUS_IN_GVISOR.
 */
export function blindTerms(spec: Spec, wishes: Wishes): Estimate["terms"] {
  assertGpus(spec, wishes);
  if (wishes.maxPrice === undefined) {
    throw new MarketError("PRICE_MISSING", "Without an indexer there are no offers to take a price from.", {
      hint: "Say what the job may cost with --max-price, or give an indexer.",
    });
  }
  const margin = MIN_SUBMIT_MARGIN_SECONDS;
  return {
    ...termsFor(spec, wishes, { margin, bond: wishes.bond ?? 0n, compensationBps: 0 }),
    maxPrice: wishes.maxPrice,
  };
}

function quote(spec: Spec, wishes: Wishes, listed: ListedOffer, now: number) {
  const { offer, free } = listed;
  const margin = Math.min(Math.max(MIN_SUBMIT_MARGIN_SECONDS, offer.minSubmitMargin), MAX_SUBMIT_MARGIN_SECONDS);
  const compensationBps = Math.min(COMPENSATION_BPS, offer.maxCompensationBps);
  const deposit = depositUp(asRequest(termsFor(spec, wishes, { margin, bond: 0n, compensationBps })), offer);
  const bond = wishes.bond ?? min(deposit, offer.maxBond);
  const terms = termsFor(spec, wishes, { margin, bond, compensationBps });
  const lacks: Lack[] = misfits(asRequest(terms), offer, now).map((lack) => readable(lack, terms, offer));
  for (const field of ["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const) {
    const left = free?.[field];
    if (left !== undefined && lacks.length === 0 && terms[field] > left) {
      lacks.push({ field: `free ${field}`, wanted: String(terms[field]), has: String(left) });
    }
  }
  const { operators } = wishes;
  if (operators !== undefined && !operators.some((named) => named.toLowerCase() === offer.operator))
    lacks.unshift({ field: "operators", wanted: String(operators.length), has: offer.operator });
  return { listed, terms, deposit, lacks };
}

function termsFor(
  spec: Spec,
  wishes: Wishes,
  own: { margin: number; bond: bigint; compensationBps: number },
): Estimate["terms"] {
  const { resources, timeouts } = spec;
  return {
    requester: wishes.requester,
    payer: wishes.requester,
    matcher: ZERO_ADDRESS,
    token: wishes.token.address,
    maxPrice: 0n,
    matcherTip: 0n,
    mode: MODE.batch,
    replicas: 1,
    ...resources,
    traits: traitsToMask(traitsOf(spec, wishes.architecture)),
    gpuModel: wishes.gpuModel === undefined ? ZERO_BYTES32 : textToBytes32(wishes.gpuModel),
    region: wishes.region === undefined ? ZERO_BYTES32 : textToBytes32(wishes.region),
    maxSeconds: timeouts.runSeconds,
    acceptWindow: ACCEPT_SECONDS,
    submitWindow: timeouts.startSeconds + timeouts.runSeconds + own.margin,
    challengeWindow: wishes.challengeSeconds ?? CHALLENGE_SECONDS,
    heartbeatSeconds: 0,
    noticeSeconds: 0,
    verifier: ZERO_ADDRESS,
    verifierData: ZERO_BYTES32,
    arbiter: ZERO_ADDRESS,
    arbiterData: ZERO_BYTES32,
    arbiterFee: 0n,
    arbiterWindow: 0,
    bond: own.bond,
    bounty: 0n,
    compensationBps: own.compensationBps,
    minStake: 0n,
    operators: wishes.operators === undefined ? ZERO_BYTES32 : operatorTree(wishes.operators).root,
  };
}

/** Terms that both of two offers take. */
function merge(a: Estimate["terms"], b: Estimate["terms"]): Estimate["terms"] {
  return {
    ...a,
    submitWindow: Math.max(a.submitWindow, b.submitWindow),
    bond: min(a.bond, b.bond),
    compensationBps: Math.min(a.compensationBps, b.compensationBps),
  };
}

function asRequest(terms: Estimate["terms"]): Request {
  return { ...terms, specHash: ZERO_BYTES32, openUntil: 0, nonce: ZERO_BYTES32 };
}

/** What no offer of this market can mean: known before anybody is asked for one. */
function assertGpus({ resources, isolation }: Spec, { gpuModel }: Wishes): void {
  if (resources.gpus === 0 && gpuModel !== undefined) {
    throw new MarketError("GPUS_MISSING", `GPUs of the model "${gpuModel}" are asked for, but no GPU.`, {
      hint: "Say how many with --gpus, or with resources.gpus of the spec.",
    });
  }
  if (resources.gpus > 0 && isolation === "gvisor") {
    throw new MarketError("GPUS_IN_GVISOR", "Jobs in gVisor get no GPUs.", {
      hint: "Leave the GPUs out, or take --isolation container.",
    });
  }
}

/** Masks become names, and words of 32 bytes their texts. */
function readable(lack: Lack, terms: Estimate["terms"], offer: Offer): Lack {
  const { field } = lack;
  if (field === "gpuModel" || field === "region") {
    return { ...lack, wanted: bytes32ToText(terms[field]), has: bytes32ToText(offer[field]) };
  }
  if (field !== "traits") return lack;
  return { ...lack, wanted: maskToTraits(terms.traits & ~offer.traits).join(", ") };
}

function noOfferFits(
  quotes: readonly { lacks: readonly Lack[] }[],
  fits: number,
  operators: number,
  replicas: number,
): MarketError {
  const why =
    fits > 0
      ? `${quotes.length} offers, ${fits} fit, but of ${operators} operator${operators === 1 ? "" : "s"} only, and ${replicas} replicas need as many`
      : explainMisfits(quotes.map(({ lacks }) => lacks));
  return new MarketError("NO_OFFER_FITS", `No offer fits this job: ${why}.`, {
    hint:
      fits > 0
        ? "Ask for fewer replicas, or wait for more operators."
        : "Ask for less, or wait for other offers: `berth offers` lists them.",
    retryable: true,
  });
}

function tooDear(token: TokenInfo, price: bigint, maxPrice: bigint, offers: number): MarketError {
  const cost = `the cheapest costs ${formatMoney(price, token)}, but at most ${formatMoney(maxPrice, token)} may be paid`;
  return new MarketError(
    "NO_OFFER_FITS",
    `No offer fits this job: of ${offers} offer${offers === 1 ? "" : "s"}, ${cost}.`,
    {
      hint: "Raise --max-price, or ask for less time or fewer resources.",
      retryable: true,
    },
  );
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
