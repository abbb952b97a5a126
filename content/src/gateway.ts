import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { errorToJson, MarketError } from "@berth/protocol";
import { type Request, type Response, Router } from "express";
import type { CID } from "multiformats/cid";
import type { Logger } from "pino";
import { isSupported, parseCid } from "./cids.ts";
import { isMissing } from "./dag.ts";
import type { ContentStore } from "./store.ts";

const RAW = "application/vnd.ipld.raw";
const CAR = "application/vnd.ipld.car";
const CAR_FULL = `${CAR}; version=1; order=dfs; dups=n`;
/** The empty block as an identity CID: readers ask for it to see whether a gateway is alive. */
const PROBE = "bafkqaaa";

interface GatewayOptions {
  store: ContentStore;
  log: Logger;
}

/**
 * The published Trustless Gateway subset: `GET|HEAD /ipfs/{cid}` as a raw block or a CAR of the whole DAG (or of its root
 * block with `dag-scope=block`). Whoever reads verifies; anyone may read everything in the store by CID.
 */
export function createGateway(options: GatewayOptions): Router {
  const router = Router();
  router.get("/ipfs/:cid", (request, response) => answer(request, response, options));
  router.get("/ipfs/:cid/*path", (_request, response) =>
    refuse(
      response,
      501,
      new MarketError("NOT_SERVED", "Paths below a CID are not served.", { hint: "Ask for the CID itself." }),
    ),
  );
  return router;
}

async function answer(request: Request<{ cid: string }>, response: Response, options: GatewayOptions): Promise<void> {
  const { store, log } = options;
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    response.set({ "Access-Control-Allow-Origin": "*", "X-Content-Type-Options": "nosniff", Vary: "Accept" });
    const cid = parseCid(request.params.cid);
    const format = formatOf(request);
    if (format === undefined) {
      const error = new MarketError("NOT_ACCEPTABLE", "Only raw blocks and CARs are served.", {
        hint: `Send "Accept: ${RAW}" or "Accept: ${CAR}", or add ?format=raw or ?format=car.`,
      });
      return refuse(response, 406, error);
    }
    if (cid.toString() === PROBE) return sendBytes(request, response, cid, new Uint8Array());
    if (!isSupported(cid)) return refuse(response, 404, absent(cid));
    if (format === "raw") return await sendRaw(request, response, cid, store, gone.signal);
    await sendCar(request, response, cid, store, gone.signal);
  } catch (error) {
    if (gone.signal.aborted) return;
    if (response.headersSent) {
      log.warn({ cid: request.params.cid, error: errorToJson(error) }, "content stream broke");
      response.destroy();
    } else if (isMissing(error)) {
      refuse(response, 404, error);
    } else if (error instanceof MarketError && error.code === "CID_INVALID") {
      refuse(response, 400, error);
    } else {
      log.error({ cid: request.params.cid, err: error }, "content request failed");
      refuse(response, 500, new MarketError("INTERNAL", "The content could not be read.", { retryable: true }));
    }
  }
}

async function sendRaw(
  request: Request,
  response: Response,
  cid: CID,
  { blocks }: ContentStore,
  signal: AbortSignal,
): Promise<void> {
  if (request.method !== "HEAD") return sendBytes(request, response, cid, await blocks.get(cid, { signal }));
  const size = await blocks.size(cid, { signal });
  if (size === undefined) throw absent(cid);
  describe(response, cid, { type: RAW, etag: `"${cid}.raw"`, file: `${cid}.bin` });
  response.set("Content-Length", String(size)).end();
}

function sendBytes(request: Request, response: Response, cid: CID, bytes: Uint8Array): void {
  describe(response, cid, { type: RAW, etag: `"${cid}.raw"`, file: `${cid}.bin` });
  if (request.fresh) response.status(304).end();
  else response.set("Content-Length", String(bytes.length)).end(bytes);
}

async function sendCar(
  request: Request,
  response: Response,
  cid: CID,
  store: ContentStore,
  signal: AbortSignal,
): Promise<void> {
  const scope = request.query["dag-scope"] ?? "all";
  const unserved = scope !== "all" || request.query["entity-bytes"] !== undefined;
  if (unserved) {
    const error = new MarketError("NOT_SERVED", "Only whole DAGs are served as CAR.", { hint: "Use dag-scope=all." });
    return refuse(response, 501, error);
  }
  // Known to be complete before the first byte: a 404 is better than a stream that breaks.
  if (!(await store.has(cid.toString(), { signal }))) throw absent(cid);
  describe(response, cid, { type: CAR_FULL, etag: `"${cid}.car.dfs.n"`, file: `${cid}.car` });
  response.set("Accept-Ranges", "none");
  if (request.fresh) return void response.status(304).end();
  if (request.method === "HEAD") return void response.end();
  await pipeline(
    Readable.from(store.exportCar(cid.toString(), { signal }), { objectMode: true, highWaterMark: 2 }),
    response,
  );
}

function describe(
  response: Response,
  cid: CID,
  { type, etag, file }: { type: string; etag: string; file: string },
): void {
  response.set({
    "Cache-Control": "public, max-age=29030400, immutable",
    "Content-Disposition": `attachment; filename="${file}"`,
    ETag: etag,
    "X-Ipfs-Path": `/ipfs/${cid}`,
  });
  response.setHeader("Content-Type", type); // not response.type: nothing may be appended
}

/** `?format=` wins over `Accept`, as the specification asks. */
function formatOf(request: Request): "raw" | "car" | undefined {
  const { format } = request.query;
  if (format === "raw" || format === "car") return format;
  if (format !== undefined) return undefined;
  for (const part of (request.get("Accept") ?? "").split(",")) {
    const type = part.split(";")[0]?.trim().toLowerCase();
    if (type === RAW) return "raw";
    if (type === CAR) return /version\s*=\s*"?2/.test(part) ? undefined : "car";
  }
  return undefined;
}

function absent(cid: CID): MarketError {
  return new MarketError("CONTENT_NOT_FOUND", `${cid} is not here.`);
}

function refuse(response: Response, status: number, error: unknown): void {
  response.removeHeader("ETag");
  response.status(status).set("Cache-Control", "no-store").json(errorToJson(error));
}
