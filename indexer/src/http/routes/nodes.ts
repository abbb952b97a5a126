import { addressSchema, didOf, type Hex, MarketError, meshAddress, meshSubnet, toJson } from "@berth/protocol";
import { z } from "zod";
import type { Query } from "../../store/database.ts";
import { selectRows } from "../../store/rows.ts";
import type { Row } from "../../store/table.ts";
import { acceptances, balances, type NodeRow, nodes, owed, type StakeRow, stakes } from "../../store/tables.ts";
import { createConditions } from "../conditions.ts";
import { decodeCursor, pageOf } from "../cursor.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { type View, viewOf } from "../view.ts";
import { finality, paging } from "./inputs.ts";

export const listNodes = route({
  method: "get",
  path: "/nodes",
  summary: "Nodes that were ever published, by operator and index.",
  query: z.strictObject({
    operator: addressSchema.optional(),
    state: z.enum(["published", "revoked"]).optional(),
    accepts: addressSchema
      .optional()
      .meta({ description: "A token, verifier or arbiter that its operator lets it sign for" }),
    finality,
    ...paging,
  }),
  answer: shape.pageSchema(shape.nodeItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID", "CURSOR_REORGED", "FINALITY_UNKNOWN"],
  async handle({ query: asked }, context) {
    const { db, deployment } = context;
    const view = await viewOf(asked.finality, context);
    const from = await decodeCursor(db.query, z.tuple([addressSchema, z.int()]), asked.cursor);
    const { limit, state } = asked;
    const filter = createConditions("(t.key IS NOT NULL OR t.revoked)")
      .and("t.operator = unhex(?)", asked.operator)
      .and("t.revoked = (? = 'revoked')", state)
      .and(
        `t.operator IN (SELECT a.operator FROM ${view.table(acceptances)} a WHERE a.accepted AND a.what = unhex(?))`,
        asked.accepts,
      );
    if (from !== undefined) {
      const [operator, index] = from.map((value) => filter.param(value));
      filter.and(`(t.operator, t.index) > (unhex(${operator}), ${index}::bigint)`);
    }
    const rows = await selectRows(
      db.query,
      nodes,
      `${filter.where} ORDER BY t.operator, t.index LIMIT ${limit + 1}`,
      filter.params,
      view.table(nodes),
    );
    const operators = rows.map((row) => row.operator);
    const behind = await standingBehind(db.query, operators, view);
    return pageOf(rows, limit, {
      key: (row) => [row.operator, row.index],
      item: (row) => nodeItem(row, behind, deployment.chainId),
      tip: view.tip,
    });
  },
});

export const getNode = route({
  method: "get",
  path: "/nodes/{operator}/{index}",
  summary: "One node: keys, addresses, limits, what it has in use.",
  params: z.strictObject({
    operator: addressSchema,
    index: z.coerce
      .number()
      .int()
      .min(0)
      .max(2 ** 32 - 1),
  }),
  query: z.strictObject({ finality }),
  answer: shape.nodeItem,
  problems: ["QUERY_INVALID", "NODE_NOT_FOUND", "FINALITY_UNKNOWN"],
  async handle({ params: { operator, index }, query: asked }, context) {
    const { db, deployment } = context;
    const view = await viewOf(asked.finality, context);
    const where = "WHERE t.operator = unhex($1) AND t.index = $2::bigint AND (t.key IS NOT NULL OR t.revoked)";
    const [row] = await selectRows(db.query, nodes, where, [operator, String(index)], view.table(nodes));
    if (row !== undefined) return nodeItem(row, await standingBehind(db.query, [operator], view), deployment.chainId);
    throw new MarketError("NODE_NOT_FOUND", `Operator ${operator} has never published a node ${index}.`);
  },
});

export const getAccount = route({
  method: "get",
  path: "/accounts/{address}",
  summary: "Balances in the market and stakes of an account, and what slashes left for it.",
  params: z.strictObject({ address: addressSchema }),
  query: z.strictObject({ finality }),
  answer: shape.accountItem,
  problems: ["QUERY_INVALID", "FINALITY_UNKNOWN"],
  async handle({ params: { address }, query: asked }, context) {
    const { db } = context;
    const view = await viewOf(asked.finality, context);
    const mine = "WHERE t.account = unhex($1) ORDER BY t.token";
    const held = await selectRows(db.query, balances, mine, [address], view.table(balances));
    const left = await selectRows(db.query, owed, mine, [address], view.table(owed));
    const staked = await stakesOf(db.query, [address], view);
    return {
      account: address,
      balances: held.map(({ token, amount }) => ({ token, amount })),
      stakes: staked.map(({ operator, ...stake }) => stake),
      owed: left.map(({ token, amount }) => ({ token, amount })),
    };
  },
});

async function standingBehind(query: Query, operators: readonly Hex[], view: View): Promise<Behind> {
  const [held, accepted] = await Promise.all([stakesOf(query, operators, view), acceptedBy(query, operators, view)]);
  return { held, accepted };
}

async function stakesOf(query: Query, operators: readonly Hex[], view: View): Promise<StakeRow[]> {
  const those = `WHERE ${ofOperators} ORDER BY t.operator, t.token`;
  return selectRows(query, stakes, those, [toJson([...new Set(operators)])], view.table(stakes));
}

async function acceptedBy(query: Query, operators: readonly Hex[], view: View): Promise<Row<typeof acceptances>[]> {
  const those = `WHERE t.accepted AND ${ofOperators} ORDER BY t.operator, t.what`;
  return selectRows(query, acceptances, those, [toJson([...new Set(operators)])], view.table(acceptances));
}

const ofOperators = "t.operator IN (SELECT unhex(value) FROM json_array_elements_text($1::json))";

/** What stands behind nodes. */
interface Behind {
  held: readonly StakeRow[];
  accepted: readonly Row<typeof acceptances>[];
}

function nodeItem(row: NodeRow, { held, accepted }: Behind, chainId: number) {
  const { operator, index, key, validTo, wgKey, prefix, wgEndpoint, contentUrl, profileCid } = row;
  const { keyVersion, epoch, limits, active, cpuMilli, memoryMiB, diskMiB, gpus, declinedAt, revoked } = row;
  const stakes = held.filter((stake) => stake.operator === operator);
  return {
    operator,
    index,
    did: didOf(chainId, operator),
    key,
    validTo,
    wgKey,
    prefix: prefix === null ? null : meshSubnet(prefix),
    meshAddress: prefix === null ? null : meshAddress(prefix),
    wgEndpoint: wgEndpoint || null,
    contentUrl: contentUrl || null,
    profileCid: profileCid || null,
    keyVersion,
    epoch,
    use: { active, cpuMilli, memoryMiB, diskMiB, gpus },
    declinedAt: declinedAt === 0 ? null : declinedAt,
    limits,
    accepts: accepted.filter((one) => one.operator === operator).map(({ what }) => what),
    freeStake: Object.fromEntries(stakes.map(({ token, free }) => [token, free])),
    revoked,
  };
}
