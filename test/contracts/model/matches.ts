import type { Address, Request } from "@berth/protocol";
import { jobIdOf } from "@berth/protocol";
import { offerFlaws, requestFlaws } from "./flaws.ts";
import type { Move } from "./moves.ts";
import { State } from "./replicas.ts";
import type { Match } from "./scene.ts";
import { offerOf, requestOf } from "./shape.ts";
import { replicaKey } from "./storage.ts";
import type { Order, Trace } from "./trace.ts";

/** A request that nobody has seen before. */
export function planNewOrder({ facts, people, orders, latest }: Trace, move: Move): Order {
  const { shape } = move;
  const request = requestOf(shape, facts, people, latest, orders.length);
  const flaw =
    move.flaw === "order" && move.share % 2 === 0 ? requestFlaws[move.pick % requestFlaws.length] : undefined;
  return { request: { ...request, ...flaw?.(request) }, shape };
}

export function postedOrders({ facts, storage, orders }: Trace): readonly Order[] {
  const stateOf = (request: Request) => storage.replicas[replicaKey(jobIdOf(facts.domain, request), 0)]?.state;
  return orders.filter(({ request }) => stateOf(request) === State.Posted);
}

/** `order` with an offer for each replica. */
export function planMatchOf(trace: Trace, move: Move, { request, shape }: Order): Match {
  const { people, storage, latest } = trace;
  const both: Address[] = [people.operator, people.otherOperator];
  if (move.pick % 2 === 0) both.reverse();
  const twice = move.flaw === "caller" && request.replicas === 2;
  const operators = twice ? [both[0], both[0]] : both.slice(0, request.replicas);
  const flaw = move.flaw === "order" && move.share % 2 === 1 ? offerFlaws[move.pick % offerFlaws.length] : undefined;
  const offers = operators.flatMap((operator) => {
    if (operator === undefined) return [];
    const offer = offerOf(shape, request, operator, storage.uses[operator]?.epoch ?? 0, latest);
    return [{ ...offer, ...flaw?.(offer) }];
  });
  return {
    request,
    requesterSigned: move.flaw !== "terms",
    payerSigned: move.flaw !== "claim",
    offers: move.flaw === "amount" && move.share % 2 === 0 ? offers.slice(1) : offers,
    offersSigned: move.flaw !== "state",
  };
}
