import { expect } from "chai";
import { hearNotices } from "../../../indexer/src/cluster/notices.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPostgres } from "../../../indexer/src/store/postgres-database.ts";
import { eventually } from "../../support/eventually.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { log } from "../support/running-indexer.ts";

const LISTENERS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'berth-indexer notices'";

describe("hearNotices", () => {
  let server: PostgresServer | undefined;
  let db: Database;
  let stop: AbortController;
  let hearing: Promise<void>;
  let heard: number;
  before(async function () {
    server = await startPostgres();
    if (server === undefined) this.skip();
    db = await openPostgres(server.url, { log });
    await migrate(db);
  });
  after(async () => {
    await db?.close();
    await server?.stop();
  });
  beforeEach(async () => {
    heard = 0;
    stop = new AbortController();
    hearing = hearNotices(server?.url ?? "", {
      onNews: () => {
        heard += 1;
      },
      signal: stop.signal,
      log,
    });
    await isHeard(1); // of the new connection
  });
  afterEach(async () => {
    stop?.abort();
    await hearing;
  });
  const isHeard = (times: number) => eventually(`${times} notices came`, () => heard === times);
  const write = (sql: string) => db.transaction((query) => query(sql));

  it("tells of every kind of news once it is committed, and of nothing that was undone", async () => {
    const undone = db.transaction(async (query) => {
      await query("UPDATE change_counter SET seq = seq + 1");
      throw new Error("undo this");
    });
    await undone.catch(() => {});
    await write("UPDATE change_counter SET seq = seq + 1");
    await isHeard(2);
    await write("INSERT INTO blocks VALUES (1, '\\x01', '\\x00', 1)");
    await isHeard(3);
    await write("DELETE FROM blocks");
    await isHeard(4);
    await write(
      `INSERT INTO offers (offer_hash, received_at_ms, signer, operator, index, token, expires_at, slot, offer, signature)
       VALUES ('\\x01', 1, '\\x02', '\\x03', 0, '\\x04', 1, 'slot', '{}', '\\x05')`,
    );
    await isHeard(5);
    await write(
      `INSERT INTO requests (job_id, received_at_ms, payer, open_until, request, signature, payer_signature, sources)
       VALUES ('\\x01', 1, '\\x02', 1, '{}', '\\x03', '\\x04', '[]')`,
    );
    await isHeard(6);
    await write("UPDATE requests SET sources = '[\"http://a.example\"]'");
    await isHeard(7);
  });

  it("tells again after a new connection, as notices may have been lost with the old one", async () => {
    await db.query(`SELECT pg_terminate_backend(pid) FROM (${LISTENERS}) l`);
    await isHeard(2);
    await write("UPDATE change_counter SET seq = seq + 1");
    await isHeard(3);
    expect((await db.query(LISTENERS)).length).to.equal(1);
  });
});
