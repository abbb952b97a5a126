import type { Follower, Rpc } from "@berth/chain";
import { type Deployment, parseWith, toJson } from "@berth/protocol";
import type { RequestHandler } from "express";
import type { z } from "zod";
import type { LiveBook } from "../book/live-book.ts";
import type { Matcher } from "../match/matcher.ts";
import type { Database } from "../store/database.ts";
import type { RateLimit } from "./rate-limit.ts";

/** What handlers work with. */
export interface ApiContext {
  db: Database;
  live: LiveBook;
  rpc: Rpc;
  deployment: Deployment;
  follower: Follower;
  matcher: Matcher | undefined;
  rateLimit: RateLimit;
  /** Unix seconds, as the chain counts them. */
  now: () => number;
  /** Is the book as new as the chain? */
  caughtUp: () => boolean;
}

/** One call of the API: the same record parses its input, answers it, and describes it in OpenAPI. */
export interface Route<P = unknown, Q = unknown, B = unknown> {
  method: "get" | "post";
  /** In the form of OpenAPI: `/jobs/{jobId}`. */
  path: string;
  summary: string;
  params?: z.ZodType<P, unknown>;
  query?: z.ZodType<Q, unknown>;
  body?: z.ZodType<B, unknown>;
  /** Shape of the answer. */
  answer: z.ZodType;
  status?: number;
  /** Codes of the problems that are the caller's to solve. */
  problems?: readonly string[];
  /** May depend on the answer: 503 of `/ready`. */
  statusOf?: (answer: unknown) => number;
  handle(input: { params: P; query: Q; body: B; sender: string }, context: ApiContext): unknown | Promise<unknown>;
}

export function route<P, Q, B>(definition: Route<P, Q, B>): Route {
  return definition as unknown as Route;
}

export function handlerOf(definition: Route, context: ApiContext): RequestHandler {
  return async (request, response) => {
    const parse = (schema: z.ZodType | undefined, value: unknown, code: string, what: string) =>
      schema === undefined ? undefined : parseWith(schema, value, { code, what });
    const sender = request.socket.remoteAddress ?? "unknown";
    const posting = definition.method === "post";
    if (posting) context.rateLimit.take(sender);
    try {
      const input = {
        params: parse(definition.params, request.params, "QUERY_INVALID", "The path"),
        query: parse(definition.query, request.query, "QUERY_INVALID", "The query"),
        body: parse(definition.body, request.body, "ORDER_INVALID", "The body"),
        sender,
      };
      const answer = await definition.handle(input, context);
      const status = definition.statusOf?.(answer) ?? definition.status ?? 200;
      response.status(status).type("application/json").send(toJson(answer));
    } catch (error) {
      if (posting) context.rateLimit.refuse(sender);
      throw error;
    }
  };
}
