import { addressSchema, didOf, type Hex, MarketError, meshAddress, meshSubnet, toJson } from "@berth/protocol";
import { z } from "zod";
import type { Query } from "../../store/database.ts";
import { selectRows } from "../../store/rows.ts";
import type { Row } from "../../store/table.ts";
import { acceptances, balances, type NodeRow, nodes, owed, type StakeRow, stakes } from "../../store/tables.ts";
import { decodeCursor, pageOf } from "../cursor.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { paging } from "./inputs.ts";

export const listNodes = route({
  method: "get",
  path: "/nodes",
  summary: "Nodes that were ever published, by operator and index.",
  query: z.strictObject(paging),
  answer: shape.pageSchema(shape.nodeItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID"],
  async handle({ query: { limit, cursor } }, { db, deployment }) {
    const [operator, index] = decodeCursor(z.tuple([addressSchema, z.int()]), cursor) ?? [null, 0];
    const rows = await selectRows(
      db.query,
      nodes,
      `WHERE (t.key IS NOT NULL OR t.revoked)
         AND ($1::text IS NULL OR (t.operator, t.index) > (unhex($1), $2::bigint))
       ORDER BY t.operator, t.index LIMIT $3::int`,
      [operator, String(index), limit + 1],
    );
    const operators = rows.map((row) => row.operator);
    const behind = { held: await stakesOf(db.query, operators), accepted: await acceptedBy(db.query, operators) };
    return pageOf(rows, limit, {
      key: (row) => [row.operator, row.index],
      item: (row) => nodeItem(row, behind, deployment.chainId),
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
  answer: shape.nodeItem,
  problems: ["NODE_NOT_FOUND"],
  async handle({ params: { operator, index } }, { db, deployment }) {
    const where = "WHERE t.operator = unhex($1) AND t.index = $2::bigint AND (t.key IS NOT NULL OR t.revoked)";
    const [row] = await selectRows(db.query, nodes, where, [operator, String(index)]);
    if (row !== undefined) {
      const behind = { held: await stakesOf(db.query, [operator]), accepted: await acceptedBy(db.query, [operator]) };
      return nodeItem(row, behind, deployment.chainId);
    }
    throw new MarketError("NODE_NOT_FOUND", `Operator ${operator} has never published a node ${index}.`);
  },
});

export const getAccount = route({
  method: "get",
  path: "/accounts/{address}",
  summary: "Balances in the market and stakes of an account, and what slashes left for it.",
  params: z.strictObject({ address: addressSchema }),
  answer: shape.accountItem,
  async handle({ params: { address } }, { db }) {
    const held = await selectRows(db.query, balances, "WHERE t.account = unhex($1) ORDER BY t.token", [address]);
    const left = await selectRows(db.query, owed, "WHERE t.account = unhex($1) ORDER BY t.token", [address]);
    const staked = await stakesOf(db.query, [address]);
    return {
      account: address,
      balances: held.map(({ token, amount }) => ({ token, amount })),
      stakes: staked.map(({ operator, ...stake }) => stake),
      owed: left.map(({ token, amount }) => ({ token, amount })),
    };
  },
});

async function stakesOf(query: Query, operators: readonly Hex[]): Promise<StakeRow[]> {
  const those = "WHERE t.operator IN (SELECT unhex(value) FROM json_array_elements_text($1::json))";
  return selectRows(query, stakes, `${those} ORDER BY t.operator, t.token`, [toJson([...new Set(operators)])]);
}

async function acceptedBy(query: Query, operators: readonly Hex[]): Promise<Row<typeof acceptances>[]> {
  const those = "WHERE t.accepted AND t.operator IN (SELECT unhex(value) FROM json_array_elements_text($1::json))";
  return selectRows(query, acceptances, `${those} ORDER BY t.operator, t.what`, [toJson([...new Set(operators)])]);
}

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
