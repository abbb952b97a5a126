/** Text and numbers as PostgreSQL takes them from both drivers. */
type Value = string | number | readonly number[] | null;

/** The WHERE of a list: only what was asked for is in the statement, so that the planner sees what counts. */
export interface Conditions {
  /** `sql` with `?` where `value` goes; nothing when a value is given and undefined. */
  and(sql: string, ...value: [(Value | undefined)?]): Conditions;
  /** The place of one more parameter. */
  param(value: Value): string;
  readonly where: string;
  readonly params: readonly unknown[];
}

export function createConditions(...always: string[]): Conditions {
  const clauses = [...always];
  const params: unknown[] = [];
  const self: Conditions = {
    and(sql, ...values) {
      const [value] = values;
      if (values.length === 0) clauses.push(sql);
      else if (value !== undefined) clauses.push(sql.replaceAll("?", self.param(value)));
      return self;
    },
    param(value) {
      params.push(value === null ? null : Array.isArray(value) ? JSON.stringify(value) : String(value));
      return `$${params.length}`;
    },
    get where() {
      return clauses.length === 0 ? "" : `WHERE ${clauses.join(" AND ")}`;
    },
    params,
  };
  return self;
}
