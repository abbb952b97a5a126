import { MarketError } from "@berth/protocol";
import type { z } from "zod";

/** Where the next page starts: the key of the last item, opaque to callers. */
function encodeCursor(key: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(key)).toString("base64url");
}

/** Throws CURSOR_INVALID. */
export function decodeCursor<T>(schema: z.ZodType<T>, cursor: string | undefined): T | undefined {
  if (cursor === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(Buffer.from(cursor, "base64url").toString()));
  } catch (cause) {
    throw new MarketError("CURSOR_INVALID", "The cursor is not one that this list gave out.", {
      hint: "Take `nextCursor` of the page before, or start again without a cursor.",
      cause,
    });
  }
}

export interface Page<T> {
  items: T[];
  nextCursor: string | null;
}

/** Cuts one item too many off: it only shows that there is more. */
export function pageOf<Row, T>(
  rows: readonly Row[],
  limit: number,
  { key, item }: { key: (row: Row) => (string | number)[]; item: (row: Row) => T },
): Page<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(item),
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(key(last)) : null,
  };
}
