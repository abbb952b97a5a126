import { MarketError } from "@berth/protocol";
import type { z } from "zod";
import { createDocument, type ZodOpenApiPathsObject } from "zod-openapi";
import { problemOf } from "./problem.ts";
import type { Route } from "./route.ts";
import { routes } from "./routes/index.ts";
import { problem } from "./schemas.ts";

/** OpenAPI 3.1, from the schemas that the server itself parses with. */
export function openApiDocument(): object {
  const paths: ZodOpenApiPathsObject = {};
  for (const definition of routes) {
    paths[definition.path] = { ...paths[definition.path], [definition.method]: operationOf(definition) };
  }
  return createDocument({
    openapi: "3.1.0",
    info: {
      title: "Berth indexer",
      version: "0.1.0",
      description:
        "What the market's contracts hold, and a book of signed orders. Nothing here has to be believed: every number can be read from the chain, every order proves itself.",
    },
    paths,
  });
}

function operationOf(definition: Route) {
  const { method, path, summary, params, query, headers, body, answer, status = 200 } = definition;
  const type = definition.answerType ?? "application/json";
  const codes = Map.groupBy(problemsOf(definition), (code) => String(problemOf(new MarketError(code, "")).status));
  const refusals = [...codes].map(([http, names]) => [
    http,
    { description: `Refused: ${names.join(", ")}`, content: { "application/problem+json": { schema: problem } } },
  ]);
  return {
    operationId: `${method}${path.replace(/\/\{?(\w)(\w*)\}?/g, (_, first: string, rest: string) => first.toUpperCase() + rest)}`,
    summary,
    requestParams: {
      ...(params === undefined ? {} : { path: params as z.ZodObject }),
      ...(query === undefined ? {} : { query: query as z.ZodObject }),
      ...(headers === undefined ? {} : { header: headers as z.ZodObject }),
    },
    ...(body === undefined
      ? {}
      : { requestBody: { required: true, content: { "application/json": { schema: body } } } }),
    responses: {
      [String(status)]: { description: "Done", content: { [type]: { schema: answer } } },
      ...Object.fromEntries(refusals),
    },
  };
}

/** Those that the route names, and those that its input and the server's limits bring. */
function problemsOf({ params, query, headers, body, statusOf, problems = [] }: Route): string[] {
  const asks = params !== undefined || query !== undefined || headers !== undefined;
  return [
    ...new Set([
      ...problems,
      ...(asks ? ["QUERY_INVALID"] : []),
      ...(body === undefined ? [] : ["BODY_NOT_JSON", "BODY_TOO_LARGE", "BODY_TYPE_UNKNOWN", "INDEXER_BEHIND"]),
      ...(body === undefined ? [] : ["RPC_UNAVAILABLE"]),
      ...(statusOf === undefined ? [] : ["INDEXER_BEHIND"]),
      "RATE_LIMITED",
    ]),
  ];
}
