import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import { MarketError } from "@berth/protocol";
import express from "express";
import type { Logger } from "pino";
import { errnoOf } from "./block-files.ts";
import { createGateway } from "./gateway.ts";
import type { ContentStore } from "./store.ts";

/** A reader that takes nothing for this long is cut off. */
const IDLE_MS = 60_000;
const MAX_CONNECTIONS = 512;

export interface Gateway {
  /** Base URL that readers put in their list of sources. */
  url: string;
  /** Stops listening and cuts what is still open. */
  close(): Promise<void>;
}

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
  const server = createServer(app);
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = IDLE_MS;
  await listen(server, host, port);
  const { port: taken } = server.address() as AddressInfo;
  const url = `http://${isIPv6(host) ? `[${host}]` : host}:${taken}`;
  log.info({ url }, "content gateway listening");
  return { url, close: () => close(server) };
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, "listening");
  } catch (cause) {
    const code = errnoOf(cause);
    if (code === "EADDRINUSE") {
      throw new MarketError("PORT_TAKEN", `Port ${port} on ${host} is in use by another program.`, {
        hint: "Stop that program, or choose another port for the content gateway.",
        retryable: true,
        cause,
      });
    }
    if (code === "EADDRNOTAVAIL" || code === "EACCES" || code === "ENOTFOUND") {
      throw new MarketError("ADDRESS_UNAVAILABLE", `The content gateway cannot listen on ${host}:${port}.`, {
        hint: "Choose an address of this machine, and a port above 1023 unless you are root.",
        cause,
      });
    }
    throw cause;
  }
}

async function close(server: Server): Promise<void> {
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}
