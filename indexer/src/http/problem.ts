import { type ErrorJson, errorToJson, MarketError } from "@berth/protocol";
import type { ErrorRequestHandler, RequestHandler } from "express";
import type { Logger } from "pino";

/** HTTP status of each error that a caller can meet; any other is a fault of this program. */
const STATUS: Record<string, number> = {
  QUERY_INVALID: 400,
  BODY_INVALID: 400,
  BODY_NOT_JSON: 400,
  ORDER_INVALID: 400,
  CURSOR_INVALID: 400,
  NOT_FOUND: 404,
  JOB_UNKNOWN: 404,
  REQUEST_UNKNOWN: 404,
  NODE_NOT_FOUND: 404,
  SNAPSHOT_UNKNOWN: 404,
  OFFER_NOT_IN_SNAPSHOT: 404,
  EVENTS_GONE: 410,
  NODE_UNKNOWN: 422,
  CURSOR_REORGED: 409,
  OFFER_SUPERSEDED: 409,
  REQUEST_CLOSED: 409,
  BODY_TOO_LARGE: 413,
  BODY_TYPE_UNKNOWN: 415,
  OFFER_EXPIRED: 422,
  OFFER_ENDS_TOO_LATE: 422,
  REQUEST_EXPIRED: 422,
  REQUEST_ENDS_TOO_LATE: 422,
  REQUEST_UNSOUND: 422,
  OPERATORS_MISMATCH: 422,
  WRONG_EPOCH: 422,
  BAD_SIGNATURE: 422,
  TOO_MANY_OFFERS: 429,
  TOO_MANY_REQUESTS: 429,
  TOO_MANY_STREAMS: 429,
  RATE_LIMITED: 429,
  RPC_UNAVAILABLE: 503,
  RPC_ERROR: 503,
  INDEXER_BEHIND: 503,
  DATABASE_UNREACHABLE: 503,
  DATABASE_BUSY: 503,
  QUERY_TOO_SLOW: 503,
  INTAKE_BUSY: 503,
  FINALITY_UNKNOWN: 503,
};

/** RFC 9457, with what programs switch on (`code`) and what people can do (`hint`). */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  detail: string;
  hint?: string;
  retryable: boolean;
}

export function problemOf(error: unknown): Problem {
  const { code, message, hint, retryable } = publicError(error);
  const status = STATUS[code] ?? 500;
  return {
    type: "about:blank",
    title: TITLES[status] ?? "Internal Server Error",
    status,
    code,
    detail: message,
    ...(hint === undefined ? {} : { hint }),
    retryable,
  };
}

/** The last handler: every error becomes a problem document. */
export function problemHandler(log: Logger): ErrorRequestHandler {
  return (error, request, response, next) => {
    if (response.headersSent) return next(error);
    const problem = problemOf(error);
    if (problem.status >= 500 && problem.code !== "INTAKE_BUSY")
      log.error({ err: error, path: request.path }, "request failed");
    if (problem.status === 429) response.set("retry-after", "10");
    if (problem.status === 503) response.set("retry-after", "2");
    response.status(problem.status).type("application/problem+json").send(JSON.stringify(problem));
  };
}

export const notFound: RequestHandler = (request) => {
  throw new MarketError("NOT_FOUND", `There is nothing at ${request.method} ${request.path}.`, {
    hint: "GET /openapi.json lists what there is, GET /docs shows it.",
  });
};

/** What a stranger may read of an error: nothing of this program's insides. */
function publicError(error: unknown): ErrorJson {
  const parsing = error as { type?: string; limit?: number };
  if (parsing.type === "entity.too.large") {
    return errorToJson(
      new MarketError("BODY_TOO_LARGE", `The body is larger than ${parsing.limit} bytes.`, {
        hint: "Orders are small; hand in one at a time.",
      }),
    );
  }
  if (parsing.type === "entity.parse.failed") {
    return errorToJson(new MarketError("BODY_NOT_JSON", "The body is not JSON.", { hint: "Send application/json." }));
  }
  if (parsing.type === "encoding.unsupported" || parsing.type === "charset.unsupported") {
    return errorToJson(new MarketError("BODY_TYPE_UNKNOWN", "The body must be UTF-8 JSON without compression."));
  }
  if (error instanceof URIError) {
    return errorToJson(new MarketError("QUERY_INVALID", "The path is not valid percent-encoding."));
  }
  if (parsing.type !== undefined) return errorToJson(new MarketError("BODY_INVALID", "The body could not be read."));
  if (error instanceof MarketError && STATUS[error.code] !== undefined) return errorToJson(error);
  return { code: "INTERNAL", message: "The indexer could not answer; its log says why.", retryable: true };
}

const TITLES: Record<number, string> = {
  400: "Bad Request",
  404: "Not Found",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  503: "Service Unavailable",
};
