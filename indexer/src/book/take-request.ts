import {
  type Address,
  type Hex,
  type JobId,
  MarketError,
  operatorTree,
  orderToJson,
  type Request,
  requireSound,
} from "@berth/protocol";
import { orderHashes } from "../intake/order-hash.ts";
import { growRequest, oneAtATime, putRequest, type RequestRow, requests } from "../store/orders.ts";
import { selectRows } from "../store/rows.ts";
import { jobs } from "../store/tables.ts";
import { isFunded } from "./open-index.ts";
import { badSignature } from "./signatures.ts";
import type { TakeOptions } from "./take-offer.ts";

/** Open signed requests without the money that all payers may have together: payers are free. */
const MAX_UNFUNDED = 1000;
/** Places that are kept of one request's content. */
const MAX_SOURCES = 8;

export interface SignedBody {
  request: Request;
  signature: Hex;
  payerSignature: Hex;
  /** What `request.operators` commits to. */
  operators?: Address[] | undefined;
  sources: string[];
}

/**
 * Checks a signed request and keeps it until it is matched or expires. The same request again adds its sources, and its list
 * of operators where that was missing. Who controls an identity signs for it, as the contracts have it.
 * Throws REQUEST_EXPIRED, REQUEST_ENDS_TOO_LATE, REQUEST_UNSOUND, OPERATORS_MISMATCH, BAD_SIGNATURE, REQUEST_CLOSED,
 * TOO_MANY_REQUESTS, and what `takeUnfunded` does.
 */
export async function takeRequest(body: SignedBody, options: TakeOptions): Promise<JobId> {
  const { request, signature, payerSignature, operators, sources } = body;
  const { db, live, deployment, limits, nowMs, now } = options;
  const jobId = orderHashes(deployment).jobIdOf(request);
  if (request.openUntil < now) {
    throw new MarketError("REQUEST_EXPIRED", `The request was open until ${request.openUntil}; it is ${now}.`, {
      hint: "Sign a new request with a later `openUntil`, and check this machine's clock.",
    });
  }
  const seconds = request.openUntil - now;
  if (seconds > limits.maxRequestSeconds) {
    throw new MarketError(
      "REQUEST_ENDS_TOO_LATE",
      `The request is open until ${request.openUntil}, for ${seconds} s; requests are taken for ${limits.maxRequestSeconds} s at most.`,
      { hint: "Sign a request with an earlier `openUntil`." },
    );
  }
  requireSound(request);
  if (operators !== undefined) requireCommitted(request, operators);
  await requireSignedFor("requester", signature);
  // The contracts do not look at a second signature of the same account, so nobody may fill it with anything.
  const isPayerToo = request.payer === request.requester;
  if (!isPayerToo) await requireSignedFor("payer", payerSignature);
  const row: Omit<RequestRow, "seq"> = {
    jobId,
    receivedAtMs: nowMs,
    payer: request.payer,
    openUntil: request.openUntil,
    request: orderToJson(request),
    signature,
    payerSignature: isPayerToo ? "0x" : payerSignature,
    operators: operators ?? null,
    sources: [...new Set(sources)].slice(0, MAX_SOURCES),
  };
  const seq = await db.transaction(async (query) => {
    await oneAtATime(query, `payer ${request.payer}`);
    const [known] = await selectRows(query, requests, "WHERE t.job_id = unhex($1)", [jobId]);
    if (known !== undefined) {
      const grown = {
        sources: [...new Set([...known.sources, ...sources])].slice(0, MAX_SOURCES),
        operators: known.operators ?? operators ?? null,
      };
      const isMore = grown.sources.length > known.sources.length || grown.operators !== known.operators;
      if (isMore) await growRequest(query, jobId, grown);
      return undefined;
    }
    const [job] = await selectRows(query, jobs, "WHERE t.job_id = unhex($1)", [jobId]);
    if (job?.state === "cancelled") throw closed(jobId);
    if (job === undefined) requireQuota(request, options);
    return putRequest(query, row);
  });
  if (seq !== undefined) await live.putRequest({ ...row, seq });
  else if (operators !== undefined) live.setOperators(jobId, operators);
  return jobId;

  async function requireSignedFor(role: "requester" | "payer", given: Hex): Promise<void> {
    const identity = request[role];
    const controller = live.book.controller(identity);
    if (await options.isSignedBy(controller, jobId, given)) return;
    throw badSignature("request", `the ${role} ${identity}${controller === identity ? "" : `'s owner ${controller}`}`);
  }
}

/** The list proves itself: its root was signed. */
function requireCommitted(request: Request, operators: readonly Address[]): void {
  if (operatorTree(operators).root === request.operators) return;
  throw new MarketError("OPERATORS_MISMATCH", "The list of operators is not the one that the request commits to.", {
    hint: "Hand in the very list whose Merkle root is the request's `operators`, or none where that is zero.",
  });
}

/** Signatures are free, so what a payer without money can leave here is little. */
function requireQuota(request: Request, { live, limits, now, takeUnfunded }: TakeOptions): void {
  const { payer } = request;
  const open = live.openOf(payer, now);
  const funded = isFunded(live.book, request);
  const most = funded ? limits.requestsPerPayer.funded : limits.requestsPerPayer.unfunded;
  if (open >= most) {
    throw new MarketError("TOO_MANY_REQUESTS", `The payer ${payer} already has ${open} open requests here.`, {
      hint: funded ? "Wait until some are matched, or cancel them." : "Deposit the price into the market first.",
      retryable: true,
    });
  }
  if (funded) return;
  if (live.unfunded() >= MAX_UNFUNDED) {
    throw new MarketError("TOO_MANY_REQUESTS", `${MAX_UNFUNDED} requests here already wait for their payers' money.`, {
      hint: "Deposit the price into the market first.",
      retryable: true,
    });
  }
  takeUnfunded(request);
}

function closed(jobId: Address | Hex): MarketError {
  return new MarketError("REQUEST_CLOSED", `Job ${jobId} was cancelled on chain.`, {
    hint: "Sign a new request with another nonce.",
  });
}
