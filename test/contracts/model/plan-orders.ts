import { planMatchOf, planNewOrder, postedOrders } from "./matches.ts";
import type { Move } from "./moves.ts";
import { or, pickOf } from "./pick.ts";
import { keyOf, type Make, type Plan } from "./plans.ts";
import type { Match } from "./scene.ts";
import type { Trace } from "./trace.ts";
import { timeOf } from "./when.ts";

/** A call about a request; undefined when there is none for it. */
export function planOrder(trace: Trace, move: Move, make: Make): Plan | undefined {
  const { people, facts } = trace;
  // Rarely long, or there would be nothing to do.
  if (trace.storage.paused && move.pick % 2 === 0)
    return make({ name: "setPaused", args: { paused: false } }, facts.guardian);
  const fresh = planNewOrder(trace, move);
  const { request } = fresh;
  const last = move.pick % 12 === 0;
  const open = timeOf(trace, move, last ? [request.openUntil] : []);
  if (move.kind === "post") {
    const args = { request, requesterSigned: move.pick % 2 === 0, payerSigned: move.flaw !== "state" };
    return {
      ...make({ name: "post", args }, args.requesterSigned ? people.stranger : request.requester, open),
      order: fresh,
    };
  }
  if (move.kind === "matchJob") {
    const match = planMatchOf(trace, move, fresh);
    const until = [request.openUntil, ...match.offers.map(({ expiresAt }) => expiresAt)];
    const now = timeOf(trace, move, last ? until : []);
    return { ...make({ name: "matchJob", args: match }, people.matcher, now), order: fresh };
  }
  const posted = postedOrders(trace);
  const withdrawn = move.kind === "cancel" && move.share % 4 === 0;
  const order = pickOf(move.flaw === "state" || withdrawn ? trace.orders : posted, move.pick);
  if (order === undefined) return undefined;
  const until = timeOf(trace, move, last || move.kind === "cancel" ? [order.request.openUntil] : []);
  if (move.kind === "cancel") {
    const by = move.when === "soon" ? order.request.requester : people.stranger;
    return make({ name: "cancel", args: { request: order.request } }, by, until);
  }
  const match = planMatchOf(trace, move, order);
  if (move.kind === "matchPosted") {
    return make(
      { name: "matchJob", args: { ...match, requesterSigned: false, payerSigned: false } },
      people.matcher,
      until,
    );
  }
  const offer = match.offers[0];
  if (offer === undefined) return undefined;
  return make({ name: "accept", args: { request: order.request, offer } }, keyOf(trace, offer.operator), until);
}

/** A new job, then one of those that there are already. */
export function planMatchMany(trace: Trace, move: Move, make: Make): Plan {
  const fresh = planNewOrder(trace, move);
  const old = pickOf(or(postedOrders(trace), trace.orders), move.pick);
  const items: Match[] = [fresh, ...(old === undefined ? [] : [old])].map((order) => planMatchOf(trace, move, order));
  return { ...make({ name: "matchMany", args: { items } }, trace.people.matcher), order: fresh };
}
