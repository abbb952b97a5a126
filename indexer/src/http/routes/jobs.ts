import { addressSchema, type Hex, MarketError, toJson } from "@berth/protocol";
import { z } from "zod";
import type { Query } from "../../store/database.ts";
import { requests } from "../../store/orders.ts";
import { loadRows, selectRows } from "../../store/rows.ts";
import { type JobRow, jobStates, jobs, nodes, type ReplicaRow, replicas } from "../../store/tables.ts";
import { decodeCursor, pageOf } from "../cursor.ts";
import { route } from "../route.ts";
import * as shape from "../schemas.ts";
import { jobParams, paging } from "./inputs.ts";
import { uniqueNodes } from "./offers.ts";

export const listJobs = route({
  method: "get",
  path: "/jobs",
  summary: "Jobs on chain, newest first.",
  query: z.strictObject({
    requester: addressSchema.optional(),
    operator: addressSchema.optional(),
    state: z.enum(jobStates).optional(),
    ...paging,
  }),
  answer: shape.pageSchema(shape.jobItem),
  problems: ["QUERY_INVALID", "CURSOR_INVALID"],
  async handle({ query: { requester, operator, state, limit, cursor } }, { db }) {
    const [block, log] = decodeCursor(z.tuple([z.int(), z.int()]), cursor) ?? [null, null];
    const rows = await selectRows(
      db.query,
      jobs,
      `WHERE ($1::bigint IS NULL OR (t.first_block, t.first_log) < ($1::bigint, $2::bigint))
         AND ($3::text IS NULL OR t.requester = unhex($3))
         AND ($4::text IS NULL OR EXISTS
           (SELECT 1 FROM replicas r WHERE r.job_id = t.job_id AND r.operator = unhex($4)))
         AND ($5::text IS NULL OR t.state = $5)
       ORDER BY t.first_block DESC, t.first_log DESC LIMIT $6::int`,
      [textOf(block), textOf(log), requester ?? null, operator ?? null, state ?? null, limit + 1],
    );
    const items = await jobItems(db.query, rows);
    return pageOf(
      rows.map((row, i) => ({ row, item: items[i] })),
      limit,
      { key: ({ row }) => [row.firstBlock, row.firstLog], item: ({ item }) => item },
    );
  },
});

export const getJob = route({
  method: "get",
  path: "/jobs/{jobId}",
  summary: "One job with its replicas.",
  params: jobParams,
  answer: shape.jobItem,
  problems: ["JOB_UNKNOWN"],
  async handle({ params: { jobId } }, { db }) {
    const rows = await selectRows(db.query, jobs, "WHERE t.job_id = unhex($1)", [jobId]);
    const [item] = await jobItems(db.query, rows);
    if (item !== undefined) return item;
    throw new MarketError("JOB_UNKNOWN", `Job ${jobId} is not on chain, as far as this indexer has followed it.`, {
      hint: "A signed request that waits for its match is at /requests/{jobId}.",
    });
  },
});

async function jobItems(query: Query, rows: readonly JobRow[]) {
  const ids = toJson(rows.map(({ jobId }) => jobId));
  const those = "WHERE t.job_id IN (SELECT unhex(value) FROM json_array_elements_text($1::json))";
  const parts = await selectRows(query, replicas, `${those} ORDER BY t.job_id, t.replica`, [ids]);
  const signed = await selectRows(query, requests, those, [ids]);
  const serving = await loadRows(query, nodes, uniqueNodes(parts.map(({ operator, index }) => ({ operator, index }))));
  const sourcesOf = new Map(signed.map(({ jobId, sources }) => [jobId, sources]));
  const contentUrlOf = ({ operator, index }: ReplicaRow) =>
    serving.find((node) => node.operator === operator && node.index === index)?.contentUrl || null;
  return rows.map(({ openReplicas, firstBlock, firstLog, ...job }) => ({
    ...job,
    sources: sourcesOf.get(job.jobId) ?? [],
    replicas: parts.filter(({ jobId }) => jobId === job.jobId).map((part) => replicaItem(part, contentUrlOf(part))),
  }));
}

function replicaItem(row: ReplicaRow, contentUrl: string | null) {
  const { replica, operator, index, state, offerHash, offer, deposit, matchedAt, submittedAt } = row;
  const { charge, refund, slashed, compensation, reason } = row;
  return {
    replica,
    operator,
    index,
    state,
    offerHash,
    offer,
    deposit,
    matchedAt,
    submittedAt: submittedAt === 0 ? null : submittedAt,
    claim: claimOf(row),
    charge,
    refund,
    slashed,
    compensation,
    reason,
    contentUrl,
    transactions: { matched: row.matchedTx, submitted: row.submittedTx, ended: row.endedTx },
  };
}

function claimOf({ resultHash, resultBytes, claimed }: ReplicaRow): object | null {
  return resultHash === null ? null : { resultHash: resultHash as Hex, resultBytes, charge: claimed };
}

function textOf(value: number | null): string | null {
  return value === null ? null : String(value);
}
