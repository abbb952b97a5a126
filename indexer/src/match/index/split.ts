import { clearBox, drawAround, KEYS, keyOf, leastCost, widen } from "./boxes.ts";
import { type Boxes, type Columns, NUMBERS, SEQ, SETS } from "./layout.ts";
import { PRICES, type RequestRow } from "./rows.ts";

/** A request that was asked for, and what an offer might cost and still be of use. */
export interface Wish {
  row: RequestRow;
  limit: number;
}

/** Offers whose key is not above `at` are on the left. */
export interface Split {
  by: number;
  at: number;
}

/** Offers and wishes that stand for all of them. */
const [PROBE, MOST_LIVE] = [512, 256];
/** What part of the offers may be on the left. */
const CUTS = [1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 15 / 16];
/** How much an uneven split is worse, when the wishes find two alike. */
const UNEVEN = 1e-3;

/** Boxes to try splits with: of what is between two cuts, then of all to the left of each cut and all to the right. */
const BETWEEN = 0;
const UPTO = CUTS.length + 1;
const FROM = UPTO * 2;
const trial: Boxes = { bounds: new Float64Array(3 * UPTO * NUMBERS), sets: new Int32Array(3 * UPTO * SETS) };
const counts = new Int32Array(UPTO);
const keys = new Float64Array(PROBE);
const cuts = new Float64Array(CUTS.length);

/** The split after which the wishes look at the fewest of the offers `ids`; all are on the left when no key tells them apart. */
export function chooseSplit(columns: Columns, ids: readonly number[], wishes: readonly Wish[]): Split {
  const probe = probeOf(ids);
  const live = livingOf(columns, probe, wishes);
  let best: Split = { by: SEQ, at: Number.POSITIVE_INFINITY };
  let least = Number.POSITIVE_INFINITY;
  for (let by = 0; by < KEYS; by++) {
    let differs = false;
    for (let i = 0; i < probe.length; i++) {
      keys[i] = keyOf(columns, probe[i] as number, by);
      if (keys[i] !== keys[0]) differs = true;
    }
    if (!differs) continue;
    const sorted = keys.slice(0, probe.length).sort();
    if (live.length === 0) {
      const cost = by === SEQ ? 1 : -spread(sorted, by);
      if (cost < least) [least, best] = [cost, { by, at: below(sorted, sorted.length >> 1) }];
      continue;
    }
    let tried = 0;
    for (const cut of CUTS) {
      const at = below(sorted, Math.floor(cut * sorted.length));
      if (tried === 0 || at !== cuts[tried - 1]) cuts[tried++] = at;
    }
    drawTrials(columns, probe, tried);
    let left = 0;
    for (let cut = 0; cut < tried; cut++) {
      left += counts[cut] as number;
      const right = probe.length - left;
      let cost = UNEVEN * Math.abs(left - right);
      for (let i = 0; i < live.length && cost < least; i++) {
        const { row, limit } = live[i] as Wish;
        if (leastCost(trial, UPTO + cut, row, limit) >= 0) cost += left;
        if (leastCost(trial, FROM + cut + 1, row, limit) >= 0) cost += right;
      }
      if (cost < least) [least, best] = [cost, { by, at: cuts[cut] as number }];
    }
  }
  return best;
}

function probeOf(ids: readonly number[]): readonly number[] {
  if (ids.length <= PROBE) return ids;
  return Array.from({ length: PROBE }, (_, i) => ids[Math.floor((i * ids.length) / PROBE)] as number);
}

/** The wishes that would look at any of `probe`. */
function livingOf(columns: Columns, probe: readonly number[], wishes: readonly Wish[]): Wish[] {
  clearBox(trial, BETWEEN);
  for (const id of probe) widen(trial, BETWEEN, columns, id);
  const live: Wish[] = [];
  for (const wish of wishes) {
    if (live.length === MOST_LIVE) break;
    if (leastCost(trial, BETWEEN, wish.row, wish.limit) >= 0) live.push(wish);
  }
  return live;
}

/** The key at a place of what is sorted, or the next smaller one where there is none above it. */
function below(sorted: Float64Array, place: number): number {
  const largest = sorted.at(-1) as number;
  let at = place;
  while (sorted[at] === largest) at -= 1;
  return sorted[at] as number;
}

/** Draws the boxes to the left and to the right of the first `tried` cuts. */
function drawTrials(columns: Columns, probe: readonly number[], tried: number): void {
  for (let box = 0; box <= tried; box++) {
    clearBox(trial, BETWEEN + box);
    counts[box] = 0;
  }
  for (let i = 0; i < probe.length; i++) {
    let box = 0;
    while (box < tried && (keys[i] as number) > (cuts[box] as number)) box += 1;
    counts[box] = (counts[box] as number) + 1;
    widen(trial, BETWEEN + box, columns, probe[i] as number);
  }
  drawAround(trial, UPTO, BETWEEN, BETWEEN);
  for (let box = 1; box < tried; box++) drawAround(trial, UPTO + box, UPTO + box - 1, BETWEEN + box);
  drawAround(trial, FROM + tried, BETWEEN + tried, BETWEEN + tried);
  for (let box = tried - 1; box > 0; box--) drawAround(trial, FROM + box, FROM + box + 1, BETWEEN + box);
}

/** How far apart keys are: prices as a ratio, anything else hardly. */
function spread(sorted: Float64Array, by: number): number {
  if (by >= PRICES) return 0;
  const largest = sorted.at(-1) as number;
  return 1 - (sorted[0] as number) / largest;
}
