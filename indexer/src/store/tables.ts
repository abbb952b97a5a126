import type { NodeLimits } from "@berth/protocol";
import { amount, document, flag, hex, json, orNull, type Row, table, text, whole } from "./table.ts";

// Tables that are a pure function of the events of the chain. Amounts are token units, times unix seconds.

/** JSON form of an order, or of a job, as `orderToJson` writes it. */
export type OrderJson = Record<string, string | number>;
export type LimitsJson = Omit<NodeLimits, "maxBond"> & { maxBond: string };

/** What the market says of itself. One row. */
export const markets = table("markets", ["market"], {
  market: hex,
  guardian: hex,
  /** Are new jobs stopped? */
  paused: flag,
});

export const identities = table("identities", ["identity"], {
  identity: hex,
  /** Null until changed: the identity owns itself. */
  owner: orNull(hex),
  /** The last owner other than zero, who keeps control of the money; null: the identity itself. */
  lastOwner: orNull(hex),
  deactivated: flag,
  /** Attribute `did/svc/BerthContent`: where this identity's content is served; null when none is set. */
  contentUrl: orNull(text),
  contentValidTo: amount,
});

export const nodes = table("nodes", ["operator", "index"], {
  operator: hex,
  index: whole,
  /** Null while not published, or revoked. */
  key: orNull(hex),
  wgKey: orNull(hex),
  /** The 56 bits after `fd` of the node's mesh addresses. */
  prefix: orNull(amount),
  validTo: whole,
  keyVersion: whole,
  wgEndpoint: text,
  contentUrl: text,
  profileCid: text,
  revoked: flag,
  epoch: whole,
  limits: orNull(json<LimitsJson>()),
  /** In use now, as `useOf` counts it. */
  active: whole,
  cpuMilli: whole,
  memoryMiB: whole,
  diskMiB: whole,
  gpus: whole,
  /** Of the last decline that was free; 0: none. */
  declinedAt: whole,
  /** Was it ever matched? */
  touched: flag,
});

/** Tokens, verifiers and arbiters that an operator's nodes may sign for. */
export const acceptances = table("acceptances", ["operator", "what"], { operator: hex, what: hex, accepted: flag });

export const stakes = table("stakes", ["operator", "token"], {
  operator: hex,
  token: hex,
  free: amount,
  locked: amount,
  /** On its way out, and when that is ready. */
  exiting: amount,
  exitReadyAt: whole,
});

/** What slashes left for an account, to be collected from the staking contract. */
export const owed = table("owed", ["account", "token"], { account: hex, token: hex, amount });

export const balances = table("balances", ["account", "token"], { account: hex, token: hex, amount });

export const jobStates = ["posted", "matched", "ended", "cancelled"] as const;

export const jobs = table("jobs", ["jobId"], {
  jobId: hex,
  state: text,
  /** Null unless it was posted: of a signed request only the job reaches the chain. */
  request: orNull(document<OrderJson>()),
  /** What of the request goes on to matter; null until it is matched. */
  job: orNull(document<OrderJson>()),
  requester: orNull(hex),
  payer: orNull(hex),
  token: orNull(hex),
  matcher: orNull(hex),
  spent: amount,
  /** Replicas that are neither settled nor refunded. */
  openReplicas: whole,
  postedAt: orNull(whole),
  matchedAt: orNull(whole),
  postedTx: orNull(hex),
  matchedTx: orNull(hex),
  cancelledTx: orNull(hex),
  /** Place of its first event: lists are in this order. */
  firstBlock: whole,
  firstLog: whole,
});

export const replicaStates = ["active", "submitted", "judging", "disputed", "settled", "refunded"] as const;
/** Why a replica was refunded, in the order of the contract's `RefundReason`. */
export const refundReasons = ["declined", "timed-out", "refused", "undecided", "left"] as const;

export const replicas = table("replicas", ["jobId", "replica"], {
  jobId: hex,
  replica: whole,
  operator: hex,
  index: whole,
  state: text,
  offerHash: hex,
  rateX18: amount,
  baseCharge: amount,
  /** Everything that was paid in for it, top-ups included. */
  deposit: amount,
  matchedAt: whole,
  /** Of the submission, the dispute, or a lease's last claim; 0 before the first. */
  lastAt: whole,
  submittedAt: orNull(whole),
  resultHash: orNull(hex),
  resultBytes: orNull(amount),
  /** What the node claimed. */
  claimed: orNull(amount),
  disputedAt: orNull(whole),
  /** What the arbiter awarded of it; null without a ruling. */
  award: orNull(amount),
  /** What the node was paid. */
  charge: amount,
  refund: amount,
  slashed: amount,
  /** One of `refundReasons`; null unless refunded. */
  reason: orNull(text),
  matchedTx: hex,
  submittedTx: orNull(hex),
  disputedTx: orNull(hex),
  endedTx: orNull(hex),
});

/** What the market remembers of a lease beyond its replica, from the first time there is something to remember. */
export const leases = table("leases", ["jobId", "replica"], {
  jobId: hex,
  replica: whole,
  /** Seconds that claims were paid for. */
  chargedSeconds: whole,
  /** Seconds that top-ups added. */
  addedSeconds: whole,
  /** 0 while nobody gave notice. */
  closingAt: whole,
  closingBy: orNull(hex),
});

/** Everything that a reorganisation rolls back. */
export const projections = {
  markets,
  identities,
  nodes,
  acceptances,
  stakes,
  owed,
  balances,
  jobs,
  replicas,
  leases,
};
export type ProjectionName = keyof typeof projections;

export type IdentityRow = Row<typeof identities>;
export type NodeRow = Row<typeof nodes>;
export type StakeRow = Row<typeof stakes>;
export type MarketRow = Row<typeof markets>;
export type JobRow = Row<typeof jobs>;
export type ReplicaRow = Row<typeof replicas>;
export type LeaseRow = Row<typeof leases>;
