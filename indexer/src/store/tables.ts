import type { NodeLimits } from "@berth/protocol";
import { amount, flag, hex, json, orNull, type Row, table, text, whole } from "./table.ts";

/** JSON form of an order, as `orderToJson` writes it. */
export type OrderJson = Record<string, string | number>;
export type LimitsJson = Omit<NodeLimits, "maxBond"> & { maxBond: string };

/** Tables that are a pure function of the events of the chain. Amounts are token units, times unix seconds. */
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
  revoked: flag,
  epoch: whole,
  limitsHash: orNull(hex),
  limits: orNull(json<LimitsJson>()),
  /** In use now, as `useOf` counts it. */
  active: whole,
  cpuMilli: whole,
  memoryMiB: whole,
  diskMiB: whole,
  gpus: whole,
});

export const stakes = table("stakes", ["operator", "token"], {
  operator: hex,
  token: hex,
  free: amount,
  locked: amount,
  /** On its way out, and when that is ready. */
  exiting: amount,
  exitReadyAt: whole,
});

export const balances = table("balances", ["account", "token"], { account: hex, token: hex, amount });

export const jobStates = ["posted", "matched", "ended", "cancelled"] as const;

export const jobs = table("jobs", ["jobId"], {
  jobId: hex,
  state: text,
  /** Null for a signed request that was cancelled before anyone posted it: its terms never reached the chain. */
  request: orNull(json<OrderJson>()),
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

export const replicaStates = ["active", "submitted", "settled", "refunded"] as const;

export const replicas = table("replicas", ["jobId", "replica"], {
  jobId: hex,
  replica: whole,
  operator: hex,
  index: whole,
  state: text,
  offerHash: hex,
  offer: json<OrderJson>(),
  deposit: amount,
  matchedAt: whole,
  submittedAt: whole,
  resultHash: orNull(hex),
  resultBytes: orNull(amount),
  /** What the node claimed. */
  claimed: orNull(amount),
  /** What it was paid. */
  charge: amount,
  refund: amount,
  slashed: amount,
  compensation: amount,
  /** `declined` or `timed-out`; null unless refunded. */
  reason: orNull(text),
  matchedTx: hex,
  submittedTx: orNull(hex),
  endedTx: orNull(hex),
});

/** Everything that a reorganisation rolls back. */
export const projections = { identities, nodes, stakes, balances, jobs, replicas };
export type ProjectionName = keyof typeof projections;

export type IdentityRow = Row<typeof identities>;
export type NodeRow = Row<typeof nodes>;
export type StakeRow = Row<typeof stakes>;
export type JobRow = Row<typeof jobs>;
export type ReplicaRow = Row<typeof replicas>;
