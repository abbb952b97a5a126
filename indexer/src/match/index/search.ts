import { leastCost } from "./boxes.ts";
import {
  ACCOUNT,
  type Boxes,
  COUNT,
  LEAF,
  LEFT,
  LINKS,
  MIXED,
  MODEL,
  NONE,
  NUMBERS,
  PRICE,
  REGION,
  RIGHT,
  SEQ,
  SETS,
  type Timber,
  TRAITS_HIGH,
  TRAITS_LOW,
  type TreeItem,
  WORDS,
} from "./layout.ts";
import { ANY, FREE, type RequestRow, ROW } from "./rows.ts";

/** More than what sums of products of doubles are wrong by. */
const ERROR = 1e-12;

/** The way of a search, of one at a time in all trees: as deep as a tree can be. */
const stack = new Int32Array(4096);
const costs = new Float64Array(4096);

/** An offer that was found, with what it costs: less than `cost`, rounded up to whole units, is never true. */
export interface Found<T> {
  item: T;
  account: number;
  cost: number;
  seq: number;
  /** The number of its prices: those of the same number cost the same for every request. */
  price: number;
}

/** The best so far of a search, which may go on in another tree. */
export interface Search<T> {
  request: RequestRow;
  /** Of distinct accounts, so many. */
  count: number;
  /** No offer that costs more is of use. */
  budget: number;
  /** Is it a better one? Asked only where costs are too near to each other to tell. */
  isBefore: (a: T, b: T) => boolean;
  /** The last word on an offer; each is asked about once at most. */
  accepts: ((item: T) => boolean) | undefined;
  best: Found<T>[];
}

/** By account: what a new bond can be backed by, and all stake; below zero for who may not be matched. */
export interface Accounts {
  free: Float64Array;
  staked: Float64Array;
}

/**
 * Looks for better offers than those that `of` has. `open` splits a node that is not split yet and has too many for a leaf.
 * Returns what an offer might cost and still be among the best, and how many boxes and offers were looked at.
 */
export function searchTree<T extends TreeItem>(
  timber: Timber<T>,
  open: (node: number) => void,
  of: Search<T>,
  accounts: Accounts,
): { limit: number; looks: number } {
  const { request } = of;
  const { boxes, root } = timber;
  let limit = limitOf(of);
  if (request.region < ANY || request.gpuModel < ANY) return { limit, looks: 0 };
  let looks = 1;
  let top = push(0, root, leastCost(boxes, root, request, limit));
  while (top > 0) {
    top -= 1;
    const node = stack[top] as number;
    if ((costs[top] as number) > limit || isLate(boxes, of, node)) continue;
    const at = node * LINKS;
    if (timber.links[at + LEFT] === NONE) {
      const count = timber.links[at + COUNT] as number;
      if (count <= LEAF) {
        looks += count;
        limit = scan(timber, of, node, limit, accounts);
        continue;
      }
      open(node);
    }
    const left = timber.links[at + LEFT] as number;
    const right = timber.links[at + RIGHT] as number;
    looks += 2;
    const leftCost = leastCost(boxes, left, request, limit);
    const rightCost = leastCost(boxes, right, request, limit);
    const leftFirst = leftCost === rightCost ? isEarlier(boxes, left, right) : leftCost < rightCost;
    if (leftFirst) top = push(push(top, right, rightCost), left, leftCost);
    else top = push(push(top, left, leftCost), right, rightCost);
  }
  return { limit, looks };
}

/** Puts a node on the way, if it may have an offer; returns how long the way is then. */
function push(top: number, node: number, cost: number): number {
  if (cost < 0) return top;
  stack[top] = node;
  costs[top] = cost;
  return top + 1;
}

function isEarlier({ bounds }: Boxes, left: number, right: number): boolean {
  return (bounds[left * NUMBERS + SEQ] as number) < (bounds[right * NUMBERS + SEQ] as number);
}

/** Looks at each offer of a leaf; returns the limit after that. */
function scan<T extends TreeItem>(
  timber: Timber<T>,
  of: Search<T>,
  leaf: number,
  before: number,
  accounts: Accounts,
): number {
  const { numbers: need, traitsLow, traitsHigh, region, gpuModel, bond, minStake } = of.request;
  const { numbers, words } = timber.columns;
  const { places } = timber;
  const held = timber.links[leaf * LINKS + COUNT] as number;
  let limit = before;
  next: for (let i = 0; i < held; i++) {
    const id = places[leaf * LEAF + i] as number;
    const at = id * NUMBERS;
    if ((need[FREE] as number) > (numbers[at + FREE] as number)) continue;
    if ((need[FREE + 1] as number) > (numbers[at + FREE + 1] as number)) continue;
    const cost =
      (numbers[at] as number) +
      (need[1] as number) * (numbers[at + 1] as number) +
      (need[2] as number) * (numbers[at + 2] as number) +
      (need[3] as number) * (numbers[at + 3] as number) +
      (need[4] as number) * (numbers[at + 4] as number);
    if (!(cost <= limit)) continue;
    const word = id * WORDS;
    if ((traitsLow & ~(words[word + TRAITS_LOW] as number)) !== 0) continue;
    if ((traitsHigh & ~(words[word + TRAITS_HIGH] as number)) !== 0) continue;
    if (region !== ANY && words[word + REGION] !== region) continue;
    if (gpuModel !== ANY && words[word + MODEL] !== gpuModel) continue;
    for (let c = FREE + 2; c < ROW; c++) if ((need[c] as number) > (numbers[at + c] as number)) continue next;
    const account = words[word + ACCOUNT] as number;
    if ((accounts.free[account] as number) < bond || (accounts.staked[account] as number) < minStake) continue;
    const item = timber.items[id] as T;
    const found = { item, account, cost, seq: item.seq, price: words[word + PRICE] as number };
    if (keep(of, found)) limit = limitOf(of);
  }
  return limit;
}

/** Does everything in `node` cost what the last of a full choice costs, and did it come later? */
function isLate<T>({ bounds, sets }: Boxes, { best, count }: Search<T>, node: number): boolean {
  const last = best[count - 1];
  if (last === undefined || !((bounds[node * NUMBERS + SEQ] as number) > last.seq)) return false;
  const price = sets[node * SETS + PRICE] as number;
  return price !== MIXED && price === last.price;
}

/** Puts `found` among the best where it belongs; false when it does not. */
function keep<T>(of: Search<T>, found: Found<T>): boolean {
  const { best, count, accepts } = of;
  const same = best.findIndex(({ account }) => account === found.account);
  if (same !== -1 && !isBefore(of, found, best[same] as Found<T>)) return false;
  if (same === -1 && best.length === count && !isBefore(of, found, best[count - 1] as Found<T>)) return false;
  if (accepts !== undefined && !accepts(found.item)) return false;
  if (same !== -1) best.splice(same, 1);
  let at = best.length;
  while (at > 0 && isBefore(of, found, best[at - 1] as Found<T>)) at -= 1;
  best.splice(at, 0, found);
  if (best.length > count) best.pop();
  return true;
}

function isBefore<T>({ isBefore: exactly }: Search<T>, a: Found<T>, b: Found<T>): boolean {
  const margin = 1 + ERROR * (a.cost + b.cost);
  if (a.cost < b.cost - margin) return true;
  if (a.cost > b.cost + margin) return false;
  if (a.price === b.price && a.seq !== b.seq) return a.seq < b.seq;
  return exactly(a.item, b.item);
}

/** What an offer may cost by the sum of doubles and still be among the best. */
function limitOf<T>({ best, count, budget }: Search<T>): number {
  const last = best[count - 1];
  const most = budget + ERROR * Math.abs(budget);
  return last === undefined ? most : Math.min(most, last.cost + 1 + 2 * ERROR * last.cost);
}
