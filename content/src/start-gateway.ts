import express from "express";
import type { Logger } from "pino";
import { createGateway } from "./gateway.ts";
import { type Listening, listen } from "./listen.ts";
import type { ContentStore } from "./store.ts";

/** Its `url` is what readers put in their list of sources. */
export type Gateway = Listening;

const HINTS = {
  port: "Stop that program, or choose another port for the content gateway.",
  host: "Choose an address of this machine, and a port above 1023 unless you are root.",
};

/** Serves `store` over HTTP; port 0 takes a free one. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function startGateway({
  store,
  host,
  port,
  log,
}: {
  store: ContentStore;
  host: string;
  port: number;
  log: Logger;
}): Promise<Gateway> {
  const app = express();
  app.disable("x-powered-by");
  app.use(createGateway({ store, log }));
  const gateway = await listen(app, { host, port, who: "The content gateway", hints: HINTS });
  log.info({ url: gateway.url }, "content gateway listening");
  return gateway;
}
