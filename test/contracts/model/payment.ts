import type { Terms } from "@berth/protocol";
import { unlockBond } from "./bonds.ts";
import { add } from "./money.ts";
import { State, withReplica } from "./replicas.ts";
import type { Storage } from "./storage.ts";

/** The replica ends: `charge` of what is held to the operator, the rest to the payer. Says nothing of the bond. */
export function pay(storage: Storage, terms: Terms, held: bigint, charge: bigint): Storage {
  const settled = withReplica(storage, terms, { state: State.Settled });
  const paid = add(settled, "balances", terms.assignment.operator, charge);
  return add(paid, "balances", terms.job.payer, held - charge);
}

/** `pay`, and the bond is free. */
export function settle(storage: Storage, terms: Terms, held: bigint, charge: bigint): Storage {
  return unlockBond(pay(storage, terms, held, charge), terms);
}

/** The replica ends: all that is held to the payer. Says nothing of the bond. */
export function refund(storage: Storage, terms: Terms, held: bigint): Storage {
  return add(withReplica(storage, terms, { state: State.Refunded }), "balances", terms.job.payer, held);
}
