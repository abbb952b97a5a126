import {
  type Boxes,
  type Columns,
  MIXED,
  MODEL,
  NO_PRICE,
  NUMBERS,
  PRICE,
  REGION,
  SEQ,
  SETS,
  TRAITS_HIGH,
  TRAITS_LOW,
  WORDS,
} from "./layout.ts";
import { ANY, FREE, PRICES, type RequestRow, ROW } from "./rows.ts";

export function clearBox({ bounds, sets }: Boxes, node: number): void {
  const from = node * NUMBERS;
  bounds.fill(Number.POSITIVE_INFINITY, from, from + NUMBERS);
  bounds.fill(Number.NEGATIVE_INFINITY, from + PRICES, from + ROW);
  sets.fill(0, node * SETS, node * SETS + SETS);
  sets[node * SETS + PRICE] = NO_PRICE;
}

/** Widens the box of `node` by an offer. */
export function widen({ bounds, sets }: Boxes, node: number, { numbers, words }: Columns, id: number): void {
  const [to, from] = [node * NUMBERS, id * NUMBERS];
  for (let c = 0; c < PRICES; c++) {
    if ((numbers[from + c] as number) < (bounds[to + c] as number)) bounds[to + c] = numbers[from + c] as number;
  }
  for (let c = PRICES; c < ROW; c++) {
    if ((numbers[from + c] as number) > (bounds[to + c] as number)) bounds[to + c] = numbers[from + c] as number;
  }
  if ((numbers[from + SEQ] as number) < (bounds[to + SEQ] as number)) bounds[to + SEQ] = numbers[from + SEQ] as number;
  const [at, word] = [node * SETS, id * WORDS];
  sets[at + TRAITS_LOW] = (sets[at + TRAITS_LOW] as number) | (words[word + TRAITS_LOW] as number);
  sets[at + TRAITS_HIGH] = (sets[at + TRAITS_HIGH] as number) | (words[word + TRAITS_HIGH] as number);
  sets[at + REGION] = (sets[at + REGION] as number) | (1 << (words[word + REGION] as number));
  sets[at + MODEL] = (sets[at + MODEL] as number) | (1 << (words[word + MODEL] as number));
  sets[at + PRICE] = onePrice(sets[at + PRICE] as number, words[word + PRICE] as number);
}

/** Makes the box of `node` the one around two others; false when it was that. */
export function drawAround({ bounds, sets }: Boxes, node: number, left: number, right: number): boolean {
  const [to, one, other] = [node * NUMBERS, left * NUMBERS, right * NUMBERS];
  let changed = false;
  for (let c = 0; c < NUMBERS; c++) {
    const [a, b] = [bounds[one + c] as number, bounds[other + c] as number];
    const bound = (c < PRICES || c === SEQ) === a < b ? a : b;
    if (bounds[to + c] === bound) continue;
    bounds[to + c] = bound;
    changed = true;
  }
  const [at, l, r] = [node * SETS, left * SETS, right * SETS];
  for (let s = 0; s < SETS; s++) {
    const [a, b] = [sets[l + s] as number, sets[r + s] as number];
    const both = s === PRICE ? onePrice(a, b) : a | b;
    if (sets[at + s] === both) continue;
    sets[at + s] = both;
    changed = true;
  }
  return changed;
}

function onePrice(a: number, b: number): number {
  return a === b || b === NO_PRICE ? a : a === NO_PRICE ? b : MIXED;
}

/** What an offer in the box of `node` costs at least; below zero when none in it can serve for `limit`. */
export function leastCost({ bounds, sets }: Boxes, node: number, request: RequestRow, limit: number): number {
  const need = request.numbers;
  const at = node * NUMBERS;
  if ((need[FREE] as number) > (bounds[at + FREE] as number)) return -1;
  if ((need[FREE + 1] as number) > (bounds[at + FREE + 1] as number)) return -1;
  if ((need[FREE + 3] as number) > (bounds[at + FREE + 3] as number)) return -1;
  const cost =
    (bounds[at] as number) +
    (need[1] as number) * (bounds[at + 1] as number) +
    (need[2] as number) * (bounds[at + 2] as number) +
    (need[3] as number) * (bounds[at + 3] as number) +
    (need[4] as number) * (bounds[at + 4] as number);
  if (!(cost <= limit)) return -1;
  const to = node * SETS;
  if ((request.traitsLow & ~(sets[to + TRAITS_LOW] as number)) !== 0) return -1;
  if ((request.traitsHigh & ~(sets[to + TRAITS_HIGH] as number)) !== 0) return -1;
  if (request.region !== ANY && ((sets[to + REGION] as number) & (1 << request.region)) === 0) return -1;
  if (request.gpuModel !== ANY && ((sets[to + MODEL] as number) & (1 << request.gpuModel)) === 0) return -1;
  for (let c = FREE + 2; c < ROW; c++) if ((need[c] as number) > (bounds[at + c] as number)) return -1;
  return cost;
}

/** What a part of a tree can be split by: each number, then traits, region and model. */
export const KEYS = NUMBERS + 3;

/** Where an offer stands in what `by` splits. */
export function keyOf({ numbers, words }: Columns, id: number, by: number): number {
  if (by < NUMBERS) return numbers[id * NUMBERS + by] as number;
  const at = id * WORDS;
  if (by === NUMBERS + 1) return words[at + REGION] as number;
  if (by === NUMBERS + 2) return words[at + MODEL] as number;
  return ((words[at + TRAITS_HIGH] as number) >>> 0) * 2 ** 32 + ((words[at + TRAITS_LOW] as number) >>> 0);
}
