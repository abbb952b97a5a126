import { rm } from "node:fs/promises";
import { expect } from "chai";
import type { Database } from "../../../indexer/src/store/database.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { openPostgres } from "../../../indexer/src/store/postgres-database.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { log } from "../support/running-indexer.ts";

const READ_MS = 300;

describe("Database", () => {
  let server: PostgresServer | undefined;
  let folder: string;
  before(async () => {
    server = await startPostgres();
    folder = await newDataFolder();
  });
  after(async () => {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  for (const driver of ["embedded", "server"] as const) {
    describe(driver, () => {
      let db: Database | undefined;
      before(async function () {
        if (driver === "server" && server === undefined) this.skip();
        db = driver === "embedded" ? await openPglite(folder) : await openPostgres(server?.url ?? "", { log });
        await db.script("CREATE TABLE sums (name text PRIMARY KEY, amount bigint NOT NULL)");
      });
      after(() => db?.close());
      beforeEach(async () => {
        await write("DELETE FROM sums");
        await write("INSERT INTO sums VALUES ('ada', 5), ('rex', 7)");
      });
      const write = (sql: string) => (db as Database).transaction((query) => query(sql));
      const names = async () =>
        ((await db?.query<{ name: string }>("SELECT name FROM sums ORDER BY name")) ?? []).map(({ name }) => name);

      it("undoes all of a transaction that fails, and goes on", async () => {
        const failed = db?.transaction(async (query) => {
          await query("INSERT INTO sums VALUES ($1, $2::bigint)", ["eve", "1"]);
          await query("INSERT INTO sums VALUES ($1, $2::bigint)", ["ada", "1"]);
        });
        expect(await failed?.catch((error: unknown) => error)).to.have.property("code", "23505");
        expect(await names()).to.deep.equal(["ada", "rex"]);
        await write("INSERT INTO sums VALUES ('eve', 1)");
        expect(await names()).to.deep.equal(["ada", "eve", "rex"]);
      });

      it("takes no write in a snapshot", async () => {
        const refused = db?.snapshot((query) => query("INSERT INTO sums VALUES ('eve', 1)"));
        expect(await refused?.catch((error: unknown) => error)).to.have.property("code", "25006");
        expect(await names()).to.deep.equal(["ada", "rex"]);
      });

      it("reads one moment in a snapshot, whatever is written meanwhile", async () => {
        let written: Promise<unknown> | undefined;
        const seen = await db?.snapshot(async (query) => {
          const first = await query("SELECT amount::text AS amount FROM sums WHERE name = 'ada'");
          written = write("UPDATE sums SET amount = amount + 1");
          // One connection takes its turns; a server does both at once, so the write is over before the second look.
          if (driver === "server") await written;
          return [...first, ...(await query("SELECT amount::text AS amount FROM sums WHERE name = 'rex'"))];
        });
        await written;
        expect(seen).to.deep.equal([{ amount: "5" }, { amount: "7" }]);
        expect(await db?.query("SELECT sum(amount)::text AS sum FROM sums")).to.deep.equal([{ sum: "14" }]);
      });
    });
  }

  describe("on a server", () => {
    let db: Database;
    beforeEach(async function () {
      if (server === undefined) this.skip();
      db = await openPostgres(server.url, { log, readMs: READ_MS });
    });
    afterEach(() => db?.close());

    it("stops a question that takes too long, and not a transaction", async () => {
      const slow = await db.query("SELECT pg_sleep(60)").catch((error: unknown) => error);
      expect(slow).to.include({ code: "QUERY_TOO_SLOW", retryable: true });
      await db.transaction((query) => query("SELECT pg_sleep($1::float / 1000)", [String(READ_MS + 50)]));
    });

    it("prepares what is asked again, and keeps no more of it than it may", async () => {
      const prepared = await db.snapshot(async (query) => {
        for (let i = 0; i < 2; i++) await query("SELECT 'first' AS what, $1::int AS n", [i]);
        const [one] = await query("SELECT count(*)::int AS n FROM pg_prepared_statements");
        for (let i = 0; i < 300; i++) {
          const twice = [
            await query(`SELECT $1::int + ${i} AS n`, [1]),
            await query(`SELECT $1::int + ${i} AS n`, [2]),
          ];
          expect(twice).to.deep.equal([[{ n: i + 1 }], [{ n: i + 2 }]]);
        }
        const [most] = await query("SELECT count(*)::int AS n FROM pg_prepared_statements");
        const gone = await query("SELECT 1 FROM pg_prepared_statements WHERE statement LIKE '%first%' AND $1", [true]);
        const again = await query("SELECT 'first' AS what, $1::int AS n", [5]);
        return { one, most, gone, again };
      });
      expect(prepared).to.deep.equal({ one: { n: 1 }, most: { n: 256 }, gone: [], again: [{ what: "first", n: 5 }] });
    });

    it("outlives a connection that the server ends", async () => {
      const [mine] = await db.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
      const ended = db.transaction(async (query) => {
        const [own] = await query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
        await db
          .query("SELECT pg_terminate_backend($1), pg_terminate_backend($2)", [own?.pid, mine?.pid])
          .catch(() => {});
        await query("SELECT 1");
      });
      expect(await ended.catch((error: unknown) => error)).to.be.an("error");
      expect(await db.query("SELECT 1 AS one")).to.deep.equal([{ one: 1 }]);
      expect(await db.transaction((query) => query("SELECT 2 AS two"))).to.deep.equal([{ two: 2 }]);
    });
  });
});
