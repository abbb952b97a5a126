import type { Copy, Query } from "../store/database.ts";
import { copyRows, deleteRows, loadRows, plain, upsertRows } from "../store/rows.ts";
import { keyOf, parseRow, type Table } from "../store/table.ts";
import { type ProjectionName, projections } from "../store/tables.ts";
import type { LoadableState } from "./preload.ts";
import type { ProjectionKey, ProjectionRow } from "./state.ts";

/** Rows after a step, by table; null where a rollback removed the row. What caches are fed with. */
export type Changes = { [N in ProjectionName]: Map<string, ProjectionRow<N> | null> };

/** The rows that one step touches: read once, changed in memory, written once. */
export interface WorkingSet extends LoadableState {
  /** From here on, what rows were before is noted for block `number`; with `undo` off, nothing is noted. */
  beginBlock(number: number, undo: boolean): void;
  /** Writes the changed rows and the undo log. */
  flush(copy: Copy): Promise<Changes>;
}

/** From so many rows of a table on, they are taken out and appended anew, which costs more statements and less work. */
const MANY_ROWS = 64;

interface UndoEntry {
  blockNumber: number;
  relation: ProjectionName;
  key: string;
  keyRow: object;
  before: object | null;
}

export function createWorkingSet(query: Query): WorkingSet {
  const rows = new Map<ProjectionName, Map<string, object | null>>();
  const changed = noChanges();
  /** Keys of the rows that the database has, by table. */
  const stored = new Map(names.map((name) => [name, new Set<string>()]));
  const undo: UndoEntry[] = [];
  let noted: Set<string> | undefined;
  let block = 0;

  return {
    async get<N extends ProjectionName>(name: N, key: ProjectionKey<N>) {
      const id = keyOf(projections[name], key);
      const cached = cacheOf(name).get(id);
      if (cached !== undefined) return (cached ?? undefined) as ProjectionRow<N> | undefined;
      const [row] = await loadRows(query, projections[name], [key]);
      cacheOf(name).set(id, row ?? null);
      if (row !== undefined) stored.get(name)?.add(id);
      return row as ProjectionRow<N> | undefined;
    },
    async load(name, keys) {
      const of: Table = projections[name];
      const cache = cacheOf(name);
      const missing = new Map<string, object>();
      for (const key of keys) {
        const id = keyOf(of, key);
        if (!cache.has(id) && !missing.has(id)) missing.set(id, keyRowOf(of, key));
      }
      for (const id of missing.keys()) cache.set(id, null);
      for (const row of await loadRows(query, of, [...missing.values()])) {
        const id = keyOf(of, row);
        cache.set(id, row);
        stored.get(name)?.add(id);
      }
    },
    begin(name, key) {
      const id = keyOf(projections[name], key);
      if (!cacheOf(name).has(id)) cacheOf(name).set(id, null);
    },
    put(name, row) {
      const of: Table = projections[name];
      const id = keyOf(of, row);
      const mark = `${name}|${id}`;
      const before = cacheOf(name).get(id);
      if (before === undefined)
        throw new Error(`A row of ${name} is written that was not read, so it cannot be undone.`);
      if (noted !== undefined && !noted.has(mark)) {
        noted.add(mark);
        undo.push({ blockNumber: block, relation: name, key: id, keyRow: keyRowOf(of, row), before });
      }
      cacheOf(name).set(id, row);
      (changed[name] as Map<string, object>).set(id, row);
    },
    beginBlock(number, keep) {
      block = number;
      noted = keep ? new Set() : undefined;
    },
    async flush(copy) {
      for (const name of names) {
        const of: Table = projections[name];
        const all = [...changed[name].values()] as never[];
        if (all.length < MANY_ROWS) {
          await upsertRows(query, of, all);
          continue;
        }
        const replaced = all.filter((row) => stored.get(name)?.has(keyOf(of, row)));
        await deleteRows(
          query,
          of,
          replaced.map((row) => keyRowOf(of, row)),
        );
        await copyRows(copy, of, all);
      }
      if (undo.length > 0) {
        await query(
          `INSERT INTO undo (block_number, relation, key, key_row, before)
           SELECT "blockNumber"::bigint, relation, key, "keyRow"::jsonb, before::json FROM json_to_recordset($1::json)
             AS r("blockNumber" text, relation text, key text, "keyRow" text, before text)`,
          [
            JSON.stringify(
              undo.map(({ before, ...rest }) => ({ ...rest, before: before === null ? null : plain(before) })),
            ),
          ],
        );
      }
      return changed;
    },
  };

  function cacheOf(name: ProjectionName): Map<string, object | null> {
    let cache = rows.get(name);
    if (cache === undefined) {
      cache = new Map();
      rows.set(name, cache);
    }
    return cache;
  }
}

/** Puts every row back to what it was before the first block above `to`, exactly. */
export async function undoAbove(query: Query, to: number): Promise<Changes> {
  const entries = await query<{ relation: ProjectionName; key: string; keyRow: object; before: object | null }>(
    `SELECT DISTINCT ON (relation, key) relation, key, key_row AS "keyRow", before
     FROM undo WHERE block_number > $1::bigint ORDER BY relation, key, block_number`,
    [String(to)],
  );
  const changes = noChanges();
  for (const name of names) {
    const of: Table = projections[name];
    const mine = entries.filter(({ relation }) => relation === name);
    const restored = mine.flatMap(({ before }) => (before === null ? [] : [parseRow(of, { ...before })]));
    await deleteRows(
      query,
      of,
      mine.filter(({ before }) => before === null).map(({ keyRow }) => keyRow),
    );
    await upsertRows(query, of, restored);
    const into = changes[name] as Map<string, object | null>;
    for (const { key } of mine) into.set(key, null);
    for (const row of restored) into.set(keyOf(of, row), row);
  }
  await query("DELETE FROM undo WHERE block_number > $1::bigint", [String(to)]);
  return changes;
}

function keyRowOf(of: Table, row: Record<string, unknown>): object {
  return Object.fromEntries(of.key.map((column) => [column, row[column]]));
}

const names = Object.keys(projections) as ProjectionName[];

function noChanges(): Changes {
  return Object.fromEntries(names.map((name) => [name, new Map()])) as unknown as Changes;
}
