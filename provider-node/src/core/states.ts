import type { Outcome } from "@berth/protocol";
import type { Reason } from "../store/decisions.ts";

/**
 * Where one attempt of a replica stands. Written before the effect that the name promises: `fetching`, `running` and
 * `submitting` are intents, the others are facts.
 *
 *   matched → fetching → prepared → attested → running → exited → collected → published → submitting → submitted → final → cleaned
 *
 * A run that cannot be made (wrong spec, nothing to fetch, wrong image) or whose end is unknown goes to `collected` with
 * nothing collected: its result says so. Side exits: `declined` (given back in time; back to `fetching` where that failed), `expired` (no result in time),
 * `cancelled` (the match is gone), `retried` (a later attempt took over).
 */
export const attemptStates = [
  "matched",
  "fetching",
  "prepared",
  "attested",
  "running",
  "exited",
  "collected",
  "published",
  "submitting",
  "submitted",
  "final",
  "cleaned",
  "retried",
  "declined",
  "expired",
  "cancelled",
] as const;
export type AttemptState = (typeof attemptStates)[number];

/** Nothing is ever done again for an attempt in one of these. */
export const endStates: readonly AttemptState[] = ["cleaned", "retried"];

/** Could the command have been started, for all that the journal knows? */
export function mayHaveRun(state: AttemptState): boolean {
  return !["matched", "fetching", "prepared", "attested", "declined"].includes(state);
}

/** Does the attempt still need this node to do something before its result is on chain? */
export function isBusy(state: AttemptState): boolean {
  return !["submitted", "final", "cleaned", "retried", "expired", "cancelled"].includes(state);
}

/** What `GET /jobs/:jobId/:replica` calls a state. */
export const publicPhase: Record<AttemptState, string> = {
  matched: "fetching",
  fetching: "fetching",
  prepared: "preparing",
  attested: "preparing",
  running: "running",
  exited: "collecting",
  collected: "publishing",
  published: "publishing",
  submitting: "submitting",
  submitted: "submitted",
  final: "submitted",
  cleaned: "done",
  retried: "failed",
  declined: "failed",
  expired: "failed",
  cancelled: "failed",
};

/** What the journal knows of an attempt, as far as deciding needs it. Times are unix seconds of the chain's clock. */
export interface AttemptView {
  state: AttemptState;
  attempt: number;
  /** Of the last change of state. */
  since: number;
  /** Set when the end is known, or when there will be no run. */
  outcome: Outcome | null;
  /** Of the spec; false and "none" while the spec is unknown. */
  idempotent: boolean;
  attestation: "none" | "tpm2" | "exec";
  /** The last second in which the replica may be given back. */
  acceptBy: number;
  startBy: number;
  submitBy: number;
  /** The last second in which a result that came at the last moment may still be judged or disputed. */
  settleBy: number;
  /** A lease owes no result, and this node serves none. */
  isLease: boolean;
  /** The longest time that the command may take, in seconds. */
  maxSeconds: number;
}

/** What the engine says of the attempt's container. `unknown`: it was not asked, or did not answer. */
export type EngineView = "unknown" | "absent" | "created" | "running" | "exited" | "lost";

/**
 * What the followed chain says of the replica. `judging`: its verifier has not said yet that the result stands; `disputed`:
 * its arbiter has to rule; `dropped`: the block of its match is gone.
 */
export type ChainView = "active" | "submitted" | "judging" | "disputed" | "settled" | "refunded" | "dropped";

/** What became of the transaction that submits the result, or declines the replica. */
export type TransactionView = "none" | "pending" | "mined" | "failed";

/** The operator does not want this match. */
export interface Veto {
  reason: Reason;
  /** Giving it back costs nothing, or the operator does not mind. */
  mayDecline: boolean;
}

export interface Situation {
  attempt: AttemptView;
  engine: EngineView;
  chain: ChainView;
  transaction: TransactionView;
  /** Unix seconds by the chain's clock, as well as it can be told. */
  now: number;
  /** Unix seconds of the newest followed block: all that lies before is past for certain, and what happened is known. */
  blockTime: number;
  /** Does the node see the end of its chain just now? Else what it knows may be out of date. */
  followed: boolean;
  /** Unix seconds since when the match has been gone; null while it stands. */
  droppedAt: number | null;
  /** Can this node run jobs at all just now? */
  canServe: boolean;
  /** Looked for while a match can be given back; null: none, or not looked for. */
  veto: Veto | null;
}

/** What to do next, as data. */
export type Action =
  /** Write the state; the effect follows from the next decision. */
  | { do: "enter"; state: AttemptState; outcome?: Outcome; message?: string }
  /** Fetch, verify and make the container; ends in `prepared`, or in `collected` with an outcome. */
  | { do: "prepare" }
  /** Make the container again: it was never started, and is not there. */
  | { do: "remake" }
  | { do: "attest" }
  | { do: "start" }
  | { do: "await-exit" }
  | { do: "collect" }
  | { do: "publish" }
  /** Put the claim into the outbox and enter `submitting`, in one transaction. */
  | { do: "submit" }
  /** Enter `declined` and put the refusal into the outbox; `reason` is null where it was written before. */
  | { do: "decline"; reason: Reason | null }
  /** Stop this attempt for good and begin the next one, in one transaction. */
  | { do: "retry" }
  | { do: "clean" }
  /** Look again when the chain, the engine or the outbox has news, or after `seconds`. */
  | { do: "wait"; seconds: number }
  | { do: "nothing" };
