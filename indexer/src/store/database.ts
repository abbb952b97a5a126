/** Runs one statement; parameters are `$1`, `$2` … and its rows come back as plain objects. */
export type Query = <Row = Record<string, unknown>>(sql: string, params?: readonly unknown[]) => Promise<Row[]>;

/** PostgreSQL, embedded or behind a URL: the same dialect, so the same SQL. */
export interface Database {
  query: Query;
  /** All or nothing: what `work` writes is committed when it resolves and undone when it throws. */
  transaction<T>(work: (query: Query) => Promise<T>): Promise<T>;
  /** Several statements without parameters or results, all or nothing. */
  script(sql: string): Promise<void>;
  close(): Promise<void>;
}
