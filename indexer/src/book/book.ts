import type { Address, Hex, JobId, NodeLimits, NodeUse, Offer, Request } from "@berth/protocol";
import { createOfferIndex, type OfferIndex } from "../match/index/offer-index.ts";

/** An offer whose signature was checked when it came in. */
export interface BookOffer {
  offerHash: Hex;
  offer: Offer;
  signature: Hex;
  /** The account that signed it; it counts while this is the node's key. */
  signer: Address;
  /** Place in the order of arrival. */
  seq: number;
}

/** What the chain says of a node. */
export interface BookNode {
  operator: Address;
  index: number;
  key: Address | null;
  /** unix seconds */
  validTo: number;
  /** Null until the operator sets them. */
  limits: NodeLimits | null;
  use: NodeUse;
}

/** A request that waits for its match. */
export interface OpenRequest {
  jobId: JobId;
  request: Request;
  signature: Hex;
  payerSignature: Hex;
  /** On chain already, with its price reserved? */
  posted: boolean;
  /** unix milliseconds; for a posted request nobody handed in, the time of its block */
  receivedAtMs: number;
  /** The only operators that it allows; null where it names no list, or nobody handed that in. */
  operators: readonly Address[] | null;
}

/** An operator's stake in one token, in token units. */
export interface BookStake {
  /** What can back a new bond. */
  free: bigint;
  /** What backs open replicas. */
  locked: bigint;
}

/** The book as the engine reads it. Its content decides every answer; the order in which it was filled does not. */
export interface BookView {
  offers(): Iterable<BookOffer>;
  /** The offers again, found by what a request asks for. */
  readonly index: Pick<OfferIndex, "query" | "find" | "take" | "offersOf" | "kept">;
  node(operator: Address, index: number): BookNode | undefined;
  deactivated(identity: Address): boolean;
  /** Who signs for an identity: its owner, its last one when it was deactivated, itself when that never changed. */
  controller(identity: Address): Address;
  stake(operator: Address, token: Address): BookStake;
  /** Tokens, verifiers and arbiters that the operator lets its nodes sign for. */
  accepts(operator: Address): readonly Address[];
  balance(account: Address, token: Address): bigint;
  /** Does the market take no new jobs at the moment? */
  readonly paused: boolean;
}

export interface Book extends BookView {
  putOffer(offer: BookOffer): void;
  dropOffer(offerHash: Hex): void;
  has(offerHash: Hex): boolean;
  putNode(node: BookNode): void;
  dropNode(operator: Address, index: number): void;
  setDeactivated(identity: Address, deactivated: boolean): void;
  /** Null: the identity itself. */
  setController(identity: Address, controller: Address | null): void;
  setStake(operator: Address, token: Address, stake: BookStake): void;
  setAccepted(operator: Address, what: Address, accepted: boolean): void;
  setBalance(account: Address, token: Address, amount: bigint): void;
  setPaused(paused: boolean): void;
  /** Drops offers that nobody can match any more. */
  dropExpired(now: number): void;
  readonly size: number;
  /** Grows with every change, other than of balances, after which a request may find what it did not find before. */
  readonly version: number;
}

const NO_STAKE: BookStake = { free: 0n, locked: 0n };

export function createBook(): Book {
  const offers = new Map<Hex, BookOffer>();
  const nodes = new Map<string, BookNode>();
  const gone = new Set<Address>();
  const controllers = new Map<Address, Address>();
  const stakes = new Map<string, BookStake>();
  const accepted = new Map<Address, Address[]>();
  const balances = new Map<string, bigint>();
  let paused = false;
  let version = 0;
  const facts = {
    node: (operator: Address, index: number) => nodes.get(nodeId(operator, index)),
    deactivated: (identity: Address) => gone.has(identity),
    stake: (operator: Address, token: Address) => stakes.get(accountId(operator, token)) ?? NO_STAKE,
    accepts: (operator: Address) => accepted.get(operator) ?? [],
  };
  const index = createOfferIndex(facts, termsKey);

  function dropOffer(offerHash: Hex): void {
    if (offers.delete(offerHash)) index.drop(offerHash);
  }

  return {
    ...facts,
    index,
    offers: () => offers.values(),
    controller: (identity) => controllers.get(identity) ?? identity,
    balance: (account, token) => balances.get(accountId(account, token)) ?? 0n,
    putOffer(offer) {
      dropOffer(offer.offerHash);
      offers.set(offer.offerHash, offer);
      index.put(offer);
      version += 1;
    },
    dropOffer,
    has: (offerHash) => offers.has(offerHash),
    putNode(node) {
      nodes.set(nodeId(node.operator, node.index), node);
      index.nodeChanged(node.operator, node.index);
      version += 1;
    },
    dropNode(operator, number) {
      nodes.delete(nodeId(operator, number));
      index.nodeChanged(operator, number);
    },
    setDeactivated(identity, deactivated) {
      if (deactivated === gone.has(identity)) return;
      if (deactivated) gone.add(identity);
      else gone.delete(identity);
      index.operatorChanged(identity);
      version += 1;
    },
    setController(identity, controller) {
      if (controller === null) controllers.delete(identity);
      else controllers.set(identity, controller);
    },
    setStake(operator, token, stake) {
      if (stake.free === 0n && stake.locked === 0n) stakes.delete(accountId(operator, token));
      else stakes.set(accountId(operator, token), stake);
      index.stakeChanged(operator, token);
      version += 1;
    },
    setAccepted(operator, what, isAccepted) {
      const others = (accepted.get(operator) ?? []).filter((other) => other !== what);
      if (isAccepted) others.push(what);
      if (others.length === 0) accepted.delete(operator);
      else accepted.set(operator, others);
      index.operatorChanged(operator);
      version += 1;
    },
    setBalance(account, token, amount) {
      if (amount === 0n) balances.delete(accountId(account, token));
      else balances.set(accountId(account, token), amount);
    },
    setPaused(isPaused) {
      if (isPaused === paused) return;
      paused = isPaused;
      version += 1;
    },
    dropExpired(now) {
      for (const { offer, offerHash } of offers.values()) if (offer.expiresAt < now) dropOffer(offerHash);
    },
    get size() {
      return offers.size;
    },
    get paused() {
      return paused;
    },
    get version() {
      return version;
    },
  };
}

export function nodeId(operator: Address, index: number): string {
  return `${operator}|${index}`;
}

export function accountId(account: Address, token: Address): string {
  return `${account}|${token}`;
}

/** The members that a request and an offer must have in common. */
export function termsKey(order: Request | Offer): string {
  const { token, verifier, verifierData, arbiter, arbiterData, arbiterFee } = order;
  return [token, verifier, verifierData, arbiter, arbiterData, arbiterFee].join("|");
}
