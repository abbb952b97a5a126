import { bytes32Schema, type Hex, MarketError } from "@berth/protocol";
import { z } from "zod";
import { proofOf } from "../../fairness/merkle.ts";
import type { Leaf } from "../../fairness/snapshot.ts";
import { leafOf, leavesOf, snapshotOf } from "../../fairness/snapshots.ts";
import { createTrees } from "../../fairness/trees.ts";
import type { Query } from "../../store/database.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";

const rootParams = z.strictObject({ root: bytes32Schema });
const leafText = z.string().meta({ description: "The text of a leaf, as it was hashed" });
/** Questions that one proof counts as: for the first of a snapshot the whole tree is made. */
const PROOF_COST = 50;
const trees = createTrees(2);

export const getSnapshot = route({
  method: "get",
  path: "/snapshots/{root}",
  summary: "What a decision of the matcher saw besides the offers, by the root that its transactions carry.",
  params: rootParams,
  answer: z.strictObject({
    root: shape.bytes32,
    round: z.string().meta({ description: "The text of the round, as it was hashed" }),
  }),
  problems: ["SNAPSHOT_UNKNOWN"],
  async handle({ params: { root } }, { db }) {
    return { root, round: (await find(db.query, root)).text };
  },
});

export const listLeaves = route({
  method: "get",
  path: "/snapshots/{root}/leaves",
  summary: "The offers that a decision saw, in the order of their hashes, each as the text that was hashed.",
  params: rootParams,
  query: z.strictObject({ after: bytes32Schema.optional().meta({ description: "`next` of the page before" }) }),
  answer: z.strictObject({ items: z.array(leafText), next: shape.bytes32.nullable() }),
  problems: ["SNAPSHOT_UNKNOWN"],
  async handle({ params: { root }, query: { after } }, { db }) {
    const { round } = await find(db.query, root);
    const items = await leavesOf(db.query, round, after);
    const last = items.at(-1);
    return { items, next: last === undefined ? null : (JSON.parse(last) as Leaf).offerHash };
  },
});

export const proveOffer = route({
  method: "get",
  path: "/snapshots/{root}/offers/{offerHash}",
  summary: "The proof that a decision saw an offer. It counts as fifty questions.",
  params: z.strictObject({ root: bytes32Schema, offerHash: bytes32Schema }),
  answer: z.strictObject({
    leaf: leafText,
    place: z.int().min(0),
    siblings: z.array(shape.bytes32.nullable()).meta({ description: "From the leaf up; null: rises as it is" }),
    offers: z.int().min(0).meta({ description: "Leaves of the tree" }),
  }),
  problems: ["SNAPSHOT_UNKNOWN", "OFFER_NOT_IN_SNAPSHOT"],
  async handle({ params: { root, offerHash }, sender }, { db, readLimit }) {
    for (let i = 1; i < PROOF_COST; i++) readLimit.take(sender);
    const found = await find(db.query, root);
    const leaf = await leafOf(db.query, found.round, offerHash);
    if (leaf === undefined) {
      throw new MarketError("OFFER_NOT_IN_SNAPSHOT", `The decision of ${root} did not see offer ${offerHash}.`);
    }
    const { levels, places } = await trees.of(db.query, root, found);
    return { leaf, ...proofOf(levels, places.get(offerHash) as number), offers: places.size };
  },
});

async function find(query: Query, root: Hex) {
  const found = await snapshotOf(query, root);
  if (found !== undefined) return found;
  throw new MarketError("SNAPSHOT_UNKNOWN", `No snapshot with the root ${root} is kept here.`, {
    hint: "Ask the indexer whose matcher sent the transaction, within seven days.",
  });
}
