import type { Listening } from "@berth/content";
import express from "express";
import type { Logger } from "pino";
import { listen } from "../http/listen.ts";
import type { Metrics } from "./metrics.ts";

/** `/metrics` at an address of its own. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function startMetricsServer(
  place: { host: string; port: number },
  metrics: Pick<Metrics, "text" | "contentType">,
  log: Logger,
): Promise<Listening> {
  const app = express();
  app.disable("x-powered-by");
  app.get("/metrics", async (_request, response) => {
    try {
      response.set("Content-Type", metrics.contentType).send(await metrics.text());
    } catch (error) {
      log.error({ err: error }, "metrics could not be read");
      response.status(500).type("text/plain").send("The metrics could not be read.\n");
    }
  });
  const settings = { host: "http.metricsHost", port: "http.metricsPort" };
  return await listen(app, { ...place, settings });
}
