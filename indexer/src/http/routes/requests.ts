import { type Hex, type JobId, MarketError, requestSchema } from "@berth/protocol";
import { z } from "zod";
import type { OpenRequest } from "../../book/book.ts";
import { createHolds } from "../../book/holds.ts";
import { operatorListSchema, signatureSchema } from "../../book/order-json.ts";
import { explain } from "../../match/explain.ts";
import { lastTry, type RequestRow, requests, type TryRow } from "../../store/orders.ts";
import { selectRows } from "../../store/rows.ts";
import { type JobRow, jobs } from "../../store/tables.ts";
import { type ApiContext, route } from "../route.ts";
import * as shape from "../schemas.ts";
import { jobParams, sourcesSchema } from "./inputs.ts";

export const postRequest = route({
  method: "post",
  path: "/requests",
  summary: "Hand in a signed request, or name sources for one that is on chain. Costs no gas.",
  body: z.strictObject({
    request: requestSchema,
    signature: signatureSchema,
    payerSignature: signatureSchema.default("0x"),
    operators: operatorListSchema.optional(),
    sources: sourcesSchema,
  }),
  status: 202,
  answer: z.strictObject({ jobId: shape.bytes32 }),
  problems: [
    "ORDER_INVALID",
    "REQUEST_EXPIRED",
    "REQUEST_ENDS_TOO_LATE",
    "REQUEST_UNSOUND",
    "OPERATORS_MISMATCH",
    "BAD_SIGNATURE",
    "REQUEST_CLOSED",
    "TOO_MANY_REQUESTS",
    "INTAKE_BUSY",
  ],
  async handle({ body, sender }, { intake, changes }) {
    const jobId = await intake.takeRequest({ sender }, body);
    changes.wake(true);
    return { jobId };
  },
});

export const getRequest = route({
  method: "get",
  path: "/requests/{jobId}",
  summary: "How a request stands, and how the last attempt to match it went.",
  params: jobParams,
  answer: shape.requestItem,
  problems: ["REQUEST_UNKNOWN"],
  async handle({ params: { jobId } }, context) {
    const { signed, job, request } = await find(jobId, context);
    const found = await lastTry(context.db.query, jobId);
    return {
      jobId,
      state: stateOf(signed, job, context.now()),
      request,
      operators: signed?.operators ?? null,
      sources: signed?.sources ?? [],
      receivedAt:
        signed === undefined ? (job?.postedAt ?? job?.matchedAt ?? 0) : Math.floor(signed.receivedAtMs / 1000),
      ...(found === undefined ? {} : { lastTry: tryItem(found) }),
    };
  },
});

export const explainRequest = route({
  method: "get",
  path: "/requests/{jobId}/explain",
  summary: "Why a request is not matched, counted over all offers, and in one sentence.",
  params: jobParams,
  answer: shape.explanation,
  problems: ["REQUEST_UNKNOWN"],
  async handle({ params: { jobId } }, context) {
    const { signed, job, request } = await find(jobId, context);
    const state = stateOf(signed, job, context.now());
    if (state === "matched" || state === "cancelled") {
      return { jobId, offersSeen: context.live.book.size, fits: 0, reasons: [], sentence: `The request is ${state}.` };
    }
    const order: OpenRequest = {
      jobId: jobId as JobId,
      request: requestSchema.parse(request),
      signature: signed?.signature ?? "0x",
      payerSignature: signed?.payerSignature ?? "0x",
      posted: job?.state === "posted",
      receivedAtMs: signed?.receivedAtMs ?? 0,
      operators: signed?.operators ?? null,
    };
    const { live, matcher, now } = context;
    const holds = createHolds(matcher?.holds() ?? []);
    return { jobId, ...explain(live.book, holds, order, { now: now(), matcher: matcher?.address ?? null }) };
  },
});

/** A request as it was handed in, as the chain has it, or both. Throws REQUEST_UNKNOWN. */
async function find(jobId: Hex, { db }: ApiContext) {
  const [signed] = await selectRows(db.query, requests, "WHERE t.job_id = unhex($1)", [jobId]);
  const [job] = await selectRows(db.query, jobs, "WHERE t.job_id = unhex($1)", [jobId]);
  const request = signed?.request ?? job?.request ?? undefined;
  if (request === undefined) throw unknown(jobId);
  return { signed, job, request };
}

function stateOf(signed: RequestRow | undefined, job: JobRow | undefined, now: number) {
  if (job?.state === "cancelled") return "cancelled";
  if (job?.state === "matched" || job?.state === "ended") return "matched";
  const openUntil = signed?.openUntil ?? Number(job?.request?.["openUntil"] ?? 0);
  if (openUntil < now) return "expired";
  return job?.state === "posted" ? "posted" : "open";
}

function tryItem({ attempt, atMs, state, offers, transaction, error }: TryRow) {
  return { attempt, at: Math.floor(atMs / 1000), state, offers, transaction, error };
}

function unknown(jobId: Hex): MarketError {
  return new MarketError("REQUEST_UNKNOWN", `No request ${jobId} is known here.`, {
    hint: "Hand it in with POST /requests, or ask the indexer that has it. Of one that is matched, /jobs/{jobId} has the terms.",
  });
}
