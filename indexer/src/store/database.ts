/** Runs one statement; parameters are `$1`, `$2` … and its rows come back as plain objects. */
export type Query = <Row = Record<string, unknown>>(sql: string, params?: readonly unknown[]) => Promise<Row[]>;

/** Appends to `target`, a table with its columns in brackets, what `copyLine` made of each row; bytes after `BINARY`. */
export type Copy = (target: string, lines: string | Uint8Array<ArrayBuffer>) => Promise<void>;

/** PostgreSQL, embedded or behind a URL: the same dialect, so the same SQL. */
export interface Database {
  /** A server stops one that takes too long: throws QUERY_TOO_SLOW, or DATABASE_BUSY when no connection gets free. */
  query: Query;
  /** All or nothing: what `work` writes is committed when it resolves and undone when it throws. */
  transaction<T>(work: (query: Query, copy: Copy) => Promise<T>): Promise<T>;
  /** What `work` reads, in several statements, is of one moment. It can write nothing. */
  snapshot<T>(work: (query: Query) => Promise<T>): Promise<T>;
  /** Several statements without parameters or results, all or nothing. */
  script(sql: string): Promise<void>;
  close(): Promise<void>;
}

/** One moment for all that is read after it, and nothing is written. */
export const BEGIN_SNAPSHOT = "TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";

/** A row in the text form of COPY, of values that a column's `copy` wrote. */
export function copyLine(values: readonly string[]): string {
  return `${values.join("\t")}\n`;
}

/** `0x` and digits, as bytes. */
export function copyHex(value: string): string {
  return `\\\\x${value.slice(2)}`;
}
