import { expect } from "chai";
import { ANY, FREE, type OfferRow, type RequestRow, ROW } from "../../../../indexer/src/match/index/rows.ts";
import type { Found } from "../../../../indexer/src/match/index/search.ts";
import { createTree, type Tree } from "../../../../indexer/src/match/index/tree.ts";
import { type Random, randomOf } from "../../support/crowds.ts";

interface Item {
  seq: number;
  row: OfferRow;
}

const OFFERS = 600;
const accounts = { free: new Float64Array(8).fill(1), staked: new Float64Array(8).fill(1) };

describe("a tree of offers", () => {
  it("lets go of every node but one when its offers go, in whatever order they came and go", () => {
    const random = randomOf(1);
    for (const order of ["as they came", "the last first", "any"]) {
      const tree = createTree<Item>();
      let ids = Array.from({ length: OFFERS }, (_, i) => {
        const item = anItem(i, random);
        item.row.numbers[1] = i; // dearer and dearer: each to the right of all before
        return tree.put(item, item.row, 0);
      });
      for (let i = 0; i < 50; i++) seqsOf(tree, aRequest(random), 2);
      expect(tree.nodes, order).to.be.within(OFFERS / 8, OFFERS);
      if (order === "the last first") ids = ids.reverse();
      if (order === "any") ids.sort((a, b) => ((a * 7919) % OFFERS) - ((b * 7919) % OFFERS));
      for (const id of ids) tree.drop(id);
      expect([tree.size, tree.nodes], order).to.deep.equal([0, 1]);
      expect(seqsOf(tree, aRequest(random), 2), order).to.deep.equal([]);
    }
  });

  it("finds the first of offers that nothing tells apart but their place in the order of arrival", () => {
    const random = randomOf(2);
    const tree = createTree<Item>();
    const { row } = anItem(0, random);
    for (let seq = OFFERS; seq > 0; seq--) tree.put({ seq, row }, row, seq % 8);
    expect(seqsOf(tree, { ...aRequest(random), ...askFor(row) }, 3)).to.deep.equal([1, 2, 3]);
  });

  it("holds more offers than a call has arguments, alike in everything", () => {
    const random = randomOf(3);
    const tree = createTree<Item>();
    const { row } = anItem(0, random);
    for (let i = 0; i < 300_000; i++) tree.put({ seq: 7, row }, row, 0);
    expect(seqsOf(tree, { ...aRequest(random), ...askFor(row) }, 1)).to.deep.equal([7]);
  });

  it("finds every offer of a market in which each that comes is cheaper than all before", () => {
    const random = randomOf(5);
    const tree = createTree<Item>();
    const items: Item[] = [];
    const ids: number[] = [];
    for (let i = 0; i < 3 * OFFERS; i++) {
      const item = anItem(i, random);
      item.row.numbers.fill(10, 0, FREE + 4);
      item.row.numbers[1] = 1 + (3 * OFFERS - i);
      items.push(item);
      ids.push(tree.put(item, item.row, i % 8));
      const at = Math.floor(random() * items.length);
      const left = { cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0 };
      for (const [c, name] of (["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const).entries()) {
        left[name] = aSize(random);
        (items[at] as Item).row.numbers[FREE + c] = left[name];
      }
      tree.setLeft(ids[at] as number, left);
      const request = aRequest(random);
      request.numbers.fill(i % 2, FREE, FREE + 4);
      expect(seqsOf(tree, request, 1), `search ${i}`).to.deep.equal(cheapest(items, request));
    }
  });

  it("finds an offer wherever what is left of it takes it", () => {
    const random = randomOf(4);
    const tree = createTree<Item>();
    const items = Array.from({ length: OFFERS }, (_, i) => anItem(i, random));
    const ids = items.map((item) => tree.put(item, item.row, item.seq % 8));
    let found = 0;
    for (let i = 0; i < 2000; i++) {
      const at = Math.floor(random() * OFFERS);
      const numbers = items[at]?.row.numbers as Float64Array;
      for (let c = FREE; c < FREE + 4; c++) numbers[c] = random() < 0.5 ? aSize(random) : (numbers[c] as number) + 1;
      const [cpuMilli, memoryMiB, diskMiB, gpus] = numbers.slice(FREE, FREE + 4) as unknown as number[];
      tree.setLeft(ids[at] as number, { cpuMilli, memoryMiB, diskMiB, gpus } as never);
      const request = aRequest(random);
      if (i % 2 === 0) request.numbers.set(numbers.slice(FREE, FREE + 4), FREE); // all that is left of this one
      const expected = cheapest(items, request);
      expect(seqsOf(tree, request, 1), `search ${i}`).to.deep.equal(expected);
      found += expected.length;
    }
    expect(found).to.be.within(500, 1999);
  });
});

/** Seldom much. */
function aSize(random: Random): number {
  return Math.floor(64 * random() ** 4);
}

/** What is left of it is what it offers; everything else suits everyone. */
function anItem(seq: number, random: Random): Item {
  const numbers = new Float64Array(ROW).fill(1000);
  for (let c = 0; c < 5; c++) numbers[c] = 1 + Math.floor(random() * 50);
  for (let c = FREE; c < FREE + 4; c++) numbers[c] = aSize(random);
  const [region, gpuModel] = [Math.floor(random() * 3), Math.floor(random() * 3)];
  return { seq, row: { numbers, traitsLow: Math.floor(random() * 4), traitsHigh: 0, region, gpuModel, price: seq } };
}

function askFor({ numbers, traitsLow, traitsHigh, region, gpuModel }: OfferRow): Partial<RequestRow> {
  return { numbers: numbers.slice(), traitsLow, traitsHigh, region, gpuModel };
}

function aRequest(random: Random): RequestRow {
  const numbers = new Float64Array(ROW).fill(1);
  for (let c = 1; c < 5; c++) numbers[c] = Math.floor(random() * 10);
  for (let c = FREE; c < FREE + 4; c++) numbers[c] = aSize(random);
  const region = random() < 0.5 ? ANY : Math.floor(random() * 3);
  return { numbers, traitsLow: random() < 0.5 ? 0 : 1, traitsHigh: 0, region, gpuModel: ANY, bond: 0, minStake: 0 };
}

function seqsOf(tree: Tree<Item>, request: RequestRow, count: number): number[] {
  const best: Found<Item>[] = [];
  const isBefore = (a: Item, b: Item) => costOf(a, request) - costOf(b, request) || a.seq - b.seq;
  const search = { request, count, budget: 1e9, isBefore: (a: Item, b: Item) => isBefore(a, b) < 0, best };
  tree.search({ ...search, accepts: undefined }, accounts);
  return best.map(({ seq }) => seq);
}

function cheapest(items: readonly Item[], request: RequestRow): number[] {
  const fits = ({ row }: Item) =>
    row.numbers.every((value, c) => c < FREE || value >= (request.numbers[c] as number)) &&
    (request.traitsLow & ~row.traitsLow) === 0 &&
    (request.region === ANY || request.region === row.region);
  const sorted = items.filter(fits).sort((a, b) => costOf(a, request) - costOf(b, request) || a.seq - b.seq);
  return sorted.slice(0, 1).map(({ seq }) => seq);
}

function costOf({ row }: Item, request: RequestRow): number {
  let cost = 0;
  for (let c = 0; c < 5; c++) cost += (row.numbers[c] as number) * (request.numbers[c] as number);
  return cost;
}
