import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import { type ContentStore, createGateway } from "@berth/content";
import { bytes32Schema, MarketError } from "@berth/protocol";
import express, { type Express, type Response } from "express";
import type { Logger } from "pino";

/** What the server tells about one replica. Public, so nothing secret. */
interface PhaseAnswer {
  jobId: string;
  replica: number;
  phase: string;
  /** Unix seconds. */
  since: number;
  message?: string;
}

export interface NodeServerOptions {
  host: string;
  port: number;
  content: ContentStore;
  /** Why the node is not ready; undefined when it is. */
  notReady(): string | undefined;
  phaseOf(jobId: string, replica: number): PhaseAnswer | undefined;
  log: Logger;
}

export interface NodeServer {
  /** `http://host:port` with the real port. */
  url: string;
  close(): Promise<void>;
}

/** A reader that takes nothing for this long is cut off. */
const IDLE_MS = 60_000;
const MAX_CONNECTIONS = 512;

/** The node's address for the world: content by CID, and how its jobs stand. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function startNodeServer(options: NodeServerOptions): Promise<NodeServer> {
  const { host, port } = options;
  const server = createServer(createApp(options));
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = IDLE_MS;
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, "listening");
  } catch (cause) {
    throw listenError(host, port, cause);
  }
  const { port: taken } = server.address() as AddressInfo;
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

function createApp({ content, notReady, phaseOf, log }: NodeServerOptions): Express {
  const app = express();
  app.disable("x-powered-by");
  app.use(createGateway({ store: content, log }));
  app.get("/health", (_request, response) => void response.json({ alive: true }));
  app.get("/ready", (_request, response) => {
    const reason = notReady();
    if (reason === undefined) response.json({ ready: true });
    else problem(response, 503, new MarketError("NOT_READY", reason, { hint: "Ask again in a moment." }));
  });
  app.get("/jobs/:jobId/:replica", (request, response) => {
    const jobId = bytes32Schema.safeParse(request.params.jobId);
    const replica = Number(request.params.replica);
    const answer = jobId.success && Number.isInteger(replica) ? phaseOf(jobId.data, replica) : undefined;
    if (answer !== undefined) response.set("Cache-Control", "no-store").json(answer);
    else problem(response, 404, new MarketError("JOB_UNKNOWN", "This node has no such replica."));
  });
  app.use((_request, response) =>
    problem(response, 404, new MarketError("NOT_FOUND", "There is nothing at this address.")),
  );
  return app;
}

/** RFC 9457 problem details. */
function problem(response: Response, status: number, { code, message, hint }: MarketError): void {
  const body = { type: "about:blank", title: code, status, code, detail: message, ...(hint !== undefined && { hint }) };
  response.status(status).type("application/problem+json").send(JSON.stringify(body));
}

function listenError(host: string, port: number, cause: unknown): unknown {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") {
    return new MarketError("PORT_TAKEN", `Port ${port} on ${host} is in use by another program.`, {
      hint: "Stop that program, or choose another port with --port.",
      retryable: true,
      cause,
    });
  }
  if (code === "EADDRNOTAVAIL" || code === "EACCES" || code === "ENOTFOUND") {
    return new MarketError("ADDRESS_UNAVAILABLE", `The node cannot listen on ${host}:${port}.`, {
      hint: "Choose an address of this machine with --host, and a port above 1023 unless you are root.",
      cause,
    });
  }
  return cause;
}
