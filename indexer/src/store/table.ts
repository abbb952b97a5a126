import type { Hex } from "@berth/protocol";

/** How a value travels between a row object and SQL. Everything passes as JSON text, so both drivers agree. */
export interface Column<T> {
  /** SQL that turns the text `expression` into the stored type. */
  write(expression: string): string;
  /** SQL that turns the stored `expression` into text, a boolean or JSON. */
  read(expression: string): string;
  parse(value: unknown): T;
}

const column = <T>(type: string, parse: (value: unknown) => T): Column<T> => ({
  write: (expression) => `${expression}::${type}`,
  read: (expression) => `${expression}::text`,
  parse,
});

/** Bytes, stored as they are: half the size of their hexadecimal text. */
export const hex: Column<Hex> = {
  write: (expression) => `unhex(${expression})`,
  read: (expression) => `hex(${expression})`,
  parse: (value) => value as Hex,
};
/** Token units and other numbers of any size. */
export const amount = column("numeric", (value) => BigInt(value as string));
/** Numbers below 2^53. */
export const whole = column("bigint", Number);
export const text = column("text", String);
export const flag: Column<boolean> = {
  write: (expression) => `${expression}::boolean`,
  read: (expression) => expression,
  parse: Boolean,
};
/** A JSON document without bigints. */
export function json<T>(): Column<T> {
  return {
    write: (expression) => `${expression}::jsonb`,
    read: (expression) => expression,
    parse: (value) => (typeof value === "string" ? JSON.parse(value) : value) as T,
  };
}
export function orNull<T>(inner: Column<T>): Column<T | null> {
  return { ...inner, parse: (value) => (value === null || value === undefined ? null : inner.parse(value)) };
}

// biome-ignore lint/suspicious/noExplicitAny: a table of any columns
export type Columns = Record<string, Column<any>>;
export type RowOf<C extends Columns> = { [name in keyof C]: C[name] extends Column<infer T> ? T : never };

/** One projected table: its key, and its columns in the words of TypeScript. */
export interface Table<C extends Columns = Columns, K extends string = string> {
  name: string;
  key: readonly K[];
  columns: C;
}
export type Row<T extends Table> = RowOf<T["columns"]>;

export function table<C extends Columns, const K extends keyof C & string>(
  name: string,
  key: readonly K[],
  columns: C,
): Table<C, K> {
  return { name, key, columns };
}

/** `memoryMiB` is the column `memory_mib`. */
export function sqlName(name: string): string {
  return name
    .replace("MiB", "Mib")
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase();
}

/** One string per row identity, the same in memory and in the undo log. */
export function keyOf(of: Table, row: Record<string, unknown>): string {
  return of.key.map((name) => String(row[name])).join("|");
}

export function selectList(of: Table, alias = ""): string {
  const prefix = alias === "" ? "" : `${alias}.`;
  return Object.entries(of.columns)
    .map(([name, { read }]) => `${read(`${prefix}"${sqlName(name)}"`)} AS "${name}"`)
    .join(", ");
}

export function parseRow<T extends Table>(of: T, row: Record<string, unknown>): Row<T> {
  return Object.fromEntries(Object.entries(of.columns).map(([name, { parse }]) => [name, parse(row[name])])) as Row<T>;
}
