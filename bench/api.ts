// How fast the query API is, beside what express itself allows: `npm run bench -- api [pages stream] [--seconds=5] [--readers=2000]`.
// Client and server are two processes of this machine on loopback. `pages`: 50 jobs from a real PostgreSQL, beside a bare
// express handler that sends the same bytes. `stream`: readers of the change stream who each get 50 messages a second, from
// the commit to the reader, beside the same number of bare writes. Nothing may be lost: every reader counts.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { Agent, get } from "node:http";
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
  const [ours, theirs] = [[], []] as [Load[], Load[]];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(await load(`${url}/jobs?limit=50`));
    theirs.push(await load(`${bare}/page`));
  }
  const [page, reference] = [middle(ours), middle(theirs)];
  if (page.bytes !== reference.bytes) throw new Error(`The pages differ: ${page.bytes} and ${reference.bytes} bytes.`);
  const what = "50-row page from PostgreSQL; the same bytes from a bare handler";
  row(what, "requests/s", page.perSecond, reference.perSecond);
  row("  p99", "ms", page.p99, reference.p99);
}

interface Load {
  perSecond: number;
  p99: number;
  bytes: number;
}

async function load(url: string): Promise<Load> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const took: number[] = [];
  let bytes = 0;
  const startedAt = performance.now();
  const one = async () => {
    while (performance.now() - startedAt < seconds * 1000) {
      const at = performance.now();
      bytes = await fetched(url, agent);
      took.push(performance.now() - at);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, one));
  agent.destroy();
  return { perSecond: took.length / ((performance.now() - startedAt) / 1000), p99: percentile(took, 0.99), bytes };
}

function fetched(url: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      response.on("end", () =>
        response.statusCode === 200 ? resolve(bytes) : reject(new Error(`${response.statusCode}`)),
      );
    }).on("error", reject);
  });
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
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      const cut = text.lastIndexOf("\n\n");
      if (cut < 0) return;
      for (const [, at] of text.slice(0, cut).matchAll(/"madeAt":([0-9.]+)/g)) {
        got++;
        if (i % 10 === 0) took.push(performance.timeOrigin + performance.now() - Number(at));
      }
      text = text.slice(cut + 2);
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
