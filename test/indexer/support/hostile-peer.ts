import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A server that says it is an indexer. */
export interface HostilePeer extends AsyncDisposable {
  url: string;
  /** Paths that it was asked for, with their queries. */
  asked: string[];
}

/** Answers `/orders` as the test says; everything else, and `undefined`, with an empty list. */
export async function hostilePeer(
  answer: (after: number, response: ServerResponse, request: IncomingMessage) => object | undefined,
  told: string[] = [],
): Promise<HostilePeer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://peer");
    asked.push(`${url.pathname}${url.search}`);
    if (url.pathname !== "/orders") {
      response.end(JSON.stringify({ items: told.map((one) => ({ url: one })) }));
      return;
    }
    const said = answer(Number(url.searchParams.get("after")), response, request);
    if (said !== undefined) response.end(JSON.stringify(said));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}
