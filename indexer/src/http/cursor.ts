import { MarketError } from "@berth/protocol";
import { z } from "zod";
import type { Query } from "../store/database.ts";

/** Number and hash of the newest block that a page was made from. */
export type Tip = readonly [number: number, hash: string];

const cursorSchema = z.tuple([
  z.array(z.unknown()),
  z.tuple([z.int().min(0), z.string().regex(/^0x[0-9a-f]{64}$/)]).nullable(),
]);

/** Where the next page starts: the key of the last item and the chain that it was on, opaque to callers. */
function encodeCursor(key: readonly (string | number)[], tip: Tip | undefined): string {
  return Buffer.from(JSON.stringify([key, tip ?? null])).toString("base64url");
}

/** Throws CURSOR_INVALID, and CURSOR_REORGED when the page before was made from a block that is no longer on the chain. */
export async function decodeCursor<T>(
  query: Query,
  schema: z.ZodType<T>,
  cursor: string | undefined,
): Promise<T | undefined> {
  if (cursor === undefined) return undefined;
  const { key, tip } = parse(schema, cursor);
  if (tip !== null && !(await isOnChain(query, tip))) {
    throw new MarketError("CURSOR_REORGED", `The chain was reorganised: block ${tip[0]} of the page before is gone.`, {
      hint: "Start the list again without a cursor. With finality=finalized this does not happen.",
    });
  }
  return key;
}

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

/** Cuts one item too many off: it only shows that there is more. */
export function pageOf<Row, T>(
  rows: readonly Row[],
  limit: number,
  { key, item, tip }: { key: (row: Row) => (string | number)[]; item: (row: Row) => T; tip?: Tip | undefined },
): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(item),
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(key(last), tip) : null,
  };
}

function parse<T>(schema: z.ZodType<T>, cursor: string): { key: T; tip: Tip | null } {
  try {
    const [key, tip] = cursorSchema.parse(JSON.parse(Buffer.from(cursor, "base64url").toString()));
    return { key: schema.parse(key), tip };
  } catch (cause) {
    throw new MarketError("CURSOR_INVALID", "The cursor is not one that this list gave out.", {
      hint: "Take `nextCursor` of the page before, or start again without a cursor.",
      cause,
    });
  }
}

/** What lies below the blocks that are kept can no longer be rolled back. */
async function isOnChain(query: Query, [number, hash]: Tip): Promise<boolean> {
  const [row] = await query<{ first: string | null; hash: string | null }>(
    `SELECT (SELECT min(number) FROM blocks)::text AS first,
            (SELECT hex(b.hash) FROM blocks b WHERE b.number = $1::bigint) AS hash`,
    [String(number)],
  );
  if (row?.hash != null) return row.hash === hash;
  return row?.first != null && number < Number(row.first);
}
