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
  const kept = await selectRows(query, leases, those, [ids]);
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

function textOf(value: number | null): string | null {
  return value === null ? null : String(value);
}
