import { once } from "node:events";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { join } from "node:path";
import { errorToJson, MarketError, toJson } from "@berth/protocol";
import express, { type Response } from "express";

/** What only the running process can tell, for `status` and `drain`. */
export interface LiveStatus {
  /** Has it followed the chain to its end and checked its machine? */
  ready: boolean;
  /** The offer that indexers have; null with the reason why there is none. */
  offer: { expiresAt: number } | { none: string };
  /** The error that a replica is being tried again after. */
  troubles: { jobId: string; replica: number; message: string }[];
  /** Content bytes that came in so far for a replica that is being prepared. */
  fetched: { jobId: string; replica: number; bytes: number }[];
}

/** What was thrown away. */
export interface Freed {
  content: { pins: number; blocks: number; bytes: number };
  /** Digests of images. */
  images: string[];
  /** Folders of attempts that are over. */
  staging: string[];
  /** Bytes of all of it, as the disk counts them. */
  freedBytes: number;
}

/** What a person on this machine may ask of the running node. */
export interface AdminActions {
  live(): LiveStatus;
  gc(): Promise<Freed>;
  /** The journal has news from another process. */
  look(): void;
  /** Ends all offers that are out, on chain. Resolves when that is mined. */
  revoke(): Promise<void>;
}

/** Longest path that a unix socket may have. */
const MAX_PATH_BYTES = 107;

export function adminSocketOf(dataDir: string): string {
  return join(dataDir, "admin.sock");
}

/**
 * Answers the commands of this machine's owner on a unix socket in the data folder, which only who runs the node can open.
 * The caller holds the folder's lock. Throws ADMIN_SOCKET_FAILED.
 */
export async function startAdminServer(dataDir: string, actions: AdminActions): Promise<{ close(): Promise<void> }> {
  const path = adminSocketOf(dataDir);
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) {
    throw new MarketError("ADMIN_SOCKET_FAILED", `The path ${path} is too long for a unix socket.`, {
      hint: "Use a data folder with a shorter path; until then `gc` works on a stopped node only, and `status` shows the journal.",
    });
  }
  rmSync(path, { force: true });
  const server = createServer(createApp(actions));
  // Made closed to others: a socket opened between its making and a chmod would stay open.
  const before = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(before);
  }
  await once(server, "listening").catch((cause: unknown) => {
    throw new MarketError("ADMIN_SOCKET_FAILED", `The socket ${path} cannot be made.`, { cause });
  });
  chmodSync(path, 0o600);
  return {
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function createApp(actions: AdminActions): RequestListener {
  const app = express();
  app.disable("x-powered-by");
  app.get("/status", (_request, response) => send(response, 200, actions.live()));
  app.post("/look", (_request, response) => {
    actions.look();
    send(response, 200, {});
  });
  app.post("/revoke", (_request, response) =>
    answer(
      response,
      actions.revoke().then(() => ({})),
    ),
  );
  app.post("/gc", (_request, response) => answer(response, actions.gc()));
  app.use((_request, response) => send(response, 404, { error: { code: "NOT_FOUND", message: "Nothing is here." } }));
  return app;
}

function answer(response: Response, work: Promise<object>): void {
  work.then(
    (body) => send(response, 200, body),
    (error: unknown) => send(response, 500, { error: errorToJson(error) }),
  );
}

function send(response: Response, status: number, body: object): void {
  response.status(status).type("application/json").send(toJson(body));
}
