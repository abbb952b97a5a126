import type { Rpc } from "@berth/chain";
import type { Config } from "../config.ts";
import { limitsFor } from "../core/offer.ts";
import type { JobTools } from "../core/ports.ts";
import type { Context } from "../log.ts";
import { createDecisions } from "../store/decisions.ts";
import { settlementStore } from "../store/settlements.ts";
import { createAccepting } from "./accept-posted.ts";
import type { Closers } from "./closers.ts";
import { capacityOf, type Proven } from "./doctor.ts";
import { createMeasure } from "./measure.ts";
import { type Offering, startOffering } from "./offering.ts";
import { startSettling } from "./settle.ts";

export interface DealingOptions {
  config: Config;
  rpc: Rpc;
  tools: JobTools;
  /** What the newest checks proved. */
  proven(): Proven;
  /** Unix milliseconds since when the RPC has been behind or silent; null while it is neither. */
  behindSince(): number | null;
  /** Called when other things are offered than before, or for other reasons not. */
  onOffers(): void;
}

/** What a node does on the market of its own accord. */
export interface Dealing {
  offering: Offering;
  /** There is news from the chain: look at posted requests, and at results that may be due. */
  poke(): void;
}

/** Offers, takes posted requests and settles results, where the configuration says so, until the signal. */
export function startDealing(options: DealingOptions, own: Context, closers: Closers): Dealing {
  const { config, rpc, tools, proven, behindSince, onOffers } = options;
  const { self, deployment, database, journal, chain, outbox, now } = tools;
  const capacity = capacityOf(config);
  const measure = createMeasure({ config, capacity, journal });
  const about = { config, self, rpc, deployment, database, measure, proven, behindSince, now };
  const offering = startOffering({ ...about, onChange: onOffers }, own);
  closers.push(() => offering.done);
  const accepting = config.acceptPosted
    ? createAccepting(
        {
          ...{ deny: config.offers.deny, hook: config.hook, self, deployment, chain, now },
          ...{ journal, outbox, decisions: createDecisions(database), limits: limitsFor(capacity, config.offers) },
          ...{ quotes: offering.current, whyNone: offering.reason },
          unfit: async (wanted, context) => await tools.machine?.unfit?.(wanted, context),
        },
        own,
      )
    : undefined;
  if (accepting !== undefined) closers.push(accepting.idle);
  const rules = config.transactions.settle;
  const settlements = settlementStore(database);
  const settling = rules.enabled
    ? startSettling({ rules, self, rpc, deployment, journal, settlements, outbox, now }, own)
    : undefined;
  if (settling !== undefined) closers.push(() => settling.done);
  return {
    offering,
    poke() {
      settling?.poke();
      accepting
        ?.look()
        .catch((error: unknown) => own.signal.aborted || own.log.warn({ err: error }, "posted requests not looked at"));
    },
  };
}
