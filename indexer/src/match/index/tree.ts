import { clearBox, drawAround, keyOf, widen } from "./boxes.ts";
import * as layout from "./layout.ts";
import { COUNT, grown, LEAF, LEFT, LINKS, NONE, NUMBERS, PARENT, RIGHT, type TreeItem } from "./layout.ts";
import { FREE, FREES, type Left, type OfferRow, STAKE } from "./rows.ts";
import { type Accounts, type Search, searchTree } from "./search.ts";
import { chooseSplit, type Wish } from "./split.ts";

/** Searches that splits are made for. */
const WISHES = 1024;
/** A tree is made anew after so many looks for each of its offers, at first, and ever more seldom. */
const [FIRST_LOOKS, MOST_LOOKS, MORE] = [8, 4096, 8];
/** A side that has more than this part of what is below a node leans. */
const LEANING = 0.9;

/**
 * Offers under a binary tree of boxes: the least price and arrival, the most of every capacity, and the traits, regions
 * and models of all below. A search leaves out boxes in which nothing can fit or be better, so it finds what a look at
 * every offer finds. The tree is split where searches come, and so that the last of them would have looked at the least.
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
  /** Nodes in use: no more than one for each offer, and never fewer than one. */
  readonly nodes: number;
}

export function createTree<T extends TreeItem>(): Tree<T> {
  const timber = layout.createTimber<T>();
  const { boxes, columns, items } = timber;
  const freeIds: number[] = [];
  const freeNodes: number[] = [];
  /** Where an offer is: its node, and its place there. */
  let nodeOf = new Int32Array(LEAF);
  let placeOf = new Int32Array(LEAF);
  const splitBy: number[] = [];
  const splitAt: number[] = [];
  /** Ids of nodes that hold more than a leaf may, until a search comes there. Their boxes may be too large. */
  const bags = new Map<number, number[]>();
  const wishes: Wish[] = [];
  let searches = 0;
  let nodes = 0;
  let size = 0;
  let looks = 0;
  let looksBefore = 0;
  let looksPerOffer = FIRST_LOOKS;
  timber.root = newNode(NONE);

  function link(node: number, which: number): number {
    return timber.links[node * LINKS + which] as number;
  }

  function setLink(node: number, which: number, to: number): void {
    timber.links[node * LINKS + which] = to;
  }

  function isInner(node: number): boolean {
    return link(node, LEFT) !== NONE;
  }

  function newNode(parent: number): number {
    const node = freeNodes.pop() ?? nodes++;
    if ((node + 1) * LINKS > timber.links.length) layout.grow(timber);
    setLink(node, LEFT, NONE);
    setLink(node, RIGHT, NONE);
    setLink(node, PARENT, parent);
    return node;
  }

  /** Gives `node`, which has nothing below it, the offers `ids`. */
  function fill(node: number, ids: number[]): void {
    setLink(node, COUNT, ids.length);
    clearBox(boxes, node);
    if (ids.length > LEAF) bags.set(node, ids);
    else timber.places.set(ids, node * LEAF);
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i] as number;
      widen(boxes, node, columns, id);
      nodeOf[id] = node;
      placeOf[id] = i;
    }
  }

  /** Splits a node that holds more than a leaf may. */
  function open(node: number): void {
    const ids = bags.get(node) as number[];
    bags.delete(node);
    const { by, at } = chooseSplit(columns, ids, wishes);
    splitBy[node] = by;
    splitAt[node] = at;
    const left: number[] = [];
    let right: number[] = [];
    for (const id of ids) (keyOf(columns, id, by) <= at ? left : right).push(id);
    if (right.length === 0) right = left.splice(left.length >> 1); // no key tells them apart
    const [one, other] = [newNode(node), newNode(node)];
    setLink(node, LEFT, one);
    setLink(node, RIGHT, other);
    fill(one, left);
    fill(other, right);
  }

  /** Puts all that is below `node` into one bag, to be split anew. */
  function gather(node: number): void {
    const ids: number[] = [];
    const below = [node];
    for (let one = below.pop(); one !== undefined; one = below.pop()) {
      if (isInner(one)) below.push(link(one, LEFT), link(one, RIGHT));
      else for (const id of idsIn(one)) ids.push(id);
      bags.delete(one);
      if (one !== node) freeNodes.push(one);
    }
    setLink(node, LEFT, NONE);
    setLink(node, RIGHT, NONE);
    fill(node, ids);
  }

  function idsIn(node: number): Iterable<number> {
    return bags.get(node) ?? timber.places.subarray(node * LEAF, node * LEAF + link(node, COUNT));
  }

  /** Draws boxes again from `from` up, as far as that changes any. */
  function drawUp(from: number): void {
    for (let node = from; node !== NONE; node = link(node, PARENT)) {
      if (!drawAround(boxes, node, link(node, LEFT), link(node, RIGHT))) return;
    }
  }

  /** Where an offer belongs: left or right of what `node` is split at. */
  function sideOf(node: number, id: number): number {
    return keyOf(columns, id, splitBy[node] as number) <= (splitAt[node] as number) ? LEFT : RIGHT;
  }

  /** Puts an offer where it belongs below `from`. */
  function attach(id: number, from: number): void {
    let node = from;
    for (; isInner(node); node = link(node, sideOf(node, id))) {
      setLink(node, COUNT, link(node, COUNT) + 1);
      widen(boxes, node, columns, id);
    }
    const count = link(node, COUNT);
    widen(boxes, node, columns, id);
    nodeOf[id] = node;
    placeOf[id] = count;
    const bag = bags.get(node);
    if (bag !== undefined) bag.push(id);
    else if (count === LEAF) bags.set(node, [...idsIn(node), id]);
    else timber.places[node * LEAF + count] = id;
    setLink(node, COUNT, count + 1);
  }

  /** Takes an offer out of its node, and off the counts of those above it up to, and without, `end`. */
  function detach(id: number, end: number): void {
    const node = nodeOf[id] as number;
    for (let up = node; up !== end; up = link(up, PARENT)) setLink(up, COUNT, link(up, COUNT) - 1);
    const [place, last] = [placeOf[id] as number, link(node, COUNT)];
    const bag = bags.get(node);
    const moved = (bag === undefined ? timber.places[node * LEAF + last] : bag.pop()) as number;
    if (moved !== id) {
      placeOf[moved] = place;
      if (bag === undefined) timber.places[node * LEAF + place] = moved;
      else bag[place] = moved;
    }
    if (last > LEAF) return;
    if (bag !== undefined) {
      bags.delete(node);
      timber.places.set(bag, node * LEAF);
    }
    clearBox(boxes, node);
    for (const one of idsIn(node)) widen(boxes, node, columns, one);
    if (last === 0) prune(node);
    else drawUp(link(node, PARENT));
  }

  /** Takes an empty leaf out, and the node above it. */
  function prune(leaf: number): void {
    const parent = link(leaf, PARENT);
    if (parent === NONE) return;
    const sibling = link(parent, LEFT) === leaf ? link(parent, RIGHT) : link(parent, LEFT);
    const above = link(parent, PARENT);
    setLink(sibling, PARENT, above);
    if (above === NONE) timber.root = sibling;
    else setLink(above, link(above, LEFT) === parent ? LEFT : RIGHT, sibling);
    freeNodes.push(leaf, parent);
    drawUp(above);
  }

  /** Makes the highest part anew that leans to one side, where offers have come in an order that made the tree a list. */
  function straighten(id: number): void {
    const from = nodeOf[id] as number;
    if (link(from, COUNT) !== LEAF + 1) return; // it made no leaf too full
    let depth = 0;
    let leaning = NONE;
    for (let node = link(from, PARENT); node !== NONE; node = link(node, PARENT)) {
      depth += 1;
      const larger = Math.max(link(link(node, LEFT), COUNT), link(link(node, RIGHT), COUNT));
      if (link(node, COUNT) > LEAF * LEAF && larger > LEANING * link(node, COUNT)) leaning = node;
    }
    if (leaning !== NONE && depth > 8 * Math.log2(size / LEAF + 2) + 8) gather(leaning);
  }

  /** The highest node below which an offer is on the wrong side now that more or less of it is left. */
  function strayedFrom(id: number): number {
    let highest = NONE;
    for (let node = nodeOf[id] as number, up = link(node, PARENT); up !== NONE; node = up, up = link(up, PARENT)) {
      const by = splitBy[up] as number;
      if (by >= FREE && by < FREE + FREES && link(up, sideOf(up, id)) !== node) highest = up;
    }
    return highest;
  }

  /** Draws boxes again after the columns of an offer `from` to `to` have changed. */
  function redraw(id: number, from: number, to: number): void {
    const node = nodeOf[id] as number;
    const { bounds } = boxes;
    const isBag = bags.has(node);
    const [first, last] = [node * LEAF, node * LEAF + link(node, COUNT)];
    let changed = false;
    for (let c = from; c < to; c++) {
      const before = bounds[node * NUMBERS + c] as number;
      const own = columns.numbers[id * NUMBERS + c] as number;
      let most = isBag && before > own ? before : own;
      for (let i = first; !isBag && i < last; i++) {
        const value = columns.numbers[(timber.places[i] as number) * NUMBERS + c] as number;
        if (value > most) most = value;
      }
      if (before === most) continue;
      bounds[node * NUMBERS + c] = most;
      changed = true;
    }
    for (let up = link(node, PARENT); changed && up !== NONE; up = link(up, PARENT)) {
      const [a, b, at] = [link(up, LEFT) * NUMBERS, link(up, RIGHT) * NUMBERS, up * NUMBERS];
      changed = false;
      for (let c = from; c < to; c++) {
        const [one, other] = [bounds[a + c] as number, bounds[b + c] as number];
        const most = one > other ? one : other;
        if (bounds[at + c] === most) continue;
        bounds[at + c] = most;
        changed = true;
      }
    }
  }

  return {
    get size() {
      return size;
    },
    get looks() {
      return looks;
    },
    get nodes() {
      return nodes - freeNodes.length;
    },
    put(item, row, account) {
      const id = freeIds.pop() ?? items.length;
      if (id >= nodeOf.length) {
        nodeOf = grown(nodeOf);
        placeOf = grown(placeOf);
      }
      layout.writeRow(timber, id, item, row, account);
      size += 1;
      attach(id, timber.root);
      straighten(id);
      return id;
    },
    drop(id) {
      detach(id, NONE);
      items[id] = undefined;
      freeIds.push(id);
      size -= 1;
    },
    setLeft(id, left) {
      const at = id * NUMBERS + FREE;
      const { numbers } = columns;
      numbers[at] = left.cpuMilli;
      numbers[at + 1] = left.memoryMiB;
      numbers[at + 2] = left.diskMiB;
      numbers[at + 3] = left.gpus;
      const from = strayedFrom(id);
      if (from === NONE) return redraw(id, FREE, FREE + FREES);
      const above = link(from, PARENT);
      const side = above !== NONE && link(above, LEFT) === from ? LEFT : RIGHT;
      detach(id, above);
      attach(id, above === NONE ? timber.root : link(above, side)); // not `from`: another may be there now
      drawUp(above);
      straighten(id);
    },
    setStake(id, stake) {
      columns.numbers[id * NUMBERS + STAKE] = stake;
      redraw(id, STAKE, STAKE + 1);
    },
    search(search, accounts) {
      if (size === 0) return;
      if (looks - looksBefore > looksPerOffer * size) {
        gather(timber.root);
        looksBefore = looks;
        looksPerOffer = Math.min(MOST_LOOKS, looksPerOffer * MORE);
      }
      const wish = { row: search.request, limit: Number.POSITIVE_INFINITY };
      wishes[searches++ % WISHES] = wish;
      const done = searchTree(timber, open, search, accounts);
      wish.limit = done.limit;
      looks += done.looks;
    },
  };
}
