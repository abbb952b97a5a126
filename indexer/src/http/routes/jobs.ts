import { addressSchema, MarketError, MODE } from "@berth/protocol";
import { z } from "zod";
import type { Table } from "../../store/table.ts";
import { jobStates, jobs, leases, replicas } from "../../store/tables.ts";
import { createConditions } from "../conditions.ts";
import { decodeCursor } from "../cursor.ts";
import { type Items, type List, type Reading, readItem, readPage } from "../page.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { amount, array, hex, json, number, object, text, word } from "../sql-json.ts";
import { tableIn, viewOf } from "../view.ts";
import { finality, jobParams, paging, seconds } from "./inputs.ts";

export const listJobs = route({
  method: "get",
  path: "/jobs",
  summary: "Jobs on chain, newest first.",
  query: z.strictObject({
    requester: addressSchema.optional(),
    operator: addressSchema.optional(),
    state: z.enum(jobStates).optional(),
    token: addressSchema.optional(),
    since: seconds.optional().meta({ description: "Posted or matched at this time or later, in unix seconds" }),
    until: seconds.optional().meta({ description: "Posted or matched at this time or earlier" }),
    finality,
    ...paging,
  }),
  ofTables: true,
  answer: shape.pageSchema(shape.jobItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID", "CURSOR_REORGED", "FINALITY_UNKNOWN"],
  async handle({ query: asked }, context) {
    const view = await viewOf(asked.finality, context);
    const cursor = decodeCursor(z.tuple([z.int(), z.int()]), asked.cursor);
    const conditions = createConditions();
    if (asked.operator !== undefined) {
      const all = tableIn(view, replicas, conditions);
      conditions.and(`t.job_id IN (SELECT r.job_id FROM ${all} r WHERE r.operator = unhex(?))`, asked.operator);
    }
    conditions
      .and("t.requester = unhex(?)", asked.requester)
      .and("t.state = ?", asked.state)
      .and("t.token = unhex(?)", asked.token)
      .and(`${TIME("t")} >= ?::bigint`, asked.since)
      .and(`${TIME("t")} <= ?::bigint`, asked.until)
      .and(`t.first_block >= (${blockAt(">=", "ASC")})`, asked.since)
      .and(`t.first_block <= (${blockAt("<=", "DESC")})`, asked.until);
    if (cursor !== undefined) {
      const [block, log] = cursor.key.map((place) => `${conditions.param(place)}::bigint`);
      conditions.and(`(t.first_block, t.first_log) < (${block}, ${log})`);
    }
    const reading = { view, conditions, cursor, context };
    return readPage(jobList(reading), jobItems(reading), reading, asked.limit);
  },
});

export const getJob = route({
  method: "get",
  path: "/jobs/{jobId}",
  summary: "One job with its replicas.",
  params: jobParams,
  query: z.strictObject({ finality }),
  ofTables: true,
  answer: shape.jobItem,
  problems: ["QUERY_INVALID", "JOB_UNKNOWN", "FINALITY_UNKNOWN"],
  async handle({ params: { jobId }, query: asked }, context) {
    const view = await viewOf(asked.finality, context);
    const reading = { view, conditions: createConditions().and("t.job_id = unhex(?)", jobId), context };
    const item = await readItem(jobList(reading), jobItems(reading), reading);
    if (item !== undefined) return item;
    throw new MarketError("JOB_UNKNOWN", `Job ${jobId} is not on chain, as far as this indexer has followed it.`, {
      hint: "A signed request that waits for its match is at /requests/{jobId}.",
    });
  },
});

/** When a job was posted, or else matched. */
const TIME = (row: string) => `coalesce(${row}.posted_at, ${row}.matched_at)`;

/** Times rise with blocks, so a time is a place in the list: what lies before it is not read. */
function blockAt(compare: string, direction: string): string {
  return `SELECT x.first_block FROM jobs x WHERE ${TIME("x")} ${compare} ?::bigint
    ORDER BY ${TIME("x")} ${direction}, x.first_block ${direction} LIMIT 1`;
}

function jobList({ view, conditions }: Reading): List {
  return {
    from: `${tableIn(view, jobs, conditions)} t`,
    order: ["first_block", "first_log"],
    descending: true,
    key: ({ block, log }) => [Number(block), Number(log)],
  };
}

/** With their replicas, and with what signed requests say that were handed in. */
function jobItems({ view, conditions }: Reading): Items {
  const from = (of: Table) => tableIn(view, of, conditions);
  return {
    parts: `parts AS (
      SELECT r.job_id, string_agg(${REPLICA}, ',' ORDER BY r.replica) AS list
      FROM page p JOIN ${from(replicas)} r ON r.job_id = p.job_id
        LEFT JOIN ${from(leases)} l ON l.job_id = r.job_id AND l.replica = r.replica
        LEFT JOIN nodes n ON n.operator = r.operator AND n.index = r.index
      WHERE p.job IS NOT NULL GROUP BY r.job_id)`,
    joins: "LEFT JOIN parts ON parts.job_id = p.job_id LEFT JOIN requests s ON s.job_id = p.job_id",
    item: JOB,
    extra: { block: "p.first_block::text", log: "p.first_log::text" },
  };
}

const JOB = object({
  jobId: hex("p.job_id"),
  state: word("p.state"),
  requester: hex("p.requester"),
  payer: hex("p.payer"),
  token: hex("p.token"),
  job: json("p.job"),
  request: json("coalesce(p.request::text, s.request::text)"),
  sources: json("s.sources", "[]"),
  matcher: hex("p.matcher"),
  spent: amount("p.spent"),
  postedAt: number("p.posted_at"),
  matchedAt: number("p.matched_at"),
  postedTx: hex("p.posted_tx"),
  matchedTx: hex("p.matched_tx"),
  cancelledTx: hex("p.cancelled_tx"),
  replicas: array("parts.list"),
});

const LEASE = object({
  chargedSeconds: number("coalesce(l.charged_seconds, 0)"),
  addedSeconds: number("coalesce(l.added_seconds, 0)"),
  closingAt: number("nullif(l.closing_at, 0)"),
  closingBy: hex("l.closing_by"),
});
const CLAIM = object({
  resultHash: hex("r.result_hash"),
  resultBytes: amount("r.result_bytes"),
  charge: amount("r.claimed"),
});
const REPLICA = object({
  replica: number("r.replica"),
  operator: hex("r.operator"),
  index: number("r.index"),
  state: word("r.state"),
  assignment: object({
    replica: number("r.replica"),
    operator: hex("r.operator"),
    index: number("r.index"),
    offerHash: hex("r.offer_hash"),
    rateX18: amount("r.rate_x18"),
    baseCharge: amount("r.base_charge"),
  }),
  deposit: amount("r.deposit"),
  matchedAt: number("r.matched_at"),
  submittedAt: number("r.submitted_at"),
  lastAt: number("nullif(r.last_at, 0)"),
  claim: `CASE WHEN r.result_hash IS NULL THEN 'null' ELSE ${CLAIM} END`,
  disputedAt: number("r.disputed_at"),
  award: amount("r.award"),
  charge: amount("r.charge"),
  refund: amount("r.refund"),
  slashed: amount("r.slashed"),
  reason: word("r.reason"),
  transactions: object({
    matched: hex("r.matched_tx"),
    submitted: hex("r.submitted_tx"),
    disputed: hex("r.disputed_tx"),
    ended: hex("r.ended_tx"),
  }),
  lease: `CASE WHEN (p.job->>'mode')::int = ${MODE.lease} THEN ${LEASE} ELSE 'null' END`,
  contentUrl: text("nullif(n.content_url, '')"),
});
