import { randomUUID } from "node:crypto";
import { type ContentStore, createGateway, type Listening } from "@berth/content";
import { bytes32Schema, MarketError } from "@berth/protocol";
import express, { type Express, type Router } from "express";
import type { Logger } from "pino";
import type { Progress } from "../core/progress.ts";
import type { Hindrance } from "../core/readiness.ts";
import { listen } from "./listen.ts";
import { problem } from "./problem.ts";

/** What the server tells about one replica. Public, so nothing secret. */
export interface PhaseAnswer extends Progress {
  jobId: string;
  replica: number;
  message?: string;
}

export interface NodeServerOptions {
  host: string;
  port: number;
  connectionsPerAddress: number;
  content: ContentStore;
  /** Why the node is not ready; empty when it is. */
  hindrances(): Hindrance[];
  phaseOf(jobId: string, replica: number): PhaseAnswer | undefined;
  /** Serves the logs of replicas to those who pay for them. */
  logs: Router;
  log: Logger;
}

/** The node's address for the world: content by CID, and how its jobs stand. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function startNodeServer(options: NodeServerOptions): Promise<Listening> {
  const { host, port, connectionsPerAddress } = options;
  const settings = { host: "--host", port: "--port" };
  return await listen(createApp(options), { host, port, connectionsPerAddress, settings });
}

function createApp({ content, hindrances, phaseOf, logs, log }: NodeServerOptions): Express {
  const app = express();
  app.disable("x-powered-by");
  app.use(createGateway({ store: content, log }));
  const instance = randomUUID();
  app.get("/health", (_request, response) => void response.json({ alive: true, instance }));
  app.get("/ready", (_request, response) => {
    const reasons = hindrances();
    if (reasons.length === 0) return void response.set("Cache-Control", "no-store").json({ ready: true });
    const detail = reasons.map((reason) => reason.detail).join(" ");
    problem(response, 503, new MarketError("NOT_READY", detail), { reasons });
  });
  app.use(logs);
  app.get("/jobs/:jobId/:replica", (request, response) => {
    const jobId = bytes32Schema.safeParse(request.params.jobId);
    const replica = Number(request.params.replica);
    const answer = jobId.success && Number.isInteger(replica) ? phaseOf(jobId.data, replica) : undefined;
    response.set({ "Cache-Control": "no-store", "Access-Control-Allow-Origin": "*" });
    if (answer !== undefined) response.json(answer);
    else problem(response, 404, new MarketError("JOB_UNKNOWN", "This node has no such replica."));
  });
  app.use((_request, response) =>
    problem(response, 404, new MarketError("NOT_FOUND", "There is nothing at this address.")),
  );
  return app;
}
