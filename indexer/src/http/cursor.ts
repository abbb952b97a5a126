import { MarketError } from "@berth/protocol";
import { z } from "zod";
import type { Snapshot } from "./snapshot.ts";

/** Number and hash of the newest block that a page was made from. */
export type Tip = readonly [number: number, hash: string];

/** Where the next page starts: the key of the last item, the chain that it was on, and whose tables those were. */
export interface Cursor<Key = unknown> {
  key: Key;
  /** Null: the list is not of the chain. */
  tip: readonly [...Tip, home: string] | null;
}

const tipSchema = z.tuple([z.int().min(0), z.string().regex(/^0x[0-9a-f]{64}$/), z.string().regex(/^[0-9a-f]{1,32}$/)]);
const cursorSchema = z.tuple([z.array(z.unknown()), tipSchema.nullable()]);

/** Opaque to callers. */
export function encodeCursor(key: readonly (string | number)[], snapshot?: Snapshot): string {
  const { tip, home } = snapshot ?? {};
  return Buffer.from(JSON.stringify([key, tip === undefined ? null : [...tip, home]])).toString("base64url");
}

/** Throws CURSOR_INVALID. Whether its block still stands is for the statement to say that reads the page. */
export function decodeCursor<Key>(schema: z.ZodType<Key>, cursor: string | undefined): Cursor<Key> | undefined {
  if (cursor === undefined) return undefined;
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
