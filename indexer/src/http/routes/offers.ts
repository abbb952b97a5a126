import {
  addressSchema,
  bytes32Schema,
  bytesSchema,
  offerSchema,
  traitBits,
  traitNames,
  ZERO_ADDRESS,
} from "@berth/protocol";
import { z } from "zod";
import { createHolds, type Holds } from "../../book/holds.ts";
import { type OfferRow, offers } from "../../store/orders.ts";
import { loadRows, selectRows } from "../../store/rows.ts";
import { type NodeRow, nodes } from "../../store/tables.ts";
import { createConditions } from "../conditions.ts";
import { decodeCursor, pageOf } from "../cursor.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { paging, seconds } from "./inputs.ts";

export const postOffer = route({
  method: "post",
  path: "/offers",
  summary: "Hand in a signed offer. It takes the place of the node's older one and lives until it expires.",
  body: z.strictObject({ offer: offerSchema, signature: bytesSchema }),
  status: 202,
  answer: z.strictObject({ offerHash: shape.bytes32 }),
  problems: [
    "ORDER_INVALID",
    "OFFER_EXPIRED",
    "OFFER_ENDS_TOO_LATE",
    "NODE_UNKNOWN",
    "WRONG_EPOCH",
    "BAD_SIGNATURE",
    "OFFER_SUPERSEDED",
    "TOO_MANY_OFFERS",
    "INTAKE_BUSY",
  ],
  async handle({ body, sender }, { intake }) {
    return { offerHash: await intake.takeOffer({ sender }, body.offer, body.signature) };
  },
});

/** What an offer charges for each resource, as `rateX18` adds it up. */
const RATES = {
  cpuMilli: "cpuRateX18",
  memoryMiB: "memoryRateX18",
  diskMiB: "diskRateX18",
  gpus: "gpuRateX18",
} as const;
const atLeast = z.coerce
  .number()
  .int()
  .min(0)
  .max(2 ** 32 - 1)
  .optional()
  .meta({ description: "At least so much offered" });

export const listOffers = route({
  method: "get",
  path: "/offers",
  summary: "Offers that count now, in the order in which they came in.",
  query: z.strictObject({
    token: addressSchema.optional(),
    operator: addressSchema.optional(),
    requester: addressSchema.optional().meta({ description: "Only offers that this requester may take" }),
    cpuMilli: atLeast,
    memoryMiB: atLeast,
    diskMiB: atLeast,
    gpus: atLeast,
    traits: z
      .string()
      .max(500)
      .transform((list) => list.split(","))
      .pipe(z.array(z.enum(traitNames)))
      .optional()
      .meta({ description: `All of these, separated by commas: ${traitNames.join(", ")}` }),
    gpuModel: bytes32Schema.optional(),
    region: bytes32Schema.optional(),
    seconds: seconds.default(3600).meta({ description: "For how long `maxPrice` must last" }),
    maxPrice: z
      .string()
      .regex(/^[0-9]{1,78}$/)
      .optional()
      .meta({ description: "Token units, at most, for `seconds` of the resources that were asked for" }),
    expiresAfter: seconds.optional().meta({ description: "Still open at this time, in unix seconds" }),
    ...paging,
  }),
  answer: shape.pageSchema(shape.offerItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID"],
  async handle({ query: asked }, context) {
    const { db, now, matcher } = context;
    const { limit } = asked;
    const [after] = (await decodeCursor(db.query, z.tuple([z.int()]), asked.cursor)) ?? [0];
    const has = (member: string) => `(t.offer->>'${member}')::numeric`;
    const filter = createConditions()
      .and("t.seq > ?::bigint", after)
      .and("t.expires_at >= ?::bigint", Math.max(now(), asked.expiresAfter ?? 0))
      .and("t.token = unhex(?)", asked.token)
      .and("t.operator = unhex(?)", asked.operator)
      .and(`t.offer->>'requester' IN ('${ZERO_ADDRESS}', ?)`, asked.requester)
      .and("lower(t.offer->>'gpuModel') = ?", asked.gpuModel)
      .and("lower(t.offer->>'region') = ?", asked.region)
      .and(
        `NOT EXISTS (SELECT 1 FROM json_array_elements_text(?::json) bit
           WHERE mod(div(${has("traits")}, power(2::numeric, bit.value::numeric)), 2) = 0)`,
        asked.traits?.map((name) => traitBits[name]),
      );
    const costs: string[] = [];
    for (const [member, rate] of Object.entries(RATES)) {
      const amount = asked[member as keyof typeof RATES];
      filter.and(`${has(member)} >= ?::numeric`, amount);
      if (amount !== undefined && asked.maxPrice !== undefined) costs.push(`${amount} * ${has(rate)}`);
    }
    const charge = `ceil((${["0", ...costs].join(" + ")}) * ${asked.seconds} / 1000000000000000000)`;
    filter.and(`${has("baseCharge")} + ${charge} <= ?::numeric`, asked.maxPrice);
    const rows = await selectRows(
      db.query,
      offers,
      `JOIN nodes n ON n.operator = t.operator AND n.index = t.index
         AND n.key = t.signer AND n.epoch = (t.offer->>'epoch')::bigint
       ${filter.where} ORDER BY t.seq LIMIT ${limit + 1}`,
      filter.params,
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
