import { type Address, depositUp, type Hex, type Request, ZERO_ADDRESS } from "@berth/protocol";
import type { BookNode, BookOffer, BookStake } from "../../book/book.ts";
import type { Hold } from "../../book/holds.ts";
import {
  createNames,
  type Left,
  leftOf,
  numberUp,
  pricesOf,
  type RequestRow,
  rowOfOffer,
  rowOfRequest,
} from "./rows.ts";
import type { Accounts, Found } from "./search.ts";
import { createTree, type Tree } from "./tree.ts";

/** What the chain says, as the index asks for it when it is told that something changed. */
export interface Facts {
  node(operator: Address, index: number): BookNode | undefined;
  stake(operator: Address, token: Address): BookStake;
  accepts(operator: Address): readonly Address[];
  deactivated(operator: Address): boolean;
}

/** An offer in the index. */
export interface Indexed {
  readonly offer: BookOffer;
  readonly seq: number;
}

/** A request in the index' numbers: good until an offer comes or goes. */
export interface Query {
  request: Request;
  row: RequestRow;
  terms: Terms | undefined;
}

export interface Wanted {
  /** Offers, of distinct operators. */
  count: number;
  /** Token units that one may cost at most. */
  budget: bigint;
  /** The last word on an offer that seems to fit: the index rounds in the offers' favour. */
  accepts?: (offer: BookOffer) => boolean;
}

/** Offers, found by what a request asks for and costs. What is taken of nodes and stakes counts until it is given back. */
export interface OfferIndex {
  put(offer: BookOffer): void;
  drop(offerHash: Hex): void;
  nodeChanged(operator: Address, index: number): void;
  stakeChanged(operator: Address, token: Address): void;
  operatorChanged(operator: Address): void;
  /** Offers of an operator. */
  offersOf(operator: Address): Iterable<BookOffer>;
  query(request: Request, now: number): Query;
  /** The cheapest, then earliest offers that may serve the query, best first; fewer when there are no more. */
  find(query: Query, wanted: Wanted): Indexed[];
  /** What one replica takes of the node and the stake behind an offer; `sign` -1 gives it back. */
  occupy(indexed: Indexed, request: Request, sign: 1 | -1): void;
  take(hold: Hold, sign: 1 | -1): void;
  readonly looks: number;
  /** Sets of terms, trees, accounts, stakes and names that are kept: nothing where there is no offer. */
  readonly kept: number;
}

interface Entry extends Indexed {
  tree: Tree<Entry>;
  id: number;
  node: NodeEntry;
  stake: StakeEntry;
  account: Account;
}

interface NodeEntry {
  operator: Address;
  index: number;
  held: Left & { active: number };
  entries: Entry[];
  facts: BookNode | undefined;
}

interface StakeEntry {
  operator: Address;
  token: Address;
  free: bigint;
  /** Bonds of what is taken. */
  held: bigint;
  /** The operator under each set of terms in this token. */
  accounts: Account[];
}

interface Account {
  id: number;
  terms: Terms;
  /** What rows say of the stake: never less than what is free, and seldom changed. */
  shown: number;
  entries: Set<Entry>;
}

/** What all offers of a set of market terms have in common, and those open to all and to one requester each. */
export interface Terms {
  key: string;
  token: Address;
  verifier: Address;
  arbiter: Address;
  trees: Map<Address, Tree<Entry>>;
  accounts: Map<Address, Account>;
}

interface Operator {
  nodes: Map<number, NodeEntry>;
  stakes: Map<Address, StakeEntry>;
}

export function createOfferIndex(facts: Facts, termsKey: (order: Request | BookOffer["offer"]) => string): OfferIndex {
  const entries = new Map<Hex, Entry>();
  const operators = new Map<Address, Operator>();
  const allTerms = new Map<string, Terms>();
  const names = { regions: createNames(), gpuModels: createNames(), prices: createNames() };
  const accounts: Accounts = { free: new Float64Array(64), staked: new Float64Array(64) };
  let accountCount = 0;
  const freeAccounts: number[] = [];
  /** Of trees that are gone. */
  let pastLooks = 0;

  function operatorOf(operator: Address): Operator {
    const known = operators.get(operator);
    if (known !== undefined) return known;
    const added: Operator = { nodes: new Map(), stakes: new Map() };
    operators.set(operator, added);
    return added;
  }

  function nodeOf(operator: Address, index: number): NodeEntry {
    const { nodes } = operatorOf(operator);
    const known = nodes.get(index);
    if (known !== undefined) return known;
    const held = { active: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 };
    const added = { operator, index, held, entries: [], facts: facts.node(operator, index) };
    nodes.set(index, added);
    return added;
  }

  function stakeOf(operator: Address, token: Address): StakeEntry {
    const { stakes } = operatorOf(operator);
    const known = stakes.get(token);
    if (known !== undefined) return known;
    const added = { operator, token, free: facts.stake(operator, token).free, held: 0n, accounts: [] };
    stakes.set(token, added);
    return added;
  }

  function termsOf(offer: BookOffer["offer"]): Terms {
    const key = termsKey(offer);
    const known = allTerms.get(key);
    if (known !== undefined) return known;
    const { token, verifier, arbiter } = offer;
    const added: Terms = { key, token, verifier, arbiter, trees: new Map(), accounts: new Map() };
    allTerms.set(key, added);
    return added;
  }

  function accountOf(terms: Terms, stake: StakeEntry): Account {
    const known = terms.accounts.get(stake.operator);
    if (known !== undefined) return known;
    const added: Account = { id: freeAccounts.pop() ?? accountCount++, terms, shown: -1, entries: new Set() };
    if (added.id >= accounts.free.length) {
      accounts.free = doubled(accounts.free);
      accounts.staked = doubled(accounts.staked);
    }
    terms.accounts.set(stake.operator, added);
    stake.accounts.push(added);
    weigh(stake);
    return added;
  }

  /** Notes anew what stands behind each of the stake's accounts. */
  function weigh(stake: StakeEntry): void {
    const { free, locked } = facts.stake(stake.operator, stake.token);
    stake.free = free;
    const gone = facts.deactivated(stake.operator);
    const accepts = facts.accepts(stake.operator);
    for (const account of stake.accounts) {
      const { id, terms } = account;
      const accepted =
        accepts.includes(terms.token) &&
        [terms.verifier, terms.arbiter].every((one) => one === ZERO_ADDRESS || accepts.includes(one));
      accounts.free[id] = gone || !accepted ? -1 : Math.max(-0.5, numberUp(free - stake.held));
      accounts.staked[id] = numberUp(free + locked);
      show(account);
    }
  }

  /** What a whole operator's rows say of its stake is roughly right, so that not every bond changes all of them. */
  function show(account: Account): void {
    const free = accounts.free[account.id] as number;
    if (free <= account.shown && free * 8 >= account.shown) return;
    const shown = free <= 0 ? free : free * 2;
    if (shown === account.shown) return;
    account.shown = shown;
    for (const { tree, id } of account.entries) tree.setStake(id, shown);
  }

  function holdBond(stake: StakeEntry, bond: bigint): void {
    stake.held += bond;
    const left = Math.max(-0.5, numberUp(stake.free - stake.held));
    for (const account of stake.accounts) {
      if (accounts.free[account.id] === -1) continue;
      accounts.free[account.id] = left;
      show(account);
    }
  }

  function holdNode(node: NodeEntry, resources: Left, sign: 1 | -1): void {
    const { held } = node;
    held.active += sign;
    held.cpuMilli += sign * resources.cpuMilli;
    held.memoryMiB += sign * resources.memoryMiB;
    held.diskMiB += sign * resources.diskMiB;
    held.gpus += sign * resources.gpus;
    for (const { offer, tree, id } of node.entries) {
      tree.setLeft(id, leftOf(offer.offer, offer.signer, node.facts, held));
    }
  }

  function insert(offer: BookOffer, node: NodeEntry): void {
    const stake = stakeOf(node.operator, offer.offer.token);
    const terms = termsOf(offer.offer);
    const tree = terms.trees.get(offer.offer.requester) ?? createTree<Entry>();
    terms.trees.set(offer.offer.requester, tree);
    const account = accountOf(terms, stake);
    const entry: Entry = { offer, seq: offer.seq, tree, id: -1, node, stake, account };
    const left = leftOf(offer.offer, offer.signer, node.facts, node.held);
    const row = rowOfOffer(offer.offer, left, node.facts, account.shown, names);
    entry.id = tree.put(entry, row, account.id);
    account.entries.add(entry);
    node.entries.push(entry);
    entries.set(offer.offerHash, entry);
  }

  function drop(offerHash: Hex): void {
    const entry = entries.get(offerHash);
    if (entry === undefined) return;
    entries.delete(offerHash);
    entry.tree.drop(entry.id);
    entry.account.entries.delete(entry);
    entry.node.entries.splice(entry.node.entries.indexOf(entry), 1);
    const { region, gpuModel } = entry.offer.offer;
    names.regions.drop(region);
    names.gpuModels.drop(gpuModel);
    names.prices.drop(pricesOf(entry.offer.offer));
    forget(entry);
  }

  /** Lets go of what no offer needs any more: a signer can make up terms, requesters and tokens without end. */
  function forget({ tree, account, stake, offer }: Entry): void {
    const { terms } = account;
    if (tree.size === 0 && terms.trees.delete(offer.offer.requester)) pastLooks += tree.looks;
    if (account.entries.size > 0) return;
    terms.accounts.delete(stake.operator);
    if (terms.accounts.size === 0) allTerms.delete(terms.key);
    stake.accounts.splice(stake.accounts.indexOf(account), 1);
    freeAccounts.push(account.id);
    if (stake.accounts.length === 0 && stake.held === 0n) operators.get(stake.operator)?.stakes.delete(stake.token);
  }

  return {
    put(offer) {
      drop(offer.offerHash);
      insert(offer, nodeOf(offer.offer.operator, offer.offer.index));
    },
    drop,
    nodeChanged(operator, index) {
      const node = operators.get(operator)?.nodes.get(index);
      if (node === undefined) return;
      const before = node.facts;
      node.facts = facts.node(operator, index);
      if (before !== undefined && node.facts !== undefined && isSameBut(before, node.facts)) {
        for (const { offer, tree, id } of node.entries) {
          tree.setLeft(id, leftOf(offer.offer, offer.signer, node.facts, node.held));
        }
        return;
      }
      for (const { offer } of [...node.entries]) {
        drop(offer.offerHash);
        insert(offer, node);
      }
    },
    stakeChanged(operator, token) {
      const stake = operators.get(operator)?.stakes.get(token);
      if (stake !== undefined) weigh(stake);
    },
    operatorChanged(operator) {
      for (const stake of operators.get(operator)?.stakes.values() ?? []) weigh(stake);
    },
    *offersOf(operator) {
      for (const { entries: offers } of operators.get(operator)?.nodes.values() ?? []) {
        for (const { offer } of offers) yield offer;
      }
    },
    query: (request, now) => ({
      request,
      row: rowOfRequest(request, now, names),
      terms: allTerms.get(termsKey(request)),
    }),
    find({ request, row, terms }, { count, budget, accepts }) {
      const best: Found<Entry>[] = [];
      if (terms === undefined || count === 0) return best.map(itemOf);
      const search = {
        request: row,
        count,
        budget: numberUp(budget),
        isBefore: (a: Entry, b: Entry) => isBefore(request, a, b),
        accepts: accepts === undefined ? undefined : ({ offer }: Entry) => accepts(offer),
        best,
      };
      terms.trees.get(ZERO_ADDRESS)?.search(search, accounts);
      if (request.requester !== ZERO_ADDRESS) terms.trees.get(request.requester)?.search(search, accounts);
      return best.map(itemOf);
    },
    occupy(indexed, request, sign) {
      const { node, stake } = indexed as Entry;
      holdNode(node, request, sign);
      if (request.bond > 0n) holdBond(stake, sign === 1 ? request.bond : -request.bond);
    },
    take({ nodes, resources, token, bond }, sign) {
      for (const { operator, index } of nodes) {
        holdNode(nodeOf(operator, index), resources, sign);
        holdBond(stakeOf(operator, token), sign === 1 ? bond : -bond);
      }
    },
    get kept() {
      let sum = allTerms.size + names.regions.size + names.gpuModels.size + names.prices.size;
      for (const { trees, accounts: all } of allTerms.values()) sum += trees.size + all.size;
      for (const { stakes } of operators.values()) sum += stakes.size;
      return sum;
    },
    get looks() {
      let sum = pastLooks;
      for (const { trees } of allTerms.values()) for (const tree of trees.values()) sum += tree.looks;
      return sum;
    },
  };
}

function itemOf({ item }: Found<Entry>): Indexed {
  return item;
}

/** Is the node as it was, but for what of it is in use? */
function isSameBut(a: BookNode, b: BookNode): boolean {
  return a.validTo === b.validTo && a.limits?.maxBond === b.limits?.maxBond;
}

/** Price, then time, then hash. */
function isBefore(request: Request, { offer: a }: Entry, { offer: b }: Entry): boolean {
  const [one, other] = [depositUp(request, a.offer), depositUp(request, b.offer)];
  if (one !== other) return one < other;
  if (a.seq !== b.seq) return a.seq < b.seq;
  return a.offerHash < b.offerHash;
}

function doubled(array: Float64Array): Float64Array {
  const larger = new Float64Array(array.length * 2);
  larger.set(array);
  return larger;
}
