import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** A registry that speaks the OCI distribution protocol: what a pull needs, with blobs in memory. */
export interface TestRegistry {
  /** `oci://host:port/team/app` */
  source: string;
  url: string;
  /** Every request, oldest first. */
  requests: { path: string; authorization: string | undefined }[];
  /** Takes in every blob of a layout, as manifest and as blob. */
  push(layoutDir: string): void;
  /** Takes in bytes and returns their digest. */
  put(bytes: Uint8Array | string): string;
  tag(name: string, digest: string): void;
  /** Adds to the list of what refers to the manifest `digest`. */
  refer(digest: string, ...entries: object[]): void;
  close(): Promise<void>;
}

export interface RegistryMood {
  /** Ask for a token, and take only the one that the token service gave. */
  asksForToken?: boolean;
  /** Ask for this account, as `user:password` or `token`: at the token service where there is one, else for each request. */
  account?: string;
  /** How many entries a page of the list of referrers has. Absent: there are no such lists. */
  referrersPage?: number;
  /** Where a blob is to be fetched instead. */
  redirectBlob?: (digest: string) => string;
  /** Does something of its own with a request and returns true, or leaves it be. */
  mischief?: (path: string, response: ServerResponse) => boolean;
}

/** Where it listens, and with what certificate. By default on this machine, and with none. */
export interface RegistryDoor {
  address: string;
  tls?: { key: Buffer; cert: Buffer };
}

const TOKEN = "a-token-for-anyone";
const REPOSITORY = "team/app";

export async function startRegistry(
  mood: RegistryMood = {},
  { address, tls }: RegistryDoor = { address: "127.0.0.1" },
): Promise<TestRegistry> {
  const blobs = new Map<string, Uint8Array>();
  const tags = new Map<string, string>();
  const referrers = new Map<string, object[]>();
  const requests: TestRegistry["requests"] = [];
  const listener = (request: IncomingMessage, response: ServerResponse) => answer(request, response);
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  server.listen(0, address);
  await once(server, "listening");
  const host = `${address}:${(server.address() as AddressInfo).port}`;
  const url = `${tls === undefined ? "http" : "https"}://${host}`;

  function answer({ url: path = "", headers }: IncomingMessage, response: ServerResponse): void {
    requests.push({ path, authorization: headers.authorization });
    if (mood.mischief?.(path, response) === true) return;
    const isKnown = mood.account === undefined || headers.authorization === authorizationOf(mood.account);
    if (path.startsWith("/token")) {
      if (!isKnown) {
        response.writeHead(401).end();
        return;
      }
      const { searchParams } = new URL(path, url);
      const isRight =
        searchParams.get("scope") === `repository:${REPOSITORY}:pull` && searchParams.get("service") === host;
      response.writeHead(isRight ? 200 : 400).end(JSON.stringify({ token: TOKEN }));
      return;
    }
    if (mood.asksForToken === true && headers.authorization !== `Bearer ${TOKEN}`) {
      const challenge = `Bearer realm="${url}/token",service="${host}",scope="repository:${REPOSITORY}:pull"`;
      response.writeHead(401, { "WWW-Authenticate": challenge }).end();
      return;
    }
    if (mood.asksForToken !== true && !isKnown) {
      response.writeHead(401, { "WWW-Authenticate": `Basic realm="${host}"` }).end();
      return;
    }
    if (path.startsWith("/v2/team/app/referrers/") && mood.referrersPage !== undefined) {
      listReferrers(new URL(path, url), mood.referrersPage, response);
      return;
    }
    const [, kind, reference = ""] = /^\/v2\/team\/app\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? [];
    const digest = kind === "manifests" ? (tags.get(reference) ?? reference) : reference;
    const bytes = blobs.get(digest);
    if (kind === undefined || bytes === undefined) {
      response.writeHead(404).end(JSON.stringify({ errors: [{ code: "MANIFEST_UNKNOWN" }] }));
    } else if (kind === "blobs" && mood.redirectBlob !== undefined) {
      response.writeHead(307, { Location: mood.redirectBlob(digest) }).end();
    } else {
      response.writeHead(200, { "Content-Length": bytes.length, "Docker-Content-Digest": digest }).end(bytes);
    }
  }

  function listReferrers({ pathname, searchParams }: URL, size: number, response: ServerResponse): void {
    const all = referrers.get(pathname.split("/").at(-1) ?? "") ?? [];
    const from = Number(searchParams.get("from") ?? 0);
    const headers = { "Content-Type": "application/vnd.oci.image.index.v1+json" };
    const next = from + size < all.length ? { Link: `<${pathname}?from=${from + size}>; rel="next"` } : {};
    const manifests = all.slice(from, from + size);
    response.writeHead(200, { ...headers, ...next }).end(JSON.stringify({ schemaVersion: 2, manifests }));
  }

  const put = (bytes: Uint8Array | string) => {
    const digest = digestOf(bytes);
    blobs.set(digest, Buffer.from(bytes));
    return digest;
  };
  return {
    source: `oci://${host}/${REPOSITORY}`,
    url,
    requests,
    push(layoutDir) {
      const folder = join(layoutDir, "blobs/sha256");
      for (const name of readdirSync(folder)) put(readFileSync(join(folder, name)));
    },
    put,
    tag: (name, digest) => void tags.set(name, digest),
    refer: (digest, ...entries) => void referrers.set(digest, [...(referrers.get(digest) ?? []), ...entries]),
    async close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** `user:password` goes as Basic, anything else as a token. */
export function authorizationOf(account: string): string {
  return account.includes(":") ? `Basic ${Buffer.from(account).toString("base64")}` : `Bearer ${account}`;
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
