import type { Follower, Rpc } from "@berth/chain";
import { type Deployment, parseWith, toJson } from "@berth/protocol";
import type { Request, RequestHandler, Response } from "express";
import type { z } from "zod";
import type { LiveBook } from "../book/live-book.ts";
import type { Role } from "../cluster/role.ts";
import type { Intake } from "../intake/intake.ts";
import type { Matcher } from "../match/matcher.ts";
import type { Peers } from "../peers/peers.ts";
import type { Database } from "../store/database.ts";
import type { AnswerCache, Kept } from "./answer-cache.ts";
import type { ChangeHub } from "./change-hub.ts";
import { problemOf } from "./problem.ts";
import type { RateLimit } from "./rate-limit.ts";
import { senderOf } from "./sender.ts";
import type { Snapshot } from "./snapshot.ts";
import type { Streams } from "./streams.ts";
import type { Heights, View } from "./view.ts";

/** What handlers work with. */
export interface ApiContext {
  db: Database;
  live: LiveBook;
  rpc: Rpc;
  deployment: Deployment;
  follower: Pick<Follower, "status">;
  role: () => Role;
  matcher: Matcher | undefined;
  /** Takes signed orders. */
  intake: Intake;
  /** The other indexers. */
  peers: Pick<Peers, "status">;
  changes: ChangeHub;
  heights: Heights;
  /** Of orders that are handed in. */
  rateLimit: RateLimit;
  /** Of questions. */
  readLimit: RateLimit;
  streams: Streams;
  /** Unix seconds, as the chain counts them. */
  now: () => number;
  /** Is the book as new as the chain? */
  caughtUp: () => boolean;
}

/** An answer that is made of tables alone: it stays until something changes in them. */
export interface TableAnswer {
  /** As it goes over the wire. */
  json: string;
  snapshot: Snapshot;
  view: View;
}

/** One call of the API: the same record parses its input, answers it, and describes it in OpenAPI. */
export interface Route<P = unknown, Q = unknown, B = unknown, H = unknown> {
  method: "get" | "post";
  /** In the form of OpenAPI: `/jobs/{jobId}`. */
  path: string;
  summary: string;
  params?: z.ZodType<P, unknown>;
  query?: z.ZodType<Q, unknown>;
  headers?: z.ZodType<H, unknown>;
  body?: z.ZodType<B, unknown>;
  /** Other than JSON: a stream is the handler's own to write. */
  answerType?: "text/event-stream";
  /** `handle` gives a `TableAnswer`. */
  ofTables?: boolean;
  /** Shape of the answer. */
  answer: z.ZodType;
  status?: number;
  /** Codes of the problems that are the caller's to solve. */
  problems?: readonly string[];
  /** May depend on the answer: 503 of `/ready`. */
  statusOf?: (answer: unknown) => number;
  /** Text is JSON already. */
  handle(
    input: { params: P; query: Q; headers: H; body: B; sender: string; response: Response },
    context: ApiContext,
  ): unknown | Promise<unknown>;
}

export function route<P, Q, B, H>(definition: Route<P, Q, B, H>): Route {
  return definition as unknown as Route;
}

export function handlerOf(definition: Route, context: ApiContext, cache: AnswerCache): RequestHandler {
  return async (request, response) => {
    const sender = senderOf(request.socket.remoteAddress);
    const posting = definition.method === "post";
    (posting ? context.rateLimit : context.readLimit).take(sender);
    if (definition.ofTables) {
      const known = request.headers["if-none-match"] === undefined ? undefined : cache.etag(request.url);
      if (known !== undefined && isFresh(request, response, known)) return;
      const { etag, body } = await cache.answer(request.url, async () => {
        const input = { ...inputOf(definition, request), sender, response };
        return (await definition.handle(input, context)) as TableAnswer;
      });
      return send(request, response, { etag, body });
    }
    try {
      const answer = await definition.handle({ ...inputOf(definition, request), sender, response }, context);
      if (definition.answerType === "text/event-stream") return;
      const status = definition.statusOf?.(answer) ?? definition.status ?? 200;
      response.set("cache-control", "no-cache");
      response
        .status(status)
        .type("application/json")
        .send(typeof answer === "string" ? answer : toJson(answer));
    } catch (error) {
      // What this indexer cannot do at the moment is no fault of the sender's.
      if (posting && problemOf(error).status < 500) context.rateLimit.refuse(sender);
      throw error;
    }
  };
}

function inputOf(definition: Route, request: Request) {
  const parse = (schema: z.ZodType | undefined, value: unknown, code: string, what: string) =>
    schema === undefined ? undefined : parseWith(schema, value, { code, what });
  return {
    params: parse(definition.params, request.params, "QUERY_INVALID", "The path"),
    query: parse(definition.query, request.query, "QUERY_INVALID", "The query"),
    headers: parse(definition.headers, request.headers, "QUERY_INVALID", "The headers"),
    body: parse(definition.body, request.body, "ORDER_INVALID", "The body"),
  };
}

/** What express does for any body, without looking at this one again. */
function send(request: Request, response: Response, { etag, body }: Kept): void {
  if (isFresh(request, response, etag)) return;
  response.setHeader("content-type", "application/json; charset=utf-8");
  response.setHeader("content-length", body.length);
  response.end(body);
}

/** Answers a caller who has what `etag` marks. */
function isFresh(request: Request, response: Response, etag: string): boolean {
  response.setHeader("cache-control", "no-cache");
  response.setHeader("etag", etag);
  if (request.fresh) response.status(304).end();
  return response.writableEnded;
}
