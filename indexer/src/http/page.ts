import type { Conditions } from "./conditions.ts";
import { type Cursor, encodeCursor } from "./cursor.ts";
import type { ApiContext, TableAnswer } from "./route.ts";
import { readSnapshot, type Snapshot, snapshotSql } from "./snapshot.ts";
import type { View } from "./view.ts";

/** How the rows of a list become items. Everything is SQL; `p` is a row of the list. */
export interface Items {
  /** JSON text of one item. */
  item: string;
  /** Further parts of the WITH, which may read `page`. */
  parts?: string;
  /** What is joined to `p` for the item. */
  joins?: string;
  /** What `finish` works with besides the item. */
  extra?: Record<string, string>;
  /** Puts into the item what the database cannot know. */
  finish?: (item: string, row: ItemRow) => string;
}

/** One list of rows: where it comes from and in which order. Everything is SQL. */
export interface List {
  /** The row is `t`. */
  from: string;
  /** Columns by which it is ordered. */
  order: readonly string[];
  descending?: boolean;
  /** No reorganisation touches its rows. */
  offChain?: boolean;
  /** Where an item stands, in the order of the columns. */
  key: (row: ItemRow) => (string | number)[];
}

export type ItemRow = Record<string, string | null>;

/** What a list is read with. */
export interface Reading {
  view: View;
  conditions: Conditions;
  cursor?: Cursor | undefined;
  context: ApiContext;
}

/** Rows that a statement reads. Statements that differ only in a number would each have to be planned. */
const LIMITS = [2, 11, 51, 201];

/**
 * A page of `limit` items, and the cursor of the next. One statement, so it is of one moment.
 * Throws CURSOR_REORGED, FINALITY_UNKNOWN.
 */
export async function readPage(list: List, items: Items, reading: Reading, limit: number): Promise<TableAnswer> {
  const { rows, snapshot } = await readRows(list, items, reading, limit + 1);
  const last = rows[limit - 1];
  const stands = list.offChain ? undefined : snapshot;
  const next = rows.length > limit && last !== undefined ? encodeCursor(list.key(last), stands) : null;
  const shown = rows.slice(0, limit).map((row) => finished(items, row));
  const json = `{"items":[${shown.join(",")}],"nextCursor":${JSON.stringify(next)}}`;
  return { json, snapshot, view: reading.view };
}

/** The one item there is, if any. Throws FINALITY_UNKNOWN. */
export async function readItem(list: List, items: Items, reading: Reading): Promise<TableAnswer | undefined> {
  const { rows, snapshot } = await readRows(list, items, reading, 1);
  return rows[0] === undefined ? undefined : { json: finished(items, rows[0]), snapshot, view: reading.view };
}

async function readRows(
  { from, order, descending = false }: List,
  { item, parts, joins = "", extra = {} }: Items,
  { view, conditions, cursor, context }: Reading,
  wanted: number,
): Promise<{ rows: ItemRow[]; snapshot: Snapshot }> {
  const ordered = (of: string) => order.map((column) => `${of}.${column}${descending ? " DESC" : ""}`).join(", ");
  const more = Object.entries(extra).map(([name, expression]) => `, ${expression} AS "${name}"`);
  const snapshotText = snapshotSql(view, conditions, cursor);
  const found = await context.db.query<ItemRow>(
    `WITH page AS MATERIALIZED (
       SELECT true AS there, t.* FROM ${from} ${conditions.where} ORDER BY ${ordered("t")}
       LIMIT ${LIMITS.find((limit) => limit >= wanted) ?? wanted})
     ${parts === undefined ? "" : `, ${parts}`}
     SELECT ${snapshotText} AS snapshot, CASE WHEN p.there THEN ${item} END AS item${more.join("")}
     FROM (SELECT 1) one LEFT JOIN page p ON true ${joins} ORDER BY ${ordered("p")}`,
    conditions.params,
  );
  const snapshot = readSnapshot(found[0]?.["snapshot"] ?? "", view, context, cursor);
  return { rows: found.filter((row) => row["item"] !== null), snapshot };
}

function finished({ finish }: Items, row: ItemRow): string {
  const item = row["item"] ?? "null";
  return finish === undefined ? item : finish(item, row);
}
