import type { Trait } from "@berth/protocol";
import type { Database } from "./open.ts";

/** Until when each trait was offered: who was matched by then may count on it. */
export interface Promises {
  /** Offers with these traits can be taken until `until`, unix seconds. On disk when this returns. */
  note(traits: readonly Trait[], until: number): void;
  /** Had this node an offer with `trait` that could be taken at `at`? */
  had(trait: Trait, at: number): boolean;
}

const NAME = "promises";

export function createPromises({ db }: Pick<Database, "db">): Promises {
  const get = db.prepare("SELECT value FROM meta WHERE name = ?");
  const put = db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value");
  const read = (): Partial<Record<Trait, number>> => {
    const row = get.get(NAME) as { value: string } | undefined;
    return row === undefined ? {} : JSON.parse(row.value);
  };
  return {
    note(traits, until) {
      const known = read();
      for (const trait of traits) known[trait] = Math.max(known[trait] ?? 0, until);
      put.run(NAME, JSON.stringify(known));
    },
    had: (trait, at) => at <= (read()[trait] ?? 0),
  };
}
