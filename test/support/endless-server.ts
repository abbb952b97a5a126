import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface EndlessServer extends AsyncDisposable {
  url: string;
  /** Resolves when a client has hung up, with the bytes that were written for it till then. */
  hungUp: Promise<number>;
}

/** A server whose answer to everything never ends. */
export async function endlessServer({ status = 200 } = {}): Promise<EndlessServer> {
  const hungUp = Promise.withResolvers<number>();
  const piece = Buffer.alloc(64 * 1024, " ");
  const server = createServer((_, response) => {
    let bytes = 0;
    response.writeHead(status);
    const pour = () => {
      while (!response.destroyed) {
        bytes += piece.length;
        if (!response.write(piece)) return;
      }
    };
    response.on("drain", pour);
    response.on("close", () => hungUp.resolve(bytes));
    pour();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hungUp: hungUp.promise,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}
