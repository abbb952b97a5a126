import { toJson } from "@berth/protocol";
import type { Query } from "../store/database.ts";
import { offers, requests } from "../store/orders.ts";
import { selectRows } from "../store/rows.ts";

/** Orders in the order of their arrival, both kinds in one row of numbers. */
export interface OrderPage {
  /** Names this row of numbers: another name, another row. */
  log: string;
  items: LoggedOrder[];
  /** Ask after this one next time. */
  next: number;
  /** Is there more already? */
  more: boolean;
}

export type LoggedOrder = { seq: number } & (
  | { kind: "offer"; offer: object; signature: string }
  | {
      kind: "request";
      request: object;
      signature: string;
      payerSignature: string;
      operators: readonly string[] | null;
      sources: readonly string[];
    }
);

/**
 * Items of a page together, as JSON: orders grow after they were taken, and others read no page of more than 4 MiB. A single one
 * always goes out.
 */
export const PAGE_BYTES = 2 * 1024 * 1024;

/** Orders that others can still use and check: what expired, was matched or lost its node's key is left out. */
export async function readOrders(
  query: Query,
  { after, limit, now }: { after: number; limit: number; now: number },
): Promise<OrderPage> {
  const [top] = await query<{ id: string; seq: string }>(
    `SELECT l.id, greatest((SELECT max(o.seq) FROM offers o), (SELECT max(r.seq) FROM requests r), 0)::text AS seq
     FROM order_log l`,
  );
  // Numbers are given in the order of the commits, so nothing at or below this one is still to come.
  const newest = Number(top?.seq ?? 0);
  if (newest <= after) return { log: top?.id ?? "", items: [], next: after, more: false };
  const given = [String(after), String(newest), String(now), String(limit + 1)];
  const offerRows = await selectRows(
    query,
    offers,
    `JOIN nodes n ON n.operator = t.operator AND n.index = t.index
       AND n.key = t.signer AND n.epoch = (t.offer->>'epoch')::bigint
     WHERE t.seq > $1::bigint AND t.seq <= $2::bigint AND t.expires_at >= $3::bigint ORDER BY t.seq LIMIT $4::int`,
    given,
  );
  const requestRows = await selectRows(
    query,
    requests,
    `LEFT JOIN jobs j ON j.job_id = t.job_id
     WHERE t.seq > $1::bigint AND t.seq <= $2::bigint AND t.open_until >= $3::bigint
       AND (j.job_id IS NULL OR j.state = 'posted') ORDER BY t.seq LIMIT $4::int`,
    given,
  );
  const found: LoggedOrder[] = [
    ...offerRows.map(({ seq, offer, signature }) => ({ seq, kind: "offer" as const, offer, signature })),
    ...requestRows.map(({ seq, request, signature, payerSignature, operators, sources }) => {
      return { seq, kind: "request" as const, request, signature, payerSignature, operators, sources };
    }),
  ].sort((a, b) => a.seq - b.seq);
  const items = found.slice(0, Math.min(limit, fitting(found)));
  const more = found.length > items.length;
  const next = more ? (items.at(-1)?.seq ?? after) : newest;
  return { log: top?.id ?? "", items, next, more };
}

/** How many of them, from the first, fit into a page. */
function fitting(items: readonly LoggedOrder[]): number {
  let bytes = 0;
  const last = items.findIndex((item, i) => {
    bytes += Buffer.byteLength(toJson(item)) + 1;
    return bytes > PAGE_BYTES && i > 0;
  });
  return last === -1 ? items.length : last;
}
