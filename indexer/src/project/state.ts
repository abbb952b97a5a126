import type { Row } from "../store/table.ts";
import type { ProjectionName, projections } from "../store/tables.ts";

export type ProjectionRow<N extends ProjectionName> = Row<(typeof projections)[N]>;
export type ProjectionKey<N extends ProjectionName> = {
  [name in (typeof projections)[N]["key"][number]]: name extends keyof ProjectionRow<N>
    ? ProjectionRow<N>[name]
    : never;
};

/** The projected rows as events see and change them. Rows are never changed in place: `put` takes a new one. */
export interface State {
  get<N extends ProjectionName>(name: N, key: ProjectionKey<N>): Promise<ProjectionRow<N> | undefined>;
  put<N extends ProjectionName>(name: N, row: ProjectionRow<N>): void;
}
