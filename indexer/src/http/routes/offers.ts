import { addressSchema, bytesSchema, offerSchema } from "@berth/protocol";
import { z } from "zod";
import { createHolds, type Holds } from "../../book/holds.ts";
import { takeOffer } from "../../book/take-offer.ts";
import { type OfferRow, offers } from "../../store/orders.ts";
import { loadRows, selectRows } from "../../store/rows.ts";
import { type NodeRow, nodes } from "../../store/tables.ts";
import { decodeCursor, pageOf } from "../cursor.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { requireCaughtUp } from "./caught-up.ts";
import { paging } from "./inputs.ts";

export const postOffer = route({
  method: "post",
  path: "/offers",
  summary: "Hand in a signed offer. It takes the place of the node's older one and lives until it expires.",
  body: z.strictObject({ offer: offerSchema, signature: bytesSchema }),
  status: 202,
  answer: z.strictObject({ offerHash: shape.bytes32 }),
  problems: ["ORDER_INVALID", "OFFER_EXPIRED", "NODE_UNKNOWN", "WRONG_EPOCH", "BAD_SIGNATURE", "OFFER_SUPERSEDED"],
  async handle({ body }, context) {
    requireCaughtUp(context);
    const { db, live, deployment, rpc, now, matcher } = context;
    const options = { rpc, db, live, deployment, now: now(), nowMs: Date.now() };
    const offerHash = await takeOffer(body.offer, body.signature, options);
    matcher?.wake();
    return { offerHash };
  },
});

export const listOffers = route({
  method: "get",
  path: "/offers",
  summary: "Offers that count now, in the order in which they came in.",
  query: z.strictObject({ token: addressSchema.optional(), operator: addressSchema.optional(), ...paging }),
  answer: shape.pageSchema(shape.offerItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID"],
  async handle({ query: { token, operator, limit, cursor } }, context) {
    const { db, now, matcher } = context;
    const [after] = decodeCursor(z.tuple([z.int()]), cursor) ?? [0];
    const rows = await selectRows(
      db.query,
      offers,
      `JOIN nodes n ON n.operator = t.operator AND n.index = t.index
         AND n.key = t.signer AND n.epoch = (t.offer->>'epoch')::bigint
       WHERE t.seq > $1::bigint AND t.expires_at >= $2::bigint
         AND ($3::text IS NULL OR t.token = unhex($3)) AND ($4::text IS NULL OR t.operator = unhex($4))
       ORDER BY t.seq LIMIT $5::int`,
      [String(after), String(now()), token ?? null, operator ?? null, limit + 1],
    );
    const keys = rows.map((row) => ({ operator: row.operator, index: row.index }));
    const found = await loadRows(db.query, nodes, uniqueNodes(keys));
    const holds = createHolds(matcher?.holds() ?? []);
    const nodeOf = (row: OfferRow) => found.find((node) => node.operator === row.operator && node.index === row.index);
    return pageOf(rows, limit, { key: ({ seq }) => [seq], item: (row) => offerItem(row, nodeOf(row), holds) });
  },
});

function offerItem(row: OfferRow, node: NodeRow | undefined, holds: Holds) {
  const { offerHash, offer, signature, receivedAtMs } = row;
  return {
    offerHash,
    offer,
    signature,
    receivedAt: Math.floor(receivedAtMs / 1000),
    freeCapacity: freeCapacity(row, node, holds),
    contentUrl: node?.contentUrl || null,
  };
}

/** What the offer and the operator's limits leave, without what runs and what is being matched. */
function freeCapacity({ offer }: OfferRow, node: NodeRow | undefined, holds: Holds) {
  const limits = node?.limits;
  if (node === undefined || limits === null || limits === undefined) return null;
  const held = holds.use(node.operator, node.index);
  const free = (field: "cpuMilli" | "memoryMiB" | "diskMiB" | "gpus") =>
    Math.max(0, Math.min(Number(offer[field]), limits[field]) - node[field] - held[field]);
  return {
    cpuMilli: free("cpuMilli"),
    memoryMiB: free("memoryMiB"),
    diskMiB: free("diskMiB"),
    gpus: free("gpus"),
  };
}

export function uniqueNodes<K extends { operator: string; index: number }>(keys: readonly K[]): K[] {
  return [...new Map(keys.map((key) => [`${key.operator}|${key.index}`, key])).values()];
}
