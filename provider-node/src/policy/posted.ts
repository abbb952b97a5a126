import {
  type Address,
  type Hex,
  type Misfit,
  maskToTraits,
  misfits,
  type NodeLimits,
  type Offer,
  priceOf,
  type Request,
  ZERO_ADDRESS,
  ZERO_BYTES32,
} from "@berth/protocol";
import { hexToString } from "viem";
import type { Reason } from "../store/decisions.ts";

/** A quote of this node, and which of its profiles it is of. */
export interface Quote {
  profile: string;
  offer: Offer;
}

/** What a job takes of a node. */
type Use = Pick<NodeLimits, "cpuMilli" | "memoryMiB" | "diskMiB" | "gpus">;

export interface PostedFacts {
  /** The node's hot key. */
  key: Address;
  quotes: readonly Quote[];
  /** Why there are no quotes, where there are none. */
  whyNone: string;
  deny: readonly Address[];
  /** As the operator set them. */
  limits: NodeLimits;
  /** What the jobs take that this node owes results for. */
  active: readonly Use[];
  /** Unix seconds by the chain's clock. */
  now: number;
}

/** The quote to take a posted request with, or the first reason why not. The market checks everything again. Pure. */
export function judgePosted(request: Request, facts: PostedFacts): { quote: Quote } | { reason: Reason } {
  const { key, quotes, whyNone, deny, limits, active, now } = facts;
  const no = (code: string, text: string, values: Reason["values"] = {}) => ({ reason: { code, text, values } });
  if (request.matcher !== ZERO_ADDRESS && request.matcher !== key.toLowerCase()) {
    return no("other-matcher", `Only ${request.matcher} may match it.`, { matcher: request.matcher });
  }
  if (request.replicas !== 1) {
    const { replicas } = request;
    return no("replicas", `It wants ${replicas} replicas; a node can only take a whole job.`, { replicas });
  }
  if (request.openUntil < now) {
    const { openUntil } = request;
    return no("closed", `It was open until ${new Date(openUntil * 1000).toISOString()}.`, { openUntil });
  }
  // The chain has only the root of its operators, which proves nothing about this one.
  if (request.operators !== ZERO_BYTES32) {
    return no("operators", "It names its operators by a tree that this node does not know.");
  }
  const { requester } = request;
  if (deny.includes(requester)) return no("denied", `Requester ${requester} is denied (offers.deny).`, { requester });
  if (quotes.length === 0) return no("no-offer", `There was no offer to take it with: ${whyNone}`);

  const judged = quotes.map((quote) => ({ quote, lacks: misfits(request, quote.offer, now) }));
  const [closest] = judged.toSorted((a, b) => a.lacks.length - b.lacks.length);
  const fitting = judged.filter(({ lacks }) => lacks.length === 0).map(({ quote }) => priced(quote, request));
  if (fitting.length === 0 && closest !== undefined) return { reason: misfitReason(closest, request) };
  const dearestFirst = fitting.toSorted((a, b) => (a.price > b.price ? -1 : a.price < b.price ? 1 : 0));
  const best = dearestFirst.find(({ price }) => price <= request.maxPrice);
  const cheapest = dearestFirst.at(-1);
  if (best === undefined) {
    const [asked, maxPrice] = [String(cheapest?.price), String(request.maxPrice)];
    const text = `It pays ${maxPrice} token units at most; this node asks for ${asked} (profile ${cheapest?.quote.profile}).`;
    return no("price", text, { wanted: asked, has: maxPrice });
  }
  return roomReason(request, limits, active) ?? { quote: best.quote };
}

function priced(quote: Quote, request: Request): { quote: Quote; price: bigint } {
  return { quote, price: priceOf(request, [quote.offer]) };
}

function misfitReason({ quote, lacks }: { quote: Quote; lacks: readonly Misfit[] }, request: Request): Reason {
  const shown = lacks.map((lack) => readable(lack, request, quote.offer));
  const sentence = shown.map(({ field, wanted, has }) => `${field} ${wanted}, where the offer has ${has}`).join("; ");
  const values = { profile: quote.profile, misfits: shown };
  return { code: "misfit", text: `It asks for ${sentence} (profile ${quote.profile}).`, values };
}

/** Masks and padded text as people write them. */
function readable(lack: Misfit, request: Request, offer: Offer): Misfit {
  switch (lack.field) {
    case "traits": {
      const missing = request.traits & ~offer.traits;
      return { ...lack, wanted: maskToTraits(missing).join(", ") || String(missing), has: "none of that" };
    }
    case "region":
    case "gpuModel":
      return { ...lack, wanted: textOf(lack.wanted), has: textOf(lack.has) };
    default:
      return lack;
  }
}

function textOf(bytes32: string): string {
  return bytes32 === ZERO_BYTES32 ? "none" : JSON.stringify(hexToString(bytes32 as Hex, { size: 32 }));
}

/** Does the request still fit beside what this node owes already? The market counts the same way. */
function roomReason(request: Use, limits: NodeLimits, active: readonly Use[]): { reason: Reason } | undefined {
  const full = (field: string, wanted: number, has: number) => {
    const text = `It asks for ${wanted} ${field}, but only ${Math.max(0, has)} are free beside the jobs that run.`;
    return { reason: { code: "no-room", text, values: { field, wanted, has } } };
  };
  if (active.length >= limits.maxActive) return full("jobs", 1, limits.maxActive - active.length);
  for (const field of ["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const) {
    const free = active.reduce((left, job) => left - job[field], limits[field]);
    if (request[field] > free) return full(field, request[field], free);
  }
  return undefined;
}
