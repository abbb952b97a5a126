import { type Address, type Claim, jobIdOf, type Offer, type Request, type Terms, termsOf } from "@berth/protocol";
import type { Answer, Call, Facts } from "./scene.ts";
import type { Shape } from "./shape.ts";
import { replicaKey, type Storage } from "./storage.ts";

/** People by role. */
export type People = Readonly<
  Record<"requester" | "payer" | "operator" | "otherOperator" | "matcher" | "stranger", Address>
>;

/** A request that somebody made, posted or not. */
export interface Order {
  request: Request;
  shape: Shape;
}
/** A replica that came to be. */
export interface Run {
  terms: Terms;
  claim: Claim | undefined;
}

/** Where a random trace is: what the model holds, and what its people remember. */
export interface Trace {
  facts: Facts;
  people: People;
  /** Unix seconds of the last block. */
  latest: number;
  answer: Answer;
  storage: Storage;
  orders: readonly Order[];
  runs: readonly Run[];
}

/** What people remember of `call` once it succeeded; of a batch, of the items that did. */
export function remembered(trace: Trace, call: Call, items: string[][]): readonly Run[] {
  switch (call.name) {
    case "matchJob":
      return [...trace.runs, ...runsOf(trace, call.args.request, call.args.offers)];
    case "accept":
      return [...trace.runs, ...runsOf(trace, call.args.request, [call.args.offer])];
    case "matchMany": {
      const done = call.args.items.filter((_, item) => items[item]?.length === 0);
      return [...trace.runs, ...done.flatMap(({ request, offers }) => runsOf(trace, request, offers))];
    }
    case "submit": {
      const { terms, claim } = call.args;
      return trace.runs.map((run) => (isOf(run, terms) ? { terms, claim } : run));
    }
    default:
      return trace.runs;
  }
}

/** The names of all replicas that something may be stored of: those of every request, also where nothing should be. */
export function replicaKeysOf({ facts, orders, storage }: Trace): string[] {
  const first = orders.map(({ request }) => replicaKey(jobIdOf(facts.domain, request), 0));
  return [...new Set([...first, ...Object.keys(storage.replicas), ...Object.keys(storage.leases)])];
}

function runsOf({ facts }: Trace, request: Request, offers: Offer[]): Run[] {
  return offers.map((offer, replica) => ({ terms: termsOf(facts.domain, request, offer, replica), claim: undefined }));
}

function isOf({ terms: { job, assignment } }: Run, terms: Terms): boolean {
  return job.jobId === terms.job.jobId && assignment.replica === terms.assignment.replica;
}
