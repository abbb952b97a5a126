import { rm } from "node:fs/promises";
import type { Hex } from "@berth/protocol";
import { expect } from "chai";
import { PAGE_BYTES, readOrders } from "../../../indexer/src/peers/order-log.ts";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { putRequest } from "../../../indexer/src/store/orders.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { openPostgres } from "../../../indexer/src/store/postgres-database.ts";
import { eventually } from "../../support/eventually.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { log } from "../support/running-indexer.ts";

describe("readOrders", () => {
  let server: PostgresServer | undefined;
  let db: Database;
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

  it("shows no order before those with smaller numbers, however slowly they are committed", async () => {
    const [slow, fast] = [Promise.withResolvers<void>(), Promise.withResolvers<number>()];
    const first = db.transaction(async (query) => {
      fast.resolve(await putRequest(query, request("1")));
      await slow.promise;
    });
    const number = await fast.promise;
    const second = db.transaction((query) => putRequest(query, request("2")));
    await eventually("the second waits", async () => {
      const waiting = await db.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
      return waiting.length > 0;
    });
    expect(await read()).to.deep.include({ items: [], next: 0 });
    slow.resolve();
    await first;
    const last = await second;
    expect(last).to.be.greaterThan(number);
    const { items, next } = await read();
    expect([items.map(({ seq }) => seq), next]).to.deep.equal([[number, last], last]);
  });

  function read() {
    return readOrders(db.query, { after: 0, limit: 10, now: 0 });
  }
});

describe("a page of orders", () => {
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

  it("ends before it is too large for others to read, goes on behind that, and is never empty", async () => {
    const sizes = [0.9, 0.9, 0.8, 0.1, 3, 0.1].map((pages) => Math.floor(pages * PAGE_BYTES));
    const numbers: number[] = [];
    for (const [i, size] of sizes.entries()) {
      // Whatever they are: these grew in a place that nothing bounds.
      numbers.push(await putRequest(db.query, { ...request(String(i)), sources: [" ".repeat(size)] }));
    }
    const seen: number[][] = [];
    for (let [after, more] = [0, true]; more; ) {
      const page = await readOrders(db.query, { after, limit: 100, now: 0 });
      seen.push(page.items.map(({ seq }) => seq));
      expect(page.next).to.equal(page.items.at(-1)?.seq);
      [after, more] = [page.next, page.more];
    }
    const [a, b, c, d, e, f] = numbers;
    expect(seen).to.deep.equal([[a], [b], [c, d], [e], [f]]);
  });
});

function request(digit: string) {
  return {
    jobId: `0x${digit.repeat(64)}` as Hex,
    receivedAtMs: 1,
    payer: `0x${"1".repeat(40)}` as Hex,
    openUntil: 10,
    request: { requester: `0x${"1".repeat(40)}` },
    signature: "0x" as Hex,
    payerSignature: "0x" as Hex,
    operators: null,
    sources: [],
  };
}
