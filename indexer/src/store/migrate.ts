import { MarketError } from "@berth/protocol";
import type { Database } from "./database.ts";
import { type Migration, migrations } from "./migrations.ts";

/** Brings the schema up to date, step by step, each in a transaction. Throws DATABASE_NEWER. */
export async function migrate(db: Database, steps: readonly Migration[] = migrations): Promise<void> {
  await db.query("CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY, name text NOT NULL)");
  const [row] = await db.query<{ version: string | number | null }>(
    "SELECT max(version) AS version FROM schema_version",
  );
  const current = Number(row?.version ?? 0);
  const newest = steps.at(-1)?.version ?? 0;
  if (current > newest) {
    throw new MarketError(
      "DATABASE_NEWER",
      `The data has schema ${current}; this indexer knows only up to ${newest}.`,
      {
        hint: "Start the newer indexer, or give this one another data folder.",
      },
    );
  }
  for (const { version, name, sql } of steps.filter((step) => step.version > current)) {
    const row = `INSERT INTO schema_version VALUES (${version}, '${name.replaceAll("'", "''")}')`;
    await db.script(`${sql}; ${row};`);
  }
}
