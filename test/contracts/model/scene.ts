import type { Address, Claim, Hex, MarketDomain, NodeLimits, Offer, Request, Terms } from "@berth/protocol";
import type { Storage } from "./storage.ts";

/** What never changes during a trace. */
export interface Facts {
  domain: MarketDomain;
  market: Address;
  staking: Address;
  token: Address;
  sink: Address;
  guardian: Address;
  judge: Address;
  arbiter: Address;
  /** The nodes, one for each operator, and until when their keys count. */
  nodes: Readonly<Record<string, { key: Address; validTo: number }>>;
  /** The only operators that a request with a list allows, and their proofs. */
  list: { root: Hex; proofs: Readonly<Record<string, Hex[]>> };
}

/** What the verifier has been told to answer. */
export type Answer = "pending" | "stands" | "fails" | "void" | "reverts" | "burns" | "nonsense";

/** One call on one block: who calls, when, and what there is before it. */
export interface Scene {
  facts: Facts;
  now: number;
  by: Address;
  answer: Answer;
  storage: Storage;
}

export interface Match {
  request: Request;
  requesterSigned: boolean;
  payerSigned: boolean;
  offers: Offer[];
  /** Did the right key sign each offer? */
  offersSigned: boolean;
}
export interface Settlement {
  terms: Terms;
  claim: Claim;
}

/** The arguments of every call that changes something, by its name. */
export interface Calls {
  deposit: { account: Address; amount: bigint };
  withdraw: { account: Address; amount: bigint; to: Address };
  stake: { operator: Address; amount: bigint };
  requestExit: { operator: Address; amount: bigint };
  cancelExit: { operator: Address };
  exit: { operator: Address; to: Address };
  collect: { account: Address; to: Address };
  post: { request: Request; requesterSigned: boolean; payerSigned: boolean };
  cancel: { request: Request };
  matchJob: Match;
  accept: { request: Request; offer: Offer };
  decline: { terms: Terms; sibling: number };
  submit: Settlement;
  approve: Settlement;
  dispute: Settlement;
  rule: Settlement & { award: bigint };
  finalize: Settlement;
  claim: { terms: Terms };
  topUp: { terms: Terms; addedSeconds: number };
  close: { terms: Terms };
  matchMany: { items: Match[] };
  finalizeMany: { items: Settlement[] };
  bumpEpoch: { operator: Address };
  setNodeLimits: { operator: Address; limits: NodeLimits };
  setAccepted: { operator: Address; what: Address[]; accepted: boolean };
  setPaused: { paused: boolean };
}
export type CallName = keyof Calls;
export type Call = { [Name in CallName]: { name: Name; args: Calls[Name] } }[CallName];

/** What the manual says of one call. */
export interface Rule<Args> {
  /** The names of all errors that apply; none: the call succeeds. Which of several the chain names is its own affair. */
  refusals(scene: Scene, args: Args): string[];
  /** What is stored after it, where nothing refuses it. */
  outcome(scene: Scene, args: Args): Storage;
}

/** The names of the conditions that are true. */
export function those(conditions: Readonly<Record<string, boolean>>): string[] {
  return Object.keys(conditions).filter((name) => conditions[name]);
}
