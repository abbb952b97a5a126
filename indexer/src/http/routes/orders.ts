import { z } from "zod";
import { readOrders } from "../../peers/order-log.ts";
import { PAGE } from "../../peers/pull.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";

export const listOrders = route({
  method: "get",
  path: "/orders",
  summary:
    "Signed offers and requests in the order in which they came in, for other indexers. Each proves itself. Ask again with `next` as `after`; when `log` is another one, start again from 0.",
  query: z.strictObject({
    after: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0),
    limit: z.coerce.number().int().min(1).max(PAGE).default(PAGE),
  }),
  answer: shape.orderPage,
  problems: ["QUERY_INVALID"],
  handle: ({ query: { after, limit } }, { db, now }) => readOrders(db.query, { after, limit, now: now() }),
});

export const listPeers = route({
  method: "get",
  path: "/peers",
  summary: "Other indexers that this one reads orders from, and how that goes.",
  answer: z.strictObject({ items: z.array(shape.peerItem) }),
  handle: (_, { peers }) => ({
    items: peers.status().map(({ answeredAtMs, lastError, ...peer }) => ({
      ...peer,
      answeredAt: answeredAtMs === null ? null : Math.floor(answeredAtMs / 1000),
      lastError: lastError === null ? null : { code: lastError.code, message: lastError.message },
    })),
  }),
});
