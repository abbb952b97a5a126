import { toJson } from "@berth/protocol";
import { type Copy, copyLine, type Query } from "./database.ts";
import { parseRow, type Row, selectList, sqlName, type Table } from "./table.ts";

/** The rows of `of` with the given keys, those that exist. One statement, whatever the number. */
export async function loadRows<T extends Table>(query: Query, of: T, keys: readonly object[]): Promise<Row<T>[]> {
  if (keys.length === 0) return [];
  const found = await query(
    `SELECT ${selectList(of, "t")} FROM "${of.name}" t JOIN ${recordset(of, of.key)} ON ${onKey(of, "t")}`,
    [toJson(keys)],
  );
  return found.map((row) => parseRow(of, row));
}

/** Every row that `where` (SQL after FROM) selects; `from` stands in for the table. */
export async function selectRows<T extends Table>(
  query: Query,
  of: T,
  where = "",
  params: readonly unknown[] = [],
  from = `"${of.name}"`,
): Promise<Row<T>[]> {
  const found = await query(`SELECT ${selectList(of, "t")} FROM ${from} t ${where}`, params);
  return found.map((row) => parseRow(of, row));
}

/** Inserts or replaces rows by key. */
export async function upsertRows<T extends Table>(query: Query, of: T, rows: readonly Row<T>[]): Promise<void> {
  if (rows.length === 0) return;
  const names = Object.keys(of.columns);
  const rest = names.filter((name) => !of.key.includes(name));
  const sets = rest.map((name) => `"${sqlName(name)}" = EXCLUDED."${sqlName(name)}"`);
  await query(
    `INSERT INTO "${of.name}" (${names.map((name) => `"${sqlName(name)}"`).join(", ")})
     SELECT ${names.map((name) => of.columns[name]?.write(`r."${name}"`)).join(", ")} FROM ${recordset(of, names)}
     ON CONFLICT (${of.key.map((name) => `"${sqlName(name)}"`).join(", ")})
     DO ${sets.length === 0 ? "NOTHING" : `UPDATE SET ${sets.join(", ")}`}`,
    [JSON.stringify(rows.map(plain))],
  );
}

/** Appends rows whose keys are not there: for many of them several times as fast as `upsertRows`. */
export async function copyRows<T extends Table>(copy: Copy, of: T, rows: readonly Row<T>[]): Promise<void> {
  if (rows.length === 0) return;
  const columns = Object.entries(of.columns);
  const lines = rows.map((row) => copyLine(columns.map(([name, column]) => column.copy(row[name]))));
  await copy(`"${of.name}" (${columns.map(([name]) => `"${sqlName(name)}"`).join(", ")})`, lines.join(""));
}

/** With decimal strings for bigints, which are never deeper in a row: `toJson` would look at every value of it. */
export function plain(row: object): object {
  const copy: Record<string, unknown> = { ...row };
  for (const name in copy) if (typeof copy[name] === "bigint") copy[name] = String(copy[name]);
  return copy;
}

export async function deleteRows(query: Query, of: Table, keys: readonly object[]): Promise<void> {
  if (keys.length === 0) return;
  await query(`DELETE FROM "${of.name}" t USING ${recordset(of, of.key)} WHERE ${onKey(of, "t")}`, [toJson(keys)]);
}

function recordset(_of: Table, names: readonly string[]): string {
  return `json_to_recordset($1::json) AS r(${names.map((name) => `"${name}" text`).join(", ")})`;
}

function onKey(of: Table, alias: string): string {
  return of.key.map((name) => `${alias}."${sqlName(name)}" = ${of.columns[name]?.write(`r."${name}"`)}`).join(" AND ");
}
