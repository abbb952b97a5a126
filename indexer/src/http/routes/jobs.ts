import { addressSchema, type Hex, MarketError, MODE, toJson } from "@berth/protocol";
import { z } from "zod";
import type { Query } from "../../store/database.ts";
import { requests } from "../../store/orders.ts";
import { loadRows, selectRows } from "../../store/rows.ts";
import {
  type JobRow,
  jobStates,
  jobs,
  type LeaseRow,
  leases,
  nodes,
  type ReplicaRow,
  replicas,
} from "../../store/tables.ts";
import { createConditions } from "../conditions.ts";
import { decodeCursor, pageOf } from "../cursor.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { type View, viewOf } from "../view.ts";
import { finality, jobParams, paging, seconds } from "./inputs.ts";
import { uniqueNodes } from "./offers.ts";

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
  answer: shape.pageSchema(shape.jobItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID", "CURSOR_REORGED", "FINALITY_UNKNOWN"],
  async handle({ query: asked }, context) {
    const { db } = context;
    const view = await viewOf(asked.finality, context);
    const from = await decodeCursor(db.query, z.tuple([z.int(), z.int()]), asked.cursor);
    const { limit } = asked;
    const filter = createConditions()
      .and("t.requester = unhex(?)", asked.requester)
      .and(`t.job_id IN (SELECT r.job_id FROM ${view.table(replicas)} r WHERE r.operator = unhex(?))`, asked.operator)
      .and("t.state = ?", asked.state)
      .and("t.token = unhex(?)", asked.token)
      .and("coalesce(t.posted_at, t.matched_at) >= ?::bigint", asked.since)
      .and("coalesce(t.posted_at, t.matched_at) <= ?::bigint", asked.until);
    if (from !== undefined) {
      const [block, log] = from.map((place) => `${filter.param(place)}::bigint`);
      filter.and(`(t.first_block, t.first_log) < (${block}, ${log})`);
    }
    const rows = await selectRows(
      db.query,
      jobs,
      `${filter.where} ORDER BY t.first_block DESC, t.first_log DESC LIMIT ${limit + 1}`,
      filter.params,
      view.table(jobs),
    );
    const items = await jobItems(db.query, rows.slice(0, limit), view);
    return pageOf(
      rows.map((row, i) => ({ row, item: items[i] })),
      limit,
      { key: ({ row }) => [row.firstBlock, row.firstLog], item: ({ item }) => item, tip: view.tip },
    );
  },
});

export const getJob = route({
  method: "get",
  path: "/jobs/{jobId}",
  summary: "One job with its replicas.",
  params: jobParams,
  query: z.strictObject({ finality }),
  answer: shape.jobItem,
  problems: ["QUERY_INVALID", "JOB_UNKNOWN", "FINALITY_UNKNOWN"],
  async handle({ params: { jobId }, query: asked }, context) {
    const { db } = context;
    const view = await viewOf(asked.finality, context);
    const rows = await selectRows(db.query, jobs, "WHERE t.job_id = unhex($1)", [jobId], view.table(jobs));
    const [item] = await jobItems(db.query, rows, view);
    if (item !== undefined) return item;
    throw new MarketError("JOB_UNKNOWN", `Job ${jobId} is not on chain, as far as this indexer has followed it.`, {
      hint: "A signed request that waits for its match is at /requests/{jobId}.",
    });
  },
});

async function jobItems(query: Query, rows: readonly JobRow[], view: View) {
  const those = "WHERE t.job_id IN (SELECT unhex(value) FROM json_array_elements_text($1::json))";
  const idsOf = (some: readonly JobRow[]) => [toJson(some.map(({ jobId }) => jobId))];
  // What most jobs do not have is not asked for: a page costs as few statements as it needs.
  const matched = rows.filter(({ job }) => job !== null);
  const leased = matched.filter(({ job }) => job?.["mode"] === MODE.lease);
  const [parts, signed, kept] = await Promise.all([
    matched.length === 0
      ? []
      : selectRows(query, replicas, `${those} ORDER BY t.job_id, t.replica`, idsOf(matched), view.table(replicas)),
    rows.length === 0 ? [] : selectRows(query, requests, those, idsOf(rows)),
    leased.length === 0 ? [] : selectRows(query, leases, those, idsOf(leased), view.table(leases)),
  ]);
  const serving = await loadRows(query, nodes, uniqueNodes(parts.map(({ operator, index }) => ({ operator, index }))));
  const signedOf = new Map(signed.map((row) => [row.jobId, row]));
  const leaseOf = new Map(kept.map((row) => [`${row.jobId}|${row.replica}`, row]));
  const contentUrlOf = ({ operator, index }: ReplicaRow) =>
    serving.find((node) => node.operator === operator && node.index === index)?.contentUrl || null;
  return rows.map(({ openReplicas, firstBlock, firstLog, ...job }) => ({
    ...job,
    request: job.request ?? signedOf.get(job.jobId)?.request ?? null,
    sources: signedOf.get(job.jobId)?.sources ?? [],
    replicas: parts
      .filter(({ jobId }) => jobId === job.jobId)
      .map((part) => ({
        ...replicaItem(part),
        lease: job.job?.["mode"] === MODE.lease ? leaseItem(leaseOf.get(`${part.jobId}|${part.replica}`)) : null,
        contentUrl: contentUrlOf(part),
      })),
  }));
}

function replicaItem(row: ReplicaRow) {
  const { replica, operator, index, state, offerHash, rateX18, baseCharge, deposit } = row;
  const { matchedAt, submittedAt, lastAt, disputedAt, award, charge, refund, slashed, reason } = row;
  return {
    replica,
    operator,
    index,
    state,
    assignment: { replica, operator, index, offerHash, rateX18, baseCharge },
    deposit,
    matchedAt,
    submittedAt,
    lastAt: lastAt || null,
    claim: claimOf(row),
    disputedAt,
    award,
    charge,
    refund,
    slashed,
    reason,
    transactions: {
      matched: row.matchedTx,
      submitted: row.submittedTx,
      disputed: row.disputedTx,
      ended: row.endedTx,
    },
  };
}

function leaseItem(row: LeaseRow | undefined) {
  const { chargedSeconds = 0, addedSeconds = 0, closingAt = 0, closingBy = null } = row ?? {};
  return { chargedSeconds, addedSeconds, closingAt: closingAt || null, closingBy };
}

function claimOf({ resultHash, resultBytes, claimed }: ReplicaRow): object | null {
  return resultHash === null ? null : { resultHash: resultHash as Hex, resultBytes, charge: claimed };
}
