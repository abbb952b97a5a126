import type { Database } from "./open.ts";

/** A draining node takes nothing new and finishes what it owes. */
export interface Draining {
  /** What the operator gave; empty when nothing. */
  reason: string;
  /** Unix seconds by this machine's clock. */
  since: number;
}

const NAME = "draining";

/** Since when and why the node drains; undefined while it does not. Survives a restart. */
export function isDraining({ db }: Pick<Database, "db">): Draining | undefined {
  const row = db.prepare("SELECT value FROM meta WHERE name = ?").get(NAME) as { value: string } | undefined;
  return row === undefined ? undefined : (JSON.parse(row.value) as Draining);
}

/** Begins to drain, or with `undefined` ends it. Another process sees it at its next look. */
export function setDraining({ db, atomically }: Database, draining: Draining | undefined): void {
  atomically(() => {
    db.prepare("DELETE FROM meta WHERE name = ?").run(NAME);
    if (draining !== undefined) db.prepare("INSERT INTO meta VALUES (?, ?)").run(NAME, JSON.stringify(draining));
  });
}
