import type { Hex } from "@berth/protocol";
import { blankOf } from "../blank.ts";
import { copyHex } from "./database.ts";

/** How a value travels between a row object and SQL. Everything passes as text, so both drivers agree. */
export interface Column<T> {
  /** SQL that turns the text `expression` into the stored type. */
  write(expression: string): string;
  /** SQL that turns the stored `expression` into text, a boolean or JSON. */
  read(expression: string): string;
  parse(value: unknown): T;
  /** As COPY reads it. */
  copy(value: T): string;
}

const column = <T>(type: string, parse: (value: unknown) => T, copy: (value: T) => string = String): Column<T> => ({
  write: (expression) => `${expression}::${type}`,
  read: (expression) => `${expression}::text`,
  parse,
  copy,
});

/** Bytes, stored as they are: half the size of their hexadecimal text. */
export const hex: Column<Hex> = {
  write: (expression) => `unhex(${expression})`,
  read: (expression) => `hex(${expression})`,
  parse: (value) => value as Hex,
  copy: copyHex,
};
/** Token units and other numbers of any size. */
export const amount = column("numeric", (value) => BigInt(value as string));
/** Numbers below 2^53. */
export const whole = column("bigint", Number);
export const text = column("text", String, copyText);
export const flag: Column<boolean> = {
  write: (expression) => `${expression}::boolean`,
  read: (expression) => expression,
  parse: Boolean,
  copy: (value) => (value ? "t" : "f"),
};
/** A JSON document without bigints. */
export function json<T>(type: "json" | "jsonb" = "jsonb"): Column<T> {
  return {
    write: (expression) => `${expression}::${type}`,
    read: (expression) => expression,
    parse: (value) => (typeof value === "string" ? JSON.parse(value) : value) as T,
    copy: (value) => copyText(JSON.stringify(value)),
  };
}
/** The same, kept as the text that it was written as: several times faster to write than what can be searched. */
export const document = <T>(): Column<T> => json("json");

export function orNull<T>(inner: Column<T>): Column<T | null> {
  return {
    ...inner,
    parse: (value) => (value === null || value === undefined ? null : inner.parse(value)),
    copy: (value) => (value === null ? "\\N" : inner.copy(value)),
  };
}

/** Backslashes and the ends of values and lines mean something to COPY. */
function copyText(value: string): string {
  return /[\\\t\n\r]/.test(value) ? value.replace(/[\\\t\n\r]/g, (found) => COPY_ESCAPES[found] ?? found) : value;
}
const COPY_ESCAPES: Record<string, string> = { "\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r" };

// biome-ignore lint/suspicious/noExplicitAny: a table of any columns
export type Columns = Record<string, Column<any>>;
export type RowOf<C extends Columns> = { [name in keyof C]: C[name] extends Column<infer T> ? T : never };

/** One projected table: its key, and its columns in the words of TypeScript. */
export interface Table<C extends Columns = Columns, K extends string = string> {
  name: string;
  key: readonly K[];
  columns: C;
  /** A row without values. */
  blank: Readonly<Record<string, null>>;
}
export type Row<T extends Table> = RowOf<T["columns"]>;

export function table<C extends Columns, const K extends keyof C & string>(
  name: string,
  key: readonly K[],
  columns: C,
): Table<C, K> {
  return { name, key, columns, blank: blankOf(Object.keys(columns)) };
}

/** `memoryMiB` is the column `memory_mib`. */
export function sqlName(name: string): string {
  return name
    .replace("MiB", "Mib")
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase();
}

/** One string per row identity, the same in memory and in the undo log. */
export function keyOf({ key }: Table, row: Record<string, unknown>): string {
  let joined = String(row[key[0] as string]);
  for (let i = 1; i < key.length; i++) joined += `|${row[key[i] as string]}`;
  return joined;
}

export function selectList(of: Table, alias = ""): string {
  const prefix = alias === "" ? "" : `${alias}.`;
  return Object.entries(of.columns)
    .map(([name, { read }]) => `${read(`${prefix}"${sqlName(name)}"`)} AS "${name}"`)
    .join(", ");
}

export function parseRow<T extends Table>(of: T, row: Record<string, unknown>): Row<T> {
  const parsed: Record<string, unknown> = { ...of.blank };
  for (const name in of.columns) parsed[name] = of.columns[name]?.parse(row[name]);
  return parsed as Row<T>;
}
