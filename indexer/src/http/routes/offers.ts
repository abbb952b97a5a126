import {
  type Address,
  addressSchema,
  bytes32Schema,
  offerSchema,
  traitBits,
  traitNames,
  ZERO_ADDRESS,
} from "@berth/protocol";
import { z } from "zod";
import { createHolds, type Holds } from "../../book/holds.ts";
import { signatureSchema } from "../../book/order-json.ts";
import { sqlName } from "../../store/table.ts";
import { createConditions } from "../conditions.ts";
import { decodeCursor } from "../cursor.ts";
import { type Items, type List, readPage } from "../page.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { hex, json, number, object, text } from "../sql-json.ts";
import type { View } from "../view.ts";
import { paging, seconds } from "./inputs.ts";

export const postOffer = route({
  method: "post",
  path: "/offers",
  summary: "Hand in a signed offer. It takes the place of the node's older one and lives until it expires.",
  body: z.strictObject({ offer: offerSchema, signature: signatureSchema }),
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
  async handle({ body, sender }, { intake, changes }) {
    const offerHash = await intake.takeOffer({ sender }, body.offer, body.signature);
    changes.wake(true);
    return { offerHash };
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
    const { now, matcher } = context;
    const cursor = decodeCursor(z.tuple([z.int()]), asked.cursor);
    const has = (member: string) => `(t.offer->>'${member}')::numeric`;
    const filter = createConditions()
      .and("t.seq > ?::bigint", cursor?.key[0] ?? 0)
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
    const holds = createHolds(matcher?.holds() ?? []);
    const reading = { view: NOW, conditions: filter, cursor, context };
    const { json } = await readPage(OFFERS, offerItems(holds), reading, asked.limit);
    return json;
  },
});

/** Those that count: of a key and an epoch that their node still has. */
const OFFERS: List = {
  from: `offers t JOIN nodes n ON n.operator = t.operator AND n.index = t.index
    AND n.key = t.signer AND n.epoch = (t.offer->>'epoch')::bigint`,
  order: ["seq"],
  offChain: true,
  key: ({ seq }) => [Number(seq)],
};
const NOW: View = { finality: "latest", height: undefined };

function offerItems(holds: Holds): Items {
  return {
    joins: "LEFT JOIN nodes m ON m.operator = p.operator AND m.index = p.index",
    item: OFFER,
    extra: { seq: "p.seq::text", node: NODE },
    finish: (item, { node }) =>
      `{"freeCapacity":${JSON.stringify(freeCapacity(JSON.parse(node ?? "null"), holds))},${item.slice(1)}`,
  };
}

const OFFER = object({
  offerHash: hex("p.offer_hash"),
  offer: json("p.offer"),
  signature: hex("p.signature"),
  receivedAt: number("p.received_at_ms / 1000"),
  contentUrl: text("nullif(m.content_url, '')"),
});
const RESOURCES = ["cpuMilli", "memoryMiB", "diskMiB", "gpus"] as const;
type Resources = Record<(typeof RESOURCES)[number], number>;
interface Capacity {
  operator: Address;
  index: number;
  limits: Resources | null;
  offered: Resources;
  used: Resources;
}
const NODE = object({
  operator: hex("p.operator"),
  index: number("p.index"),
  limits: json("m.limits"),
  offered: object(Object.fromEntries(RESOURCES.map((name) => [name, number(`(p.offer->>'${name}')`)]))),
  used: object(Object.fromEntries(RESOURCES.map((name) => [name, number(`m.${sqlName(name)}`)]))),
});

/** What the offer and the operator's limits leave, without what runs and what is being matched. */
function freeCapacity({ operator, index, limits, offered, used }: Capacity, holds: Holds): Resources | null {
  if (limits === null) return null;
  const held = holds.use(operator, index);
  const free = (name: keyof Resources) => Math.max(0, Math.min(offered[name], limits[name]) - used[name] - held[name]);
  return { cpuMilli: free("cpuMilli"), memoryMiB: free("memoryMiB"), diskMiB: free("diskMiB"), gpus: free("gpus") };
}
