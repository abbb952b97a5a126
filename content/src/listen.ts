import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import { MarketError } from "@berth/protocol";
import { errnoOf } from "./block-files.ts";
import { limitConnections } from "./limit-connections.ts";

/** Where to listen, and what to say when that cannot be. */
export interface Place {
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** How many connections an address of the network may have at a time. */
  connectionsPerAddress?: number | undefined;
  /** Who listens, at the beginning of a sentence. */
  who: string;
  /** What to do for another port, or another address. */
  hints: { port: string; host: string };
}

/** An HTTP server that listens. */
export interface Listening {
  /** `http://host:port` with the real port. */
  url: string;
  /** Stops listening and cuts what is still open. */
  close(): Promise<void>;
}

/** A reader that takes nothing for this long is cut off. */
const IDLE_MS = 60_000;
const MAX_CONNECTIONS = 512;
const CONNECTIONS_PER_ADDRESS = 64;

/** Serves `app` until it is closed. Throws PORT_TAKEN, ADDRESS_UNAVAILABLE. */
export async function listen(app: RequestListener, place: Place): Promise<Listening> {
  const { host, port, connectionsPerAddress = CONNECTIONS_PER_ADDRESS } = place;
  const server = createServer(app);
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = IDLE_MS;
  limitConnections(server, connectionsPerAddress);
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

function listenError({ host, port, who, hints }: Place, cause: unknown): unknown {
  const code = errnoOf(cause);
  if (code === "EADDRINUSE") {
    return new MarketError("PORT_TAKEN", `Port ${port} on ${host} is in use by another program.`, {
      hint: hints.port,
      retryable: true,
      cause,
    });
  }
  if (code === "EADDRNOTAVAIL" || code === "EACCES" || code === "ENOTFOUND") {
    return new MarketError("ADDRESS_UNAVAILABLE", `${who} cannot listen on ${host}:${port}.`, {
      hint: hints.host,
      cause,
    });
  }
  return cause;
}
