import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import { MarketError } from "@berth/protocol";
import express, { type Express, type RequestHandler } from "express";
import helmet from "helmet";
import type { Logger } from "pino";
import { createAnswerCache } from "./answer-cache.ts";
import { docsPage } from "./docs-page.ts";
import { createMetrics } from "./metrics.ts";
import { openApiDocument } from "./openapi.ts";
import { notFound, problemHandler } from "./problem.ts";
import { type ApiContext, handlerOf } from "./route.ts";
import { routes } from "./routes/index.ts";
import { senderOf } from "./sender.ts";

/** Largest body in bytes. An order has about two thousand. */
const MAX_BODY = 32 * 1024;
const IDLE_MS = 60_000;
const MAX_CONNECTIONS = 8192;

export interface ApiServer {
  url: string;
  close(): Promise<void>;
}

/** Serves the API. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function startServer(
  { host, port }: { host: string; port: number },
  context: ApiContext,
  { log }: { log: Logger },
): Promise<ApiServer> {
  const server = createServer(createApp(context, { log }));
  server.maxConnections = MAX_CONNECTIONS;
  server.requestTimeout = IDLE_MS;
  server.headersTimeout = IDLE_MS / 2;
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, "listening");
  } catch (cause) {
    throw listenError(host, port, cause);
  }
  const taken = (server.address() as AddressInfo).port;
  return {
    url: `http://${isIPv6(host) ? `[${host}]` : host}:${taken}`,
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function createApp(context: ApiContext, { log }: { log: Logger }): Express {
  const app = express();
  app.set("query parser", "simple");
  app.set("etag", "weak");
  const metrics = createMetrics(context);
  app.use(metrics.observe);
  app.use(helmet({ crossOriginResourcePolicy: { policy: "cross-origin" } }), anyOrigin);
  app.use(express.json({ limit: MAX_BODY, type: () => true, strict: false, inflate: false }));
  const description = openApiDocument();
  const document = JSON.stringify(description);
  const page = docsPage(description);
  const limited = limitedBy(context);
  app.get("/openapi.json", limited, (_, response) => {
    response.type("application/json").send(document);
  });
  app.get("/docs", limited, (_, response) => {
    response.type("text/html").send(page);
  });
  app.get("/metrics", limited, async (_, response) => {
    response.type("text/plain; version=0.0.4").send(await metrics.text());
  });
  const cache = createAnswerCache(context.changes);
  for (const definition of routes) {
    const path = definition.path.replace(/\{(\w+)\}/g, ":$1");
    app[definition.method](path, handlerOf(definition, context, cache));
  }
  app.use(notFound);
  app.use(problemHandler(log));
  return app;
}

/** What is no route of the list counts as a question too. */
function limitedBy({ readLimit }: ApiContext): RequestHandler {
  return (request, _, next) => {
    readLimit.take(senderOf(request.socket.remoteAddress));
    next();
  };
}

/** Everything here is public and no cookie counts, so pages of any origin may ask. */
const anyOrigin: RequestHandler = (request, response, next) => {
  response.set({ "access-control-allow-origin": "*", "access-control-expose-headers": "etag, retry-after" });
  if (request.method !== "OPTIONS") return next();
  response.set({
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": "content-type, if-none-match, last-event-id",
    "access-control-max-age": "86400",
  });
  response.status(204).end();
};

function listenError(host: string, port: number, cause: unknown): MarketError {
  if ((cause as { code?: string }).code === "EADDRINUSE") {
    return new MarketError("PORT_TAKEN", `Port ${port} on ${host} is taken by another program.`, {
      hint: "Stop that program, give another --port, or 0 for any free one.",
      cause,
    });
  }
  return new MarketError("ADDRESS_UNAVAILABLE", `Cannot listen on ${host}:${port}.`, {
    hint: "Give an address of this machine with --host, and a port above 1024 without root.",
    cause,
  });
}
