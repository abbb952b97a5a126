import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import { MarketError } from "@berth/protocol";
import type { Express } from "express";

/** Where to listen, and which settings say so. */
export interface Place {
  host: string;
  port: number;
  settings: { host: string; port: string };
}

export interface NodeServer {
  /** `http://host:port` with the real port. */
  url: string;
  close(): Promise<void>;
}

/** A reader that takes nothing for this long is cut off. */
const IDLE_MS = 60_000;
const MAX_CONNECTIONS = 512;

/** Serves `app` until it is closed. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function listen(app: Express, place: Place): Promise<NodeServer> {
  const { host, port } = place;
  const server = createServer(app);
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = IDLE_MS;
  server.listen({ host, port, exclusive: true });
  try {
    await once(server, "listening");
  } catch (cause) {
    throw listenError(place, cause);
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

function listenError({ host, port, settings }: Place, cause: unknown): unknown {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "EADDRINUSE") {
    return new MarketError("PORT_TAKEN", `Port ${port} on ${host} is in use by another program.`, {
      hint: `Stop that program, or choose another port with ${settings.port}.`,
      retryable: true,
      cause,
    });
  }
  if (code === "EADDRNOTAVAIL" || code === "EACCES" || code === "ENOTFOUND") {
    return new MarketError("ADDRESS_UNAVAILABLE", `The node cannot listen on ${host}:${port}.`, {
      hint: `Choose an address of this machine with ${settings.host}, and a port above 1023 unless you are root.`,
      cause,
    });
  }
  return cause;
}
