import { rm } from "node:fs/promises";
import { memoryOutboxStore, type OutboxEntry, type OutboxStore } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import { expect } from "chai";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { migrations } from "../../../indexer/src/store/migrations.ts";
import { postgresOutboxStore } from "../../../indexer/src/store/outbox-store.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { newDataFolder } from "../support/data-folder.ts";

describe("store", () => {
  let folder: string;
  let db: Database;
  before(async () => {
    folder = await newDataFolder();
    db = await openPglite(folder);
    await migrate(db);
  });
  after(async () => {
    await db?.close();
    await rm(folder, { recursive: true, force: true });
  });

  describe("migrate", () => {
    it("does nothing when the schema is up to date", async () => {
      await migrate(db);
      expect(await db.query("SELECT count(*)::int AS steps FROM schema_version")).to.deep.equal([
        { steps: migrations.length },
      ]);
    });

    it("takes back a step that fails, and goes on from there later", async () => {
      const next = { version: 90, name: "it's a test", sql: "CREATE TABLE half (a int); SELECT no_such_function();" };
      const failed = await migrate(db, [...migrations, next]).catch((error: unknown) => error);
      expect(String(failed)).to.match(/no_such_function/);
      await migrate(db, [...migrations, { ...next, sql: "CREATE TABLE half (a int)" }]);
      expect(await db.query("SELECT * FROM half")).to.deep.equal([]);
    });

    it("refuses data of a newer program", async () => {
      const error = (await migrate(db).catch((thrown: unknown) => thrown)) as MarketError;
      expect(error).to.be.instanceOf(MarketError).and.include({ code: "DATABASE_NEWER" });
      expect(error.message).to.equal(`The data has schema 90; this indexer knows only up to ${migrations.length}.`);
    });
  });

  describe("transaction", () => {
    it("writes everything or nothing", async () => {
      const failed = await db
        .transaction(async (query) => {
          await query("INSERT INTO blocks VALUES (1, '\\x01', '\\x00', 5)");
          throw new Error("half-way");
        })
        .catch((error: unknown) => error);
      expect(String(failed)).to.equal("Error: half-way");
      expect(await db.query("SELECT * FROM blocks")).to.deep.equal([]);
    });
  });

  describe("outbox store", () => {
    it("keeps entries as the store in memory does", async () => {
      const stores: OutboxStore[] = [postgresOutboxStore(db), memoryOutboxStore()];
      const [stored, expected] = await Promise.all(stores.map(use));
      expect(stored).to.deep.equal(expected);
    });
  });
});

async function use(store: OutboxStore): Promise<unknown[]> {
  const seen: unknown[] = [];
  seen.push(await store.insertIfAbsent(entry("a")), await store.insertIfAbsent({ ...entry("a"), value: 9n }));
  seen.push(await store.insertIfAbsent(entry("b")));
  await store.update({ ...entry("a"), state: "sent", nonce: 4, gasCost: 7n, signedAtMs: 1000 });
  await store.update({ ...entry("b"), state: "final", gasCost: 5n, signedAtMs: 2000 });
  seen.push(await store.get("a"), await store.get("none"), await store.listOpen());
  seen.push(await store.gasCostSince(1000), await store.gasCostSince(1001), await store.gasCostSince(3000));
  return seen;
}

function entry(key: string): OutboxEntry {
  return {
    key,
    chainId: 31337,
    from: `0x${"1".repeat(40)}`,
    to: `0x${"2".repeat(40)}`,
    data: "0x1234",
    value: 3n,
    gasLimit: null,
    state: "queued",
    nonce: null,
    attempts: [],
    mined: null,
    error: null,
    gasCost: 0n,
    createdAtMs: 1,
    signedAtMs: null,
  };
}
