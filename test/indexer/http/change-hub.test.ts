import { rm } from "node:fs/promises";
import type { FollowStep } from "@berth/chain";
import { expect } from "chai";
import { type ChangeHub, createChangeHub, type Listener } from "../../../indexer/src/http/change-hub.ts";
import { recordChanges } from "../../../indexer/src/store/changes.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { log } from "../support/running-indexer.ts";

describe("createChangeHub", () => {
  let folder: string;
  let db: Database;
  let hub: ChangeHub;
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
  });
  beforeEach(async () => {
    await record(5);
    hub = await createChangeHub(db, { log, pollMs: 3_600_000 });
  });
  afterEach(() => hub?.close());
  after(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it("gives a reader who catches up each event once, also those that are stored and not yet read", async () => {
    const from = hub.newest - 5;
    await record(5);
    const reader = newReader();
    hub.listen(reader, from);
    await eventually("it has caught up", () => hub.listeners === 1);
    hub.wake();
    await eventually("the hub has read everything", () => hub.newest === from + 10);
    expect(reader.ids).to.deep.equal(numbered(from + 1, 10));
  });

  it("knows of what another process wrote before it was read, and goes on from there", async () => {
    const from = hub.newest;
    await record(5);
    expect([hub.newest, (await hub.range()).last]).to.deep.equal([from, from + 5]);
    const reader = newReader();
    hub.listen(reader, from + 5);
    await record(2);
    hub.wake();
    await eventually("it has what came then", () => reader.ids.length === 2);
    expect(reader.ids).to.deep.equal([from + 6, from + 7]);
  });

  it("tells a reader when events that it waited for are not kept any more", async () => {
    const from = hub.newest;
    const [reader, behind] = [newReader(), newReader()];
    hub.listen(reader, from);
    await record(10);
    await db.query("DELETE FROM changes WHERE seq <= $1::bigint", [String(from + 8)]);
    hub.wake();
    await eventually("the hub has read everything", () => hub.newest === from + 10);
    expect(reader.lostAt).to.equal(from + 9);
    expect(reader.ids).to.deep.equal([]);
    expect(hub.listeners).to.equal(0);
    hub.listen(behind, from);
    await eventually("who comes after it is told too", () => behind.lostAt === from + 9);
  });

  it("lets a reader who is behind take a large step at its own pace, in order", async () => {
    const from = hub.newest;
    const [quick, slow] = [newReader(), newReader()];
    const link = Promise.withResolvers<boolean>();
    hub.listen(quick, from);
    hub.listen(slow, from);
    await eventually("both listen", () => hub.listeners === 2);
    slow.waiting = () => true;
    slow.drained = () => link.promise;
    await record(1_500);
    hub.wake();
    await eventually("the quick one has everything", () => quick.ids.length === 1_500);
    expect(quick.ids).to.deep.equal(numbered(from + 1, 1_500));
    expect(slow.ids.length).to.be.lessThan(300);
    await record(1);
    hub.wake();
    await eventually("the quick one has what came next", () => quick.ids.length === 1_501);
    slow.waiting = () => false;
    link.resolve(true);
    await eventually("the slow one listens again", () => hub.listeners === 2);
    expect(slow.ids).to.deep.equal(quick.ids);
  });

  async function record(count: number): Promise<void> {
    const jobs = new Map(Array.from({ length: count }, (_, i) => [String(i), { state: "posted" }]));
    const block = { number: 1, hash: "0x01", parentHash: "0x", timestamp: 1 } as const;
    const step: FollowStep = { type: "blocks", blocks: [{ ...block, logs: [] }], head: 1, safe: 1 };
    await db.transaction((query) => recordChanges(query, step, { jobs } as never, 128));
  }
});

interface Reader extends Listener {
  ids: number[];
  lostAt: number | undefined;
}

function newReader(): Reader {
  const reader: Reader = {
    ids: [],
    lostAt: undefined,
    wants: () => true,
    take(bytes) {
      reader.ids.push(...[...bytes.toString().matchAll(/^id: (\d+)\nevent/gm)].map(([, id]) => Number(id)));
    },
    waiting: () => false,
    drained: async () => true,
    lost(first) {
      reader.lostAt = first;
    },
  };
  return reader;
}

function numbered(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}
