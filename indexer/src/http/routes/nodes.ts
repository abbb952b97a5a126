import { type Address, addressSchema, didOf, MarketError, meshAddress, meshSubnet } from "@berth/protocol";
import { z } from "zod";
import type { Table } from "../../store/table.ts";
import { acceptances, balances, nodes, owed, stakes } from "../../store/tables.ts";
import { createConditions } from "../conditions.ts";
import { decodeCursor } from "../cursor.ts";
import { type Items, type List, type Reading, readItem, readPage } from "../page.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { readSnapshot, snapshotSql } from "../snapshot.ts";
import { amount, array, hex, json, number, object, text } from "../sql-json.ts";
import { tableIn, viewOf } from "../view.ts";
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
  ofTables: true,
  answer: shape.pageSchema(shape.nodeItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID", "CURSOR_REORGED", "FINALITY_UNKNOWN"],
  async handle({ query: asked }, context) {
    const view = await viewOf(asked.finality, context);
    const cursor = decodeCursor(z.tuple([addressSchema, z.int()]), asked.cursor);
    const conditions = createConditions(EVER_PUBLISHED)
      .and("t.operator = unhex(?)", asked.operator)
      .and("t.revoked = (? = 'revoked')", asked.state);
    if (asked.accepts !== undefined) {
      const all = tableIn(view, acceptances, conditions);
      const those = `SELECT a.operator FROM ${all} a WHERE a.accepted AND a.what = unhex(?)`;
      conditions.and(`t.operator IN (${those})`, asked.accepts);
    }
    if (cursor !== undefined) {
      const [operator, index] = cursor.key.map((value) => conditions.param(value));
      conditions.and(`(t.operator, t.index) > (unhex(${operator}), ${index}::bigint)`);
    }
    const reading = { view, conditions, cursor, context };
    return readPage(nodeList(reading), nodeItems(reading), reading, asked.limit);
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
  ofTables: true,
  answer: shape.nodeItem,
  problems: ["QUERY_INVALID", "NODE_NOT_FOUND", "FINALITY_UNKNOWN"],
  async handle({ params: { operator, index }, query: asked }, context) {
    const view = await viewOf(asked.finality, context);
    const conditions = createConditions(EVER_PUBLISHED)
      .and("t.operator = unhex(?)", operator)
      .and("t.index = ?::bigint", index);
    const reading = { view, conditions, context };
    const item = await readItem(nodeList(reading), nodeItems(reading), reading);
    if (item !== undefined) return item;
    throw new MarketError("NODE_NOT_FOUND", `Operator ${operator} has never published a node ${index}.`);
  },
});

export const getAccount = route({
  method: "get",
  path: "/accounts/{address}",
  summary: "Balances in the market and stakes of an account, and what slashes left for it.",
  params: z.strictObject({ address: addressSchema }),
  query: z.strictObject({ finality }),
  ofTables: true,
  answer: shape.accountItem,
  problems: ["QUERY_INVALID", "FINALITY_UNKNOWN"],
  async handle({ params: { address }, query: asked }, context) {
    const { db } = context;
    const view = await viewOf(asked.finality, context);
    const conditions = createConditions();
    const account = `unhex(${conditions.param(address)})`;
    const listOf = (of: Table, owner: string, item: string) =>
      array(
        `(SELECT string_agg(${item}, ',' ORDER BY t.token) FROM ${tableIn(view, of, conditions)} t WHERE t.${owner} = ${account})`,
      );
    const item = object({
      account: hex(account),
      balances: listOf(balances, "account", MONEY),
      stakes: listOf(stakes, "operator", STAKE),
      owed: listOf(owed, "account", MONEY),
    });
    const sql = `SELECT ${item} AS item, ${snapshotSql(view, conditions)} AS snapshot`;
    const [row] = await db.query<{ item: string; snapshot: string }>(sql, conditions.params);
    const { item: json = "", snapshot = "" } = row ?? {};
    return { json, snapshot: readSnapshot(snapshot, view, context), view };
  },
});

const MONEY = object({ token: hex("t.token"), amount: amount("t.amount") });
const STAKE = object({
  token: hex("t.token"),
  free: amount("t.free"),
  locked: amount("t.locked"),
  exiting: amount("t.exiting"),
  exitReadyAt: number("t.exit_ready_at"),
});

function nodeList({ view, conditions }: Reading): List {
  return {
    from: `${tableIn(view, nodes, conditions)} t`,
    order: ["operator", "index"],
    key: ({ operator, index }) => [operator ?? "", Number(index)],
  };
}

/** With what stands behind them: the stakes of their operators, and what those let them sign for. */
function nodeItems({ view, conditions, context }: Reading): Items {
  const from = (of: Table) => tableIn(view, of, conditions);
  const { chainId } = context.deployment;
  return {
    parts: `operators AS (SELECT DISTINCT p.operator FROM page p),
      held AS (
        SELECT k.operator, string_agg(concat(${hex("k.token")}, ':', ${amount("k.free")}), ',' ORDER BY k.token) AS list
        FROM operators o JOIN ${from(stakes)} k ON k.operator = o.operator GROUP BY k.operator),
      signs AS (
        SELECT a.operator, string_agg(${hex("a.what")}, ',' ORDER BY a.what) AS list
        FROM operators o JOIN ${from(acceptances)} a ON a.operator = o.operator AND a.accepted GROUP BY a.operator)`,
    joins: "LEFT JOIN held ON held.operator = p.operator LEFT JOIN signs ON signs.operator = p.operator",
    item: NODE,
    extra: { operator: "hex(p.operator)", index: "p.index::text", prefix: "p.prefix::text" },
    finish(item, { operator, prefix }) {
      const at = prefix === null || prefix === undefined ? undefined : BigInt(prefix);
      const known = {
        did: didOf(chainId, operator as Address),
        prefix: at === undefined ? null : meshSubnet(at),
        meshAddress: at === undefined ? null : meshAddress(at),
      };
      return `${JSON.stringify(known).slice(0, -1)},${item.slice(1)}`;
    },
  };
}

const EVER_PUBLISHED = "(t.key IS NOT NULL OR t.revoked)";
const NODE = object({
  operator: hex("p.operator"),
  index: number("p.index"),
  key: hex("p.key"),
  validTo: number("p.valid_to"),
  wgKey: hex("p.wg_key"),
  wgEndpoint: text("nullif(p.wg_endpoint, '')"),
  contentUrl: text("nullif(p.content_url, '')"),
  profileCid: text("nullif(p.profile_cid, '')"),
  keyVersion: number("p.key_version"),
  epoch: number("p.epoch"),
  use: object({
    active: number("p.active"),
    cpuMilli: number("p.cpu_milli"),
    memoryMiB: number("p.memory_mib"),
    diskMiB: number("p.disk_mib"),
    gpus: number("p.gpus"),
  }),
  declinedAt: number("nullif(p.declined_at, 0)"),
  limits: json("p.limits"),
  accepts: array("signs.list"),
  freeStake: "concat('{', held.list, '}')",
  revoked: number("p.revoked"),
});
