import { rm } from "node:fs/promises";
import type { FollowStep } from "@berth/chain";
import { expect } from "chai";
import { type ChangeHub, createChangeHub } from "../../../indexer/src/http/change-hub.ts";
import { createRateLimit } from "../../../indexer/src/http/rate-limit.ts";
import type { ApiContext } from "../../../indexer/src/http/route.ts";
import { type ApiServer, startServer } from "../../../indexer/src/http/server.ts";
import { createStreams, type Streams } from "../../../indexer/src/http/streams.ts";
import { recordChanges } from "../../../indexer/src/store/changes.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { type EventReader, openEvents, openStalled } from "../support/event-stream.ts";
import { log } from "../support/running-indexer.ts";

/** More than the kernel's buffers of both ends hold. */
const BULK = { rows: 400, bytes: 64 * 1024 };

describe("a reader of the stream who does not read", () => {
  let folder: string;
  let db: Database;
  let hub: ChangeHub;
  let streams: Streams;
  let server: ApiServer;
  const readers: EventReader[] = [];
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
    hub = await createChangeHub(db, { log });
    streams = createStreams({ total: 4, perAddress: 3 });
    const readLimit = createRateLimit({ burst: 100, perSecond: 100 });
    // The stream needs nothing else of what routes work with.
    const context = { changes: hub, streams, readLimit } as ApiContext;
    server = await startServer({ host: "127.0.0.1", port: 0 }, context, { log });
  });
  after(async () => {
    for (const reader of readers) reader.close();
    hub?.close();
    await server?.close();
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("is dropped with the reason, delays nobody, and can go on where it stopped", async () => {
    const url = `${server.url}/events`;
    const quick = await open(url);
    const stalled = await openStalled(url);
    await eventually("both listen", () => hub.listeners === 2);
    for (let row = 0; row < BULK.rows; row += 20) {
      await record(row, 20);
      hub.wake();
      await quick.next(({ id }) => id === row + 20);
    }
    expect(streams.slow).to.equal(1);
    expect(quick.events).to.have.length(BULK.rows);

    const text = await stalled.text();
    expect(text.trimEnd().split("\n").slice(-2)).to.deep.equal([
      "event: dropped",
      'data: {"code":"READER_TOO_SLOW","detail":"More than 256 KiB waited to be read. Come again with the last id that you have."}',
    ]);
    const ids = [...text.matchAll(/^id: (\d+)\nevent: jobs$/gm)].map(([, id]) => Number(id));
    expect(ids).to.deep.equal(ids.map((_, i) => i + 1));
    const again = await open(url, ids.length);
    await again.next(({ id }) => id === BULK.rows);
    expect(again.events.map(({ id }) => id)).to.deep.equal(quick.events.slice(ids.length).map(({ id }) => id));
    await eventually("its place is free again", () => streams.open === 2);
  });

  it("may not take every place", async () => {
    const before = streams.open;
    for (let i = before; i < 3; i++) await open(`${server.url}/events`);
    const answer = await fetch(`${server.url}/events`);
    expect(answer.status).to.equal(429);
    expect(await answer.json()).to.include({ code: "TOO_MANY_STREAMS", retryable: true });
  });

  async function open(url: string, lastEventId?: number): Promise<EventReader> {
    const reader = await openEvents(url, lastEventId === undefined ? {} : { lastEventId });
    readers.push(reader);
    return reader;
  }

  async function record(from: number, count: number): Promise<void> {
    const row = { payload: "x".repeat(BULK.bytes) };
    const jobs = new Map(Array.from({ length: count }, (_, i) => [String(from + i), row]));
    const block = { number: 1, hash: "0x01", parentHash: "0x", timestamp: 1, logs: [] } as const;
    const step: FollowStep = { type: "blocks", blocks: [{ ...block, logs: [] }], head: 1, safe: 1 };
    await db.transaction((query) => recordChanges(query, step, { jobs } as never, 128));
  }
});
