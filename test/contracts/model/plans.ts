import type { Address } from "@berth/protocol";
import type { Move } from "./moves.ts";
import { oneOf } from "./pick.ts";
import type { Call } from "./scene.ts";
import type { Order, Trace } from "./trace.ts";

/** A move made into a call that can be sent. */
export interface Plan {
  call: Call;
  by: Address;
  /** Unix seconds of its block. */
  now: number;
  /** A request that was made for it. */
  order?: Order;
}

/** Makes a plan of a call by its rightful caller; by somebody else where that is the flaw. */
export type Make = (call: Call, by: Address, now?: number) => Plan;

export function keyOf({ facts }: Trace, operator: Address): Address {
  return facts.nodes[operator]?.key ?? operator;
}

export function stranger({ people, facts }: Trace, { share }: Move): Address {
  return oneOf([people.stranger, people.requester, people.payer, people.operator, facts.arbiter], share);
}
