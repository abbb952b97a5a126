/** The item that `pick` falls on; undefined when there is none. */
export function pickOf<Item>(items: readonly Item[], pick: number): Item | undefined {
  return items[pick % items.length];
}

/** As `pickOf`, of items that are there. */
export function oneOf<Item>(items: readonly Item[], pick: number): Item {
  const item = pickOf(items, pick);
  if (item === undefined) throw new Error("There is nothing to pick from.");
  return item;
}

/** The first of the two lists that has something. */
export function or<Item>(first: readonly Item[], second: readonly Item[]): readonly Item[] {
  return first.length > 0 ? first : second;
}
