import { MarketError } from "@berth/protocol";
import type { Conditions } from "./conditions.ts";
import type { Cursor, Tip } from "./cursor.ts";
import type { ApiContext } from "./route.ts";
import type { View } from "./view.ts";

/** What a statement read: the same number of changes in the same database is the same content. */
export interface Snapshot {
  /** Number of the newest event of the change stream. */
  seq: number;
  /** Which database this is. */
  home: string;
  /** The newest block that the view has; undefined before the first. */
  tip: Tip | undefined;
}

/** The reading of `snapshotSql`. */
type Read = [
  seq: number,
  home: string,
  number: number | null,
  hash: string,
  first: number | null,
  cursorStands: boolean,
];

/**
 * A value of a statement that says what the statement reads. All of it is of one moment, so a page, the block that it names
 * and whether its cursor still stands belong together.
 */
export function snapshotSql({ height }: View, { param }: Pick<Conditions, "param">, cursor?: Cursor): string {
  const [number, hash, home] = (cursor?.tip ?? [null, null, null]).map((value) => param(value));
  // A cursor's block is on the chain when it is kept, or was kept here once, is too deep to go, and never went.
  const stands = `CASE
    WHEN ${number}::bigint IS NULL THEN true
    WHEN EXISTS (SELECT 1 FROM blocks k WHERE k.number = ${number}::bigint AND k.hash = unhex(${hash}::text)) THEN true
    ELSE ${home}::text = c.home AND ${number}::bigint < (SELECT min(k.number) FROM blocks k)
      AND NOT EXISTS (SELECT 1 FROM orphans o WHERE o.hash = unhex(${hash}::text)) END`;
  return `(SELECT json_build_array(c.seq, c.home, b.number, hex(b.hash), (SELECT min(k.number) FROM blocks k), ${stands})::text
    FROM change_counter c LEFT JOIN
      (SELECT k.number, k.hash FROM blocks k ${height === undefined ? "" : `WHERE k.number <= ${param(height)}::bigint`}
       ORDER BY k.number DESC LIMIT 1) b ON true)`;
}

/**
 * Throws CURSOR_REORGED when the page before was made from a block that is no longer on the chain, and FINALITY_UNKNOWN when
 * the view is of a block deeper than can be shown.
 */
export function readSnapshot(
  text: string,
  { finality, height }: View,
  { deployment }: Pick<ApiContext, "deployment">,
  cursor?: Cursor,
): Snapshot {
  const [seq, home, number, hash, first, cursorStands] = JSON.parse(text) as Read;
  // What the first block that is kept changed itself may not be undone; before the contracts there was nothing to change.
  if (height !== undefined && height < (first ?? 0) && (first ?? 0) >= deployment.fromBlock) {
    throw new MarketError("FINALITY_UNKNOWN", `The ${finality} block ${height} is deeper than this indexer can show.`, {
      hint: "Ask for finality=latest, and count confirmations from the blocks that the answers name.",
      retryable: true,
    });
  }
  if (!cursorStands) {
    throw new MarketError(
      "CURSOR_REORGED",
      `The chain was reorganised, or this indexer never followed it: block ${cursor?.tip?.[0]} of the page before is gone.`,
      { hint: "Start the list again without a cursor. With finality=finalized this does not happen." },
    );
  }
  return { seq, home, tip: number === null ? undefined : [number, hash] };
}
