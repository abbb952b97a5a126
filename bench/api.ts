// How fast the query API is, beside what express itself allows: `npm run bench -- api [pages stream] [--seconds=5] [--readers=2000]`.
// Client and server are two processes of this machine on loopback. `pages`: 50 jobs of a real PostgreSQL, in a different
// place of the list each time, beside a bare express handler that reads 50 rows with a prepared statement and sends them as
// JSON; the same page again and again, and asked whether it changed, beside a bare handler that sends the same bytes.
// `stream`: readers of the change stream who each get 50 messages a second, from the commit to the reader, beside the same
// number of bare writes. Nothing may be lost: every reader counts.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { FollowStep } from "@berth/chain";
import express from "express";
import pino from "pino";
import { createChangeHub } from "../indexer/src/http/change-hub.ts";
import { createRateLimit } from "../indexer/src/http/rate-limit.ts";
import type { ApiContext } from "../indexer/src/http/route.ts";
import { startServer } from "../indexer/src/http/server.ts";
import { createStreams } from "../indexer/src/http/streams.ts";
import { recordChanges } from "../indexer/src/store/changes.ts";
import type { Database } from "../indexer/src/store/database.ts";
import { migrate } from "../indexer/src/store/migrate.ts";
import { openPostgres } from "../indexer/src/store/postgres-database.ts";
import { startPostgres } from "../test/indexer/support/postgres.ts";
import { createReport, percentile, type Report } from "./lib/report.ts";

const JOBS = 20_000;
const CONNECTIONS = 32;
const PER_SECOND = 50;
const ROUNDS = 3;
const STREAM_SECONDS = 5;
const MADE_AT = '"madeAt":';
const log = pino({ level: "silent" });
const flags = process.argv.slice(2);
const flag = (name: string, otherwise: number) =>
  Number(flags.find((one) => one.startsWith(`--${name}=`))?.split("=")[1] ?? otherwise);
const seconds = flag("seconds", 5);
const readers = flag("readers", 2_000);

if (process.send === undefined) await measure();
else await serve();

async function measure(): Promise<void> {
  const postgres = await startPostgres();
  if (postgres === undefined) throw new Error("This needs PostgreSQL: apt-get install postgresql");
  const server = fork(import.meta.filename, [postgres.url]);
  const report = createReport("api");
  try {
    const [{ url, bare }] = (await once(server, "message")) as [{ url: string; bare: string }];
    const wanted = flags.filter((one) => !one.startsWith("--"));
    if (wanted.length === 0 || wanted.includes("pages")) await benchPages(url, bare, report);
    if (wanted.length === 0 || wanted.includes("stream")) await benchStream(url, bare, server, report);
  } finally {
    const exited = once(server, "exit");
    server.disconnect();
    await exited;
    await postgres.stop();
  }
  report.print();
}

async function benchPages(url: string, bare: string, { row }: Report): Promise<void> {
  const page = `${url}/jobs?limit=50`;
  const etag = (await fetch(page)).headers.get("etag") ?? "";
  const asked: Record<string, [path: (i: number) => string, headers?: string]> = {
    page: [(i) => `${page}&until=${1_700_000_000 + JOBS - (i % (JOBS - 50))}`],
    rows: [() => `${bare}/rows`],
    same: [() => page],
    bytes: [() => `${bare}/page`],
    unchanged: [() => page, `if-none-match: ${etag}\r\n`],
  };
  const loads: Record<string, Load[]> = {};
  for (let round = 0; round < ROUNDS; round++) {
    for (const [name, [path, headers]] of Object.entries(asked)) {
      loads[name] = [...(loads[name] ?? []), await load(path, headers)];
    }
  }
  const [of, rows, bytes] = [
    (name: string) => middle(loads[name] ?? []),
    middle(loads["rows"] ?? []),
    middle(loads["bytes"] ?? []),
  ];
  if (of("same").bytes !== bytes.bytes) throw new Error("The pages differ.");
  if (of("unchanged").bytes !== 0) throw new Error("An unchanged page has a body.");
  const say = (what: string, name: string, beside: Load) => {
    row(what, "requests/s", of(name).perSecond, beside.perSecond);
    row("  p99", "ms", of(name).p99, beside.p99);
  };
  say("50-row pages, each another; 50 rows from PostgreSQL through bare express", "page", rows);
  say("the same page again; the same bytes through bare express", "same", bytes);
  say("the same page unchanged, 304; the same bytes through bare express", "unchanged", bytes);
}

interface Load {
  perSecond: number;
  p99: number;
  /** Of the last body. */
  bytes: number;
}

async function load(path: (i: number) => string, headers = ""): Promise<Load> {
  const took: number[] = [];
  let [bytes, asked] = [0, 0];
  const startedAt = performance.now();
  const one = async () => {
    const client = await connectTo(path(0));
    while (performance.now() - startedAt < seconds * 1000) {
      const at = performance.now();
      bytes = await client.ask(path(asked++), headers);
      took.push(performance.now() - at);
    }
    client.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
  return { perSecond: took.length / ((performance.now() - startedAt) / 1000), p99: percentile(took, 0.99), bytes };
}

/** As little of HTTP as a client can do with: what it costs is taken from the server, on the same machine. */
async function connectTo(url: string) {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, "connect");
  let waiting: PromiseWithResolvers<number> | undefined;
  let [missing, length] = [0, -1];
  socket.on("data", (chunk: Buffer) => {
    if (length < 0) {
      const end = chunk.indexOf("\r\n\r\n");
      const head = chunk.toString("latin1", 0, end);
      const status = head.slice(9, 12);
      length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
      missing = length + end + 4;
      if (end < 0 || (status !== "200" && status !== "304")) waiting?.reject(new Error(head));
    }
    missing -= chunk.length;
    if (missing > 0) return;
    const all = length;
    length = -1;
    waiting?.resolve(all);
  });
  return {
    ask(path: string, headers: string): Promise<number> {
      waiting = Promise.withResolvers<number>();
      socket.write(`GET ${path.slice(path.indexOf("/", 8))} HTTP/1.1\r\nhost: ${hostname}\r\n${headers}\r\n`);
      return waiting.promise;
    },
    close: () => socket.destroy(),
  };
}

async function benchStream(url: string, bare: string, server: ChildProcess, { row }: Report): Promise<void> {
  const ours = await fanOut(`${url}/events`, server, "record");
  const theirs = await fanOut(`${bare}/events`, server, "write");
  const what = `${readers} readers x ${PER_SECOND} messages/s, commit to reader, p99; bare writes`;
  row(what, "ms", ours.p99, theirs.p99);
  row("  p50", "ms", ours.p50, theirs.p50);
}

/** Each message carries when it was made; every reader must get every one. */
async function fanOut(url: string, server: ChildProcess, how: string) {
  const took: number[] = [];
  let got = 0;
  const sockets: Socket[] = [];
  const { hostname, port, pathname } = new URL(url);
  for (let i = 0; i < readers; i++) {
    const socket = connect(Number(port), hostname);
    let rest: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const cut = bytes.lastIndexOf("\n\n");
      rest = bytes.subarray(cut < 0 ? 0 : cut + 2);
      if (cut < 0) return;
      for (let at = bytes.indexOf(MADE_AT); at >= 0 && at < cut; at = bytes.indexOf(MADE_AT, at + 1)) {
        got++;
        if (i % 10 !== 0) continue;
        const madeAt = Number.parseFloat(bytes.toString("latin1", at + MADE_AT.length, at + MADE_AT.length + 20));
        took.push(performance.timeOrigin + performance.now() - madeAt);
      }
    });
    await once(socket, "connect");
    socket.write(`GET ${pathname} HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
    sockets.push(socket);
  }
  const messages = PER_SECOND * STREAM_SECONDS;
  server.send({ how, messages, readers });
  await once(server, "message");
  const all = messages * readers;
  const deadline = performance.now() + 20_000;
  while (got < all && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  for (const socket of sockets) socket.destroy();
  if (got !== all) throw new Error(`${all - got} of ${all} messages were lost.`);
  return { p50: percentile(took, 0.5), p99: percentile(took, 0.99) };
}

async function serve(): Promise<void> {
  const db = await openPostgres(flags[0] ?? "", { log });
  await migrate(db);
  await fill(db);
  const changes = await createChangeHub(db, { log });
  const many = createRateLimit({ burst: 1e9, perSecond: 1e9 });
  const streams = createStreams({ total: 1e5, perAddress: 1e5 });
  // What the list of jobs and the stream work with.
  const context = {
    db,
    changes,
    streams,
    readLimit: many,
    rateLimit: many,
    matcher: undefined,
  } as unknown as ApiContext;
  const api = await startServer({ host: "127.0.0.1", port: 0 }, context, { log });
  const page = Buffer.from(await (await fetch(`${api.url}/jobs?limit=50`)).arrayBuffer());
  const bareReaders = new Set<express.Response>();
  const app = express();
  app.get("/page", (_, response) => {
    response.type("application/json").send(page);
  });
  app.get("/rows", async (_, response) => {
    // A statement with a parameter is prepared.
    const rows = await db.query("SELECT * FROM jobs WHERE open_replicas = $1 ORDER BY first_block DESC LIMIT 50", [
      "0",
    ]);
    response.json({ items: rows, nextCursor: null });
  });
  app.get("/events", (_, response) => {
    response.removeHeader("transfer-encoding");
    response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    bareReaders.add(response);
    response.once("close", () => bareReaders.delete(response));
  });
  const bare = app.listen(0, "127.0.0.1");
  await once(bare, "listening");
  process.on(
    "message",
    async ({ how, messages, readers: count }: { how: string; messages: number; readers: number }) => {
      while ((how === "record" ? changes.listeners : bareReaders.size) < count) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const startedAt = performance.now();
      for (let i = 0; i < messages; i++) {
        const wait = startedAt + (i * 1000) / PER_SECOND - performance.now();
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
        const row = { madeAt: performance.timeOrigin + performance.now(), state: "matched", filler: "x".repeat(200) };
        if (how === "record") {
          await record(db, `job ${i}`, row);
          changes.wake();
        } else {
          const bytes = Buffer.from(`id: ${i}\nevent: jobs\ndata: ${JSON.stringify(row)}\n\n`);
          for (const response of bareReaders) response.write(bytes);
        }
      }
      process.send?.("done");
    },
  );
  process.once("disconnect", () => process.exit(0));
  process.send?.({ url: api.url, bare: `http://127.0.0.1:${(bare.address() as { port: number }).port}` });
}

function record(db: Database, key: string, row: object): Promise<void> {
  const block = { number: 1, hash: "0x01", parentHash: "0x", timestamp: 1, logs: [] } as const;
  const step: FollowStep = { type: "blocks", blocks: [{ ...block, logs: [] }], head: 1, safe: 1 };
  return db.transaction((query) => recordChanges(query, step, { jobs: new Map([[key, row]]) } as never, 128));
}

/** Cancelled and posted jobs of many requesters, as the projections store them. */
async function fill(db: Database): Promise<void> {
  await db.query(
    `INSERT INTO blocks VALUES (${JOBS}, unhex('0x' || repeat('11', 32)), unhex('0x' || repeat('22', 32)), 1)`,
  );
  await db.query(
    `INSERT INTO jobs (job_id, state, requester, payer, token, spent, open_replicas, posted_at, posted_tx, first_block, first_log)
     SELECT decode(lpad(to_hex(n), 64, '0'), 'hex'), 'posted', decode(lpad(to_hex(n % 500), 40, '0'), 'hex'),
            decode(lpad(to_hex(n % 500), 40, '0'), 'hex'), decode(repeat('aa', 20), 'hex'), n, 0, 1700000000 + n,
            decode(repeat('bb', 32), 'hex'), n, 0
     FROM generate_series(1, ${JOBS}) n`,
  );
  await db.query("ANALYZE");
}

function middle(loads: Load[]): Load {
  return loads.toSorted((a, b) => a.perSecond - b.perSecond)[Math.floor(loads.length / 2)] as Load;
}
