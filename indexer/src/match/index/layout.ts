import { type OfferRow, ROW } from "./rows.ts";

/** The place in the order of arrival comes after the numbers of the row. */
export const SEQ = ROW;
/** Numbers of an offer, and bounds of a box. */
export const NUMBERS = ROW + 1;
/** Whole numbers of an offer; of the first five a box has sets. */
export const [TRAITS_LOW, TRAITS_HIGH, REGION, MODEL, PRICE, ACCOUNT] = [0, 1, 2, 3, 4, 5];
export const WORDS = 6;
/** The sets of a box: traits, regions and models as bits, and the one price that all have. */
export const SETS = 5;
/** The price of a box with nothing in it, and of one with several. */
export const [NO_PRICE, MIXED] = [-1, -2];
/** Offers in a leaf. */
export const LEAF = 8;
/** Of a node: what is below it, what it is below, and how many offers it holds. */
export const [LEFT, RIGHT, PARENT, COUNT] = [0, 1, 2, 3];
export const LINKS = 4;
export const NONE = -1;

/** Rows of offers by their ids, one after the other. */
export interface Columns {
  numbers: Float64Array<ArrayBuffer>;
  words: Int32Array<ArrayBuffer>;
}

/** Boxes by their nodes: the least of prices and arrival, the most of capacities, and sets. */
export interface Boxes {
  bounds: Float64Array<ArrayBuffer>;
  sets: Int32Array<ArrayBuffer>;
}

/** What the tree must know of what it holds. */
export interface TreeItem {
  seq: number;
}

/** What a tree is made of. The arrays are others after they have grown. */
export interface Timber<T extends TreeItem> {
  readonly columns: Columns;
  readonly boxes: Boxes;
  readonly items: (T | undefined)[];
  /** `LINKS` numbers for each node. */
  links: Int32Array<ArrayBuffer>;
  /** The ids in a leaf, `LEAF` places for each node. */
  places: Int32Array<ArrayBuffer>;
  root: number;
}

/** A tree without nodes and offers. */
export function createTimber<T extends TreeItem>(): Timber<T> {
  return {
    columns: { numbers: new Float64Array(NUMBERS * LEAF), words: new Int32Array(WORDS * LEAF) },
    boxes: { bounds: new Float64Array(NUMBERS), sets: new Int32Array(SETS) },
    items: [],
    links: new Int32Array(LINKS),
    places: new Int32Array(LEAF),
    root: NONE,
  };
}

/** Makes room for as many nodes again. */
export function grow<T extends TreeItem>(timber: Timber<T>): void {
  timber.boxes.bounds = grown(timber.boxes.bounds);
  timber.boxes.sets = grown(timber.boxes.sets);
  timber.links = grown(timber.links);
  timber.places = grown(timber.places);
}

export function writeRow<T extends TreeItem>(
  { columns, items }: Timber<T>,
  id: number,
  item: T,
  row: OfferRow,
  account: number,
): void {
  if ((id + 1) * NUMBERS > columns.numbers.length) {
    columns.numbers = grown(columns.numbers);
    columns.words = grown(columns.words);
  }
  columns.numbers.set(row.numbers, id * NUMBERS);
  columns.numbers[id * NUMBERS + SEQ] = item.seq;
  columns.words.set([row.traitsLow, row.traitsHigh, row.region, row.gpuModel, row.price, account], id * WORDS);
  items[id] = item;
}

export function grown<A extends Float64Array<ArrayBuffer> | Int32Array<ArrayBuffer>>(array: A): A {
  const larger = array instanceof Float64Array ? new Float64Array(array.length * 2) : new Int32Array(array.length * 2);
  larger.set(array);
  return larger as A;
}
