import { ANY, FREE, FREES, type Left, type OfferRow, PRICES, type RequestRow, ROW, STAKE } from "./rows.ts";

/** Offers in a leaf. */
const LEAF = 8;
const SEQ = ROW;
/** Columns of numbers: the row and the place in the order of arrival. */
const NUMBERS = ROW + 1;
/** Columns of whole numbers. */
const [TRAITS_LOW, TRAITS_HIGH, REGION, MODEL, ACCOUNT, ID] = [0, 1, 2, 3, 4, 5];
const WORDS = 6;
/** Of an inner node and a leaf alike: sets of regions and models as bits, links, and how many offers are below. */
const [LEFT, RIGHT, PARENT, COUNT, BLOCK] = [4, 5, 6, 7, 8];
const LINKS = 9;
const NONE = -1;
/** What can be split by: the numbers, then traits (`NUMBERS`), region, model. */
const SPLIT_REGION = NUMBERS + 1;
const SPLIT_MODEL = NUMBERS + 2;
/** A side of a split may have this part of it before the part of the tree is built again. */
const MAX_SIDE = 0.75;
/** More than what sums of products of doubles are wrong by. */
const ERROR = 1e-12;

/** The way of a search, of one at a time in all trees: as deep as a tree can be. */
const stack = new Int32Array(4096);
const costs = new Float64Array(4096);

/** What the tree must know of what it holds. */
export interface TreeItem {
  seq: number;
}

/** An offer that was found, with what it costs: less than `cost`, rounded up to whole units, is never true. */
export interface Found<T> {
  item: T;
  account: number;
  cost: number;
  seq: number;
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
 * Offers under a binary tree of boxes: the least price and arrival, the most of every capacity, and the traits, regions
 * and models of all below. A search leaves out boxes in which nothing can fit or be better, so it finds what a look at
 * every offer finds.
 */
export interface Tree<T extends TreeItem> {
  readonly size: number;
  /** The number by which the tree knows it from now on. */
  put(item: T, row: OfferRow, account: number): number;
  drop(id: number): void;
  setLeft(id: number, left: Left): void;
  setStake(id: number, stake: number): void;
  search(search: Search<T>, accounts: Accounts): void;
  /** Boxes and offers looked at since the start. */
  readonly looks: number;
}

export function createTree<T extends TreeItem>(samePrice: (a: T, b: T) => boolean): Tree<T> {
  // leaves: `LEAF` places, each column on its own
  let numbers = new Float64Array(LEAF * NUMBERS * 16);
  let words = new Int32Array(LEAF * WORDS * 16);
  let blocks = 0;
  const freeBlocks: number[] = [];
  // nodes
  let bounds = new Float64Array(NUMBERS * 32);
  let links = new Int32Array(LINKS * 32);
  let splitBy = new Int8Array(32);
  let splitAt = new Float64Array(32);
  /** One of the offers of a node, when all have the same prices. */
  const uniform: (T | undefined)[] = [];
  let nodes = 0;
  const freeNodes: number[] = [];
  // items
  const items: (T | undefined)[] = [];
  const freeIds: number[] = [];
  let nodeOf = new Int32Array(64);
  let placeOf = new Int8Array(64);
  const root = newNode(NONE, newBlock());
  let size = 0;
  let looks = 0;

  function newBlock(): number {
    const block = freeBlocks.pop() ?? blocks++;
    if ((block + 1) * LEAF * NUMBERS > numbers.length) {
      numbers = grown(numbers, Float64Array);
      words = grown(words, Int32Array);
    }
    return block;
  }

  function newNode(parent: number, block: number): number {
    const node = freeNodes.pop() ?? nodes++;
    if ((node + 1) * NUMBERS > bounds.length) {
      bounds = grown(bounds, Float64Array);
      links = grown(links, Int32Array);
      splitBy = grown(splitBy, Int8Array);
      splitAt = grown(splitAt, Float64Array);
    }
    const at = node * LINKS;
    links.fill(0, at, at + LINKS);
    links[at + LEFT] = NONE;
    links[at + RIGHT] = NONE;
    links[at + PARENT] = parent;
    links[at + BLOCK] = block;
    clear(node);
    return node;
  }

  function clear(node: number): void {
    const from = node * NUMBERS;
    bounds.fill(Number.POSITIVE_INFINITY, from, from + NUMBERS);
    bounds.fill(Number.NEGATIVE_INFINITY, from + PRICES, from + ROW);
    links.fill(0, node * LINKS, node * LINKS + 4);
    uniform[node] = undefined;
  }

  const link = (node: number, which: number) => links[node * LINKS + which] as number;
  const place = (block: number, column: number, i: number) => (block * NUMBERS + column) * LEAF + i;
  const wordPlace = (block: number, column: number, i: number) => (block * WORDS + column) * LEAF + i;

  /** Widens the box of `node` by the offer at a place of `block`. */
  function widen(node: number, block: number, i: number): void {
    const to = node * NUMBERS;
    for (let column = 0; column < NUMBERS; column++) {
      const value = numbers[place(block, column, i)] as number;
      const bound = bounds[to + column] as number;
      if (column < PRICES || column === SEQ ? value < bound : value > bound) bounds[to + column] = value;
    }
    const at = node * LINKS;
    links[at + TRAITS_LOW] = link(node, TRAITS_LOW) | (words[wordPlace(block, TRAITS_LOW, i)] as number);
    links[at + TRAITS_HIGH] = link(node, TRAITS_HIGH) | (words[wordPlace(block, TRAITS_HIGH, i)] as number);
    links[at + REGION] = link(node, REGION) | (1 << (words[wordPlace(block, REGION, i)] as number));
    links[at + MODEL] = link(node, MODEL) | (1 << (words[wordPlace(block, MODEL, i)] as number));
  }

  function alike(a: T | undefined, b: T | undefined): T | undefined {
    return a !== undefined && b !== undefined && (a === b || samePrice(a, b)) ? a : undefined;
  }

  /** Draws the box of a leaf again. */
  function drawLeaf(node: number): void {
    clear(node);
    const [block, count] = [link(node, BLOCK), link(node, COUNT)];
    for (let i = 0; i < count; i++) {
      widen(node, block, i);
      const item = items[words[wordPlace(block, ID, i)] as number];
      uniform[node] = i === 0 ? item : alike(uniform[node], item);
    }
  }

  /** Draws the box of an inner node again; false when it stays as it was. */
  function drawInner(node: number): boolean {
    const [left, right] = [link(node, LEFT), link(node, RIGHT)];
    let changed = false;
    for (let column = 0; column < NUMBERS; column++) {
      const [a, b] = [bounds[left * NUMBERS + column] as number, bounds[right * NUMBERS + column] as number];
      const bound = (column < PRICES || column === SEQ) === a < b ? a : b;
      if (bounds[node * NUMBERS + column] === bound) continue;
      bounds[node * NUMBERS + column] = bound;
      changed = true;
    }
    for (let which = 0; which < 4; which++) {
      const both = link(left, which) | link(right, which);
      if (both === link(node, which)) continue;
      links[node * LINKS + which] = both;
      changed = true;
    }
    const [a, b] = [uniform[left], uniform[right]];
    const one = link(left, COUNT) === 0 ? b : link(right, COUNT) === 0 ? a : alike(a, b);
    if (one !== uniform[node]) changed = true;
    uniform[node] = one;
    return changed;
  }

  function drawUp(from: number): void {
    for (let node = from; node !== NONE; node = link(node, PARENT)) if (!drawInner(node)) return;
  }

  /** Copies of offers that get a new place: their columns, offer after offer. */
  interface Batch {
    numbers: Float64Array;
    words: Int32Array;
  }

  function takeOut(block: number, count: number, into: Batch, from: number): void {
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < NUMBERS; c++) into.numbers[(from + i) * NUMBERS + c] = numbers[place(block, c, i)] as number;
      for (let c = 0; c < WORDS; c++) into.words[(from + i) * WORDS + c] = words[wordPlace(block, c, i)] as number;
    }
  }

  function putIn(node: number, i: number, batch: Batch, from: number): void {
    const block = link(node, BLOCK);
    for (let c = 0; c < NUMBERS; c++) numbers[place(block, c, i)] = batch.numbers[from * NUMBERS + c] as number;
    for (let c = 0; c < WORDS; c++) words[wordPlace(block, c, i)] = batch.words[from * WORDS + c] as number;
    const id = batch.words[from * WORDS + ID] as number;
    nodeOf[id] = node;
    placeOf[id] = i;
  }

  /** Makes `node`, which has nothing below it, the root of a tree of the offers `order[from..to)` of the batch. */
  function build(node: number, batch: Batch, order: Int32Array, from: number, to: number): void {
    links[node * LINKS + COUNT] = to - from;
    if (to - from <= LEAF) {
      links[node * LINKS + BLOCK] = newBlock();
      for (let i = from; i < to; i++) putIn(node, i - from, batch, order[i] as number);
      drawLeaf(node);
      return;
    }
    const by = widestOf(batch, order, from, to);
    const part = order.subarray(from, to);
    const keys = new Float64Array(part.length);
    for (let i = 0; i < part.length; i++) keys[i] = keyOf(batch, part[i] as number, by);
    const sorted = Uint32Array.from(keys, (_, i) => i).sort((a, b) => (keys[a] as number) - (keys[b] as number));
    const cut = cutOf(keys, sorted);
    splitBy[node] = by;
    splitAt[node] = keys[sorted[cut - 1] as number] as number;
    part.set(Int32Array.from(sorted, (i) => part[i] as number));
    const left = newNode(node, NONE);
    links[node * LINKS + LEFT] = left;
    build(left, batch, order, from, from + cut);
    const right = newNode(node, NONE);
    links[node * LINKS + RIGHT] = right;
    build(right, batch, order, from + cut, to);
    drawInner(node);
  }

  /** Builds what is below `node` again. */
  function rebuild(node: number): void {
    const count = link(node, COUNT);
    const batch = { numbers: new Float64Array(count * NUMBERS), words: new Int32Array(count * WORDS) };
    let taken = 0;
    const below = [node];
    for (let one = below.pop(); one !== undefined; one = below.pop()) {
      const block = link(one, BLOCK);
      if (block !== NONE) {
        takeOut(block, link(one, COUNT), batch, taken);
        taken += link(one, COUNT);
        freeBlocks.push(block);
      } else below.push(link(one, LEFT), link(one, RIGHT));
      if (one !== node) freeNodes.push(one);
    }
    links[node * LINKS + BLOCK] = NONE;
    links[node * LINKS + LEFT] = NONE;
    links[node * LINKS + RIGHT] = NONE;
    build(
      node,
      batch,
      Int32Array.from({ length: count }, (_, i) => i),
      0,
      count,
    );
  }

  return {
    get size() {
      return size;
    },
    get looks() {
      return looks;
    },
    put(item, row, account) {
      const id = freeIds.pop() ?? items.length;
      items[id] = item;
      if (id >= nodeOf.length) {
        nodeOf = grown(nodeOf, Int32Array);
        placeOf = grown(placeOf, Int8Array);
      }
      size += 1;
      const batch = { numbers: new Float64Array(NUMBERS), words: new Int32Array(WORDS) };
      batch.numbers.set(row.numbers);
      batch.numbers[SEQ] = item.seq;
      batch.words.set([row.traitsLow, row.traitsHigh, row.region, row.gpuModel, account, id]);
      let node = root;
      while (link(node, BLOCK) === NONE) {
        links[node * LINKS + COUNT] = link(node, COUNT) + 1;
        const goesLeft = keyOf(batch, 0, splitBy[node] as number) <= (splitAt[node] as number);
        node = link(node, goesLeft ? LEFT : RIGHT);
      }
      const count = link(node, COUNT);
      if (count < LEAF) {
        putIn(node, count, batch, 0);
        links[node * LINKS + COUNT] = count + 1;
        widen(node, link(node, BLOCK), count);
        uniform[node] = count === 0 ? item : alike(uniform[node], item);
        drawUp(link(node, PARENT));
        return id;
      }
      splitLeaf(node, batch);
      drawUp(link(node, PARENT));
      balance(node);
      return id;
    },
    drop(id) {
      const node = nodeOf[id] as number;
      const i = placeOf[id] as number;
      const last = link(node, COUNT) - 1;
      const block = link(node, BLOCK);
      if (i !== last) {
        for (let c = 0; c < NUMBERS; c++) numbers[place(block, c, i)] = numbers[place(block, c, last)] as number;
        for (let c = 0; c < WORDS; c++) words[wordPlace(block, c, i)] = words[wordPlace(block, c, last)] as number;
        placeOf[words[wordPlace(block, ID, i)] as number] = i;
      }
      for (let up = node; up !== NONE; up = link(up, PARENT)) links[up * LINKS + COUNT] = link(up, COUNT) - 1;
      items[id] = undefined;
      freeIds.push(id);
      size -= 1;
      drawLeaf(node);
      drawUp(link(node, PARENT));
    },
    setLeft(id, left) {
      const [node, i] = [nodeOf[id] as number, placeOf[id] as number];
      const at = place(link(node, BLOCK), FREE, i);
      numbers[at] = left.cpuMilli;
      numbers[at + LEAF] = left.memoryMiB;
      numbers[at + 2 * LEAF] = left.diskMiB;
      numbers[at + 3 * LEAF] = left.gpus;
      drawSome(node, FREE, FREE + FREES);
    },
    setStake(id, stake) {
      const [node, i] = [nodeOf[id] as number, placeOf[id] as number];
      numbers[place(link(node, BLOCK), STAKE, i)] = stake;
      drawSome(node, STAKE, STAKE + 1);
    },
    search,
  };

  /** Draws some capacities of a leaf again, and of what is above while that changes anything. */
  function drawSome(node: number, from: number, to: number): void {
    const [block, count] = [link(node, BLOCK), link(node, COUNT)];
    let changed = false;
    for (let column = from; column < to; column++) {
      const first = place(block, column, 0);
      let most = Number.NEGATIVE_INFINITY;
      for (let j = first; j < first + count; j++) if ((numbers[j] as number) > most) most = numbers[j] as number;
      if (bounds[node * NUMBERS + column] === most) continue;
      bounds[node * NUMBERS + column] = most;
      changed = true;
    }
    for (let up = link(node, PARENT); changed && up !== NONE; up = link(up, PARENT)) {
      const [a, b, at] = [link(up, LEFT) * NUMBERS, link(up, RIGHT) * NUMBERS, up * NUMBERS];
      changed = false;
      for (let column = from; column < to; column++) {
        const [one, other] = [bounds[a + column] as number, bounds[b + column] as number];
        const most = one > other ? one : other;
        if (bounds[at + column] === most) continue;
        bounds[at + column] = most;
        changed = true;
      }
    }
  }

  function splitLeaf(node: number, added: Batch): void {
    const block = link(node, BLOCK);
    const batch = { numbers: new Float64Array((LEAF + 1) * NUMBERS), words: new Int32Array((LEAF + 1) * WORDS) };
    takeOut(block, LEAF, batch, 0);
    batch.numbers.set(added.numbers, LEAF * NUMBERS);
    batch.words.set(added.words, LEAF * WORDS);
    freeBlocks.push(block);
    links[node * LINKS + BLOCK] = NONE;
    build(
      node,
      batch,
      Int32Array.from({ length: LEAF + 1 }, (_, i) => i),
      0,
      LEAF + 1,
    );
  }

  /** Builds the highest part again that leans to one side too much, if any does above a leaf that was split. */
  function balance(from: number): void {
    let depth = 0;
    let leaning = NONE;
    for (let node = link(from, PARENT); node !== NONE; node = link(node, PARENT)) {
      depth += 1;
      const count = link(node, COUNT);
      const larger = Math.max(link(link(node, LEFT), COUNT), link(link(node, RIGHT), COUNT));
      if (count > 8 * LEAF && larger > MAX_SIDE * count) leaning = node;
    }
    if (leaning === NONE || depth < 2.5 * Math.log2(size / LEAF + 2) + 4) return;
    rebuild(leaning);
    drawUp(link(leaning, PARENT));
  }

  function search(of: Search<T>, accounts: Accounts): void {
    if (of.request.region < ANY || of.request.gpuModel < ANY || size === 0) return;
    let top = 0;
    let limit = limitOf(of);
    const first = look(of.request, root, limit);
    if (first >= 0) {
      stack[top] = root;
      costs[top] = first;
      top += 1;
    }
    while (top > 0) {
      top -= 1;
      const node = stack[top] as number;
      if ((costs[top] as number) > limit || isLate(of, node)) continue;
      const at = node * LINKS;
      if (links[at + BLOCK] !== NONE) {
        limit = scan(of, node, limit, accounts);
        continue;
      }
      const left = links[at + LEFT] as number;
      const right = links[at + RIGHT] as number;
      looks += 2;
      const leftCost = look(of.request, left, limit);
      const rightCost = look(of.request, right, limit);
      if (leftCost >= 0 && rightCost >= 0) {
        const leftFirst = leftCost === rightCost ? isEarlier(left, right) : leftCost < rightCost;
        stack[top] = leftFirst ? right : left;
        costs[top] = leftFirst ? rightCost : leftCost;
        stack[top + 1] = leftFirst ? left : right;
        costs[top + 1] = leftFirst ? leftCost : rightCost;
        top += 2;
      } else if (leftCost >= 0) {
        stack[top] = left;
        costs[top] = leftCost;
        top += 1;
      } else if (rightCost >= 0) {
        stack[top] = right;
        costs[top] = rightCost;
        top += 1;
      }
    }
  }

  function isEarlier(left: number, right: number): boolean {
    return (bounds[left * NUMBERS + SEQ] as number) < (bounds[right * NUMBERS + SEQ] as number);
  }

  /** What offers below `node` cost at least; below zero when none of them can serve. */
  function look(request: RequestRow, node: number, limit: number): number {
    const need = request.numbers;
    const b = bounds;
    const at = node * NUMBERS;
    if ((need[FREE] as number) > (b[at + FREE] as number)) return -1;
    if ((need[FREE + 1] as number) > (b[at + FREE + 1] as number)) return -1;
    if ((need[FREE + 3] as number) > (b[at + FREE + 3] as number)) return -1;
    const cost =
      (b[at] as number) +
      (need[1] as number) * (b[at + 1] as number) +
      (need[2] as number) * (b[at + 2] as number) +
      (need[3] as number) * (b[at + 3] as number) +
      (need[4] as number) * (b[at + 4] as number);
    if (!(cost <= limit)) return -1;
    const l = links;
    const to = node * LINKS;
    if ((request.traitsLow & ~(l[to + TRAITS_LOW] as number)) !== 0) return -1;
    if ((request.traitsHigh & ~(l[to + TRAITS_HIGH] as number)) !== 0) return -1;
    if (request.region !== ANY && ((l[to + REGION] as number) & (1 << request.region)) === 0) return -1;
    if (request.gpuModel !== ANY && ((l[to + MODEL] as number) & (1 << request.gpuModel)) === 0) return -1;
    for (let column = FREE; column < ROW; column++) {
      if ((need[column] as number) > (b[at + column] as number)) return -1;
    }
    return cost;
  }

  /** Looks at each offer of a leaf; returns the limit after that. */
  function scan(of: Search<T>, node: number, before: number, accounts: Accounts): number {
    const { numbers: need, traitsLow, traitsHigh, region, gpuModel, bond, minStake } = of.request;
    const w1 = need[1] as number;
    const w2 = need[2] as number;
    const w3 = need[3] as number;
    const w4 = need[4] as number;
    const cpu = need[FREE] as number;
    const memory = need[FREE + 1] as number;
    const n = numbers;
    const w = words;
    const block = links[node * LINKS + BLOCK] as number;
    const from = block * NUMBERS * LEAF;
    const wordsFrom = block * WORDS * LEAF;
    const held = links[node * LINKS + COUNT] as number;
    let limit = before;
    looks += held;
    next: for (let i = 0; i < held; i++) {
      const at = from + i;
      if (cpu > (n[at + FREE * LEAF] as number) || memory > (n[at + (FREE + 1) * LEAF] as number)) continue;
      const cost =
        (n[at] as number) +
        w1 * (n[at + LEAF] as number) +
        w2 * (n[at + 2 * LEAF] as number) +
        w3 * (n[at + 3 * LEAF] as number) +
        w4 * (n[at + 4 * LEAF] as number);
      if (!(cost <= limit)) continue;
      const word = wordsFrom + i;
      if ((traitsLow & ~(w[word] as number)) !== 0) continue;
      if ((traitsHigh & ~(w[word + LEAF] as number)) !== 0) continue;
      if (region !== ANY && w[word + REGION * LEAF] !== region) continue;
      if (gpuModel !== ANY && w[word + MODEL * LEAF] !== gpuModel) continue;
      for (let column = FREE + 2; column < ROW; column++) {
        if ((need[column] as number) > (n[at + column * LEAF] as number)) continue next;
      }
      const account = w[word + ACCOUNT * LEAF] as number;
      if ((accounts.free[account] as number) < bond || (accounts.staked[account] as number) < minStake) continue;
      const item = items[w[word + ID * LEAF] as number] as T;
      if (keep(of, { item, account, cost, seq: item.seq })) limit = limitOf(of);
    }
    return limit;
  }

  /** Does everything in `node` cost what the last of a full choice costs, and did it come later? */
  function isLate({ best, count }: Search<T>, node: number): boolean {
    const last = best[count - 1];
    if (last === undefined || !((bounds[node * NUMBERS + SEQ] as number) > last.seq)) return false;
    const one = uniform[node];
    return one !== undefined && samePrice(one, last.item);
  }

  /** Puts `found` among the best where it belongs; false when it does not. */
  function keep(of: Search<T>, found: Found<T>): boolean {
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

  function isBefore({ isBefore: exactly }: Search<T>, a: Found<T>, b: Found<T>): boolean {
    const margin = 1 + ERROR * (a.cost + b.cost);
    if (a.cost < b.cost - margin) return true;
    if (a.cost > b.cost + margin) return false;
    if (a.cost === b.cost && a.seq !== b.seq && samePrice(a.item, b.item)) return a.seq < b.seq;
    return exactly(a.item, b.item);
  }
}

/** What an offer may cost by the sum of doubles and still be among the best. */
function limitOf<T>({ best, count, budget }: Search<T>): number {
  const last = best[count - 1];
  const most = budget + ERROR * Math.abs(budget);
  return last === undefined ? most : Math.min(most, last.cost + 1 + 2 * ERROR * last.cost);
}

function keyOf(batch: { numbers: Float64Array; words: Int32Array }, i: number, by: number): number {
  if (by < NUMBERS) return batch.numbers[i * NUMBERS + by] as number;
  const at = i * WORDS;
  if (by === SPLIT_REGION) return batch.words[at + REGION] as number;
  if (by === SPLIT_MODEL) return batch.words[at + MODEL] as number;
  const [low, high] = [batch.words[at + TRAITS_LOW] as number, batch.words[at + TRAITS_HIGH] as number];
  return (high >>> 0) * 2 ** 32 + (low >>> 0);
}

/** How much a wide span of each column is worth to a search, per power of two or per other value. */
const WORTH = Float64Array.of(0, 4, 1, 0, 4, 1, 1, 0.2, 1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0, 0.1, 0.1, 0);
const WORTH_OF_NAMES = [4, 4, 6];

function widestOf(batch: { numbers: Float64Array; words: Int32Array }, order: Int32Array, from: number, to: number) {
  let widest = SEQ;
  let most = 0;
  for (let by = 0; by <= SPLIT_MODEL; by++) {
    let [least, largest] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let i = from; i < to; i++) {
      const key = keyOf(batch, order[i] as number, by);
      if (key < least) least = key;
      if (key > largest) largest = key;
    }
    if (least === largest) continue;
    const worth =
      by >= NUMBERS ? (WORTH_OF_NAMES[by - NUMBERS] as number) : (WORTH[by] as number) * spanOf(least, largest, by);
    if (worth <= most) continue;
    most = worth;
    widest = by;
  }
  return widest;
}

/** Powers of two from the least to the largest value of a column. */
function spanOf(least: number, largest: number, by: number): number {
  const floor = by < PRICES ? largest / 1024 : 1;
  const low = Math.max(Math.abs(Math.max(least, -1e12)), floor, 1e-300);
  const high = Math.max(Math.abs(largest), floor, 1e-300);
  return Math.abs(Math.log2(high / low)) + 0.01;
}

/** Where to cut what is sorted: between different keys, as near to the middle as can be. */
function cutOf(keys: Float64Array, sorted: Uint32Array): number {
  const middle = sorted.length >> 1;
  for (let off = 0; off < middle; off++) {
    for (const cut of [middle - off, middle + off]) {
      if (cut > 0 && keys[sorted[cut - 1] as number] !== keys[sorted[cut] as number]) return cut;
    }
  }
  return middle;
}

type Columns = Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Int8Array<ArrayBuffer>;

function grown<A extends Columns>(array: A, type: { new (length: number): A }): A {
  const larger = new type(array.length * 2);
  larger.set(array as never);
  return larger;
}
