import { rm } from "node:fs/promises";
import type { Hex } from "@berth/protocol";
import { expect } from "chai";
import type { Database } from "../../../indexer/src/store/database.ts";
import { migrate } from "../../../indexer/src/store/migrate.ts";
import { openPglite } from "../../../indexer/src/store/pglite-database.ts";
import { openPostgres } from "../../../indexer/src/store/postgres-database.ts";
import { copyRows, deleteRows, selectRows, upsertRows } from "../../../indexer/src/store/rows.ts";
import type { Row, Table } from "../../../indexer/src/store/table.ts";
import { identities, jobs, nodes } from "../../../indexer/src/store/tables.ts";
import { newDataFolder } from "../support/data-folder.ts";
import { type PostgresServer, startPostgres } from "../support/postgres.ts";
import { log } from "../support/running-indexer.ts";

const hex = (bytes: number, digit: number) => `0x${String(digit).repeat(2 * bytes)}` as Hex;
/** What COPY, JSON and SQL each have a meaning for. */
const AWKWARD = ["", "\\N", "\\.", "a\tb\nc\rd\\e\bf", "'\"{}[],", "ünï → 🚢", "\\x41", "null"];

describe("rows", () => {
  let folder: string;
  let server: PostgresServer | undefined;
  const databases: [name: string, db: Database][] = [];
  before(async () => {
    folder = await newDataFolder();
    databases.push(["PGlite", await openPglite(folder)]);
    server = await startPostgres();
    if (server !== undefined) databases.push(["PostgreSQL", await openPostgres(server.url, { log })]);
    for (const [, db] of databases) await migrate(db);
  });
  after(async () => {
    for (const [, db] of databases) await db.close();
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  it("are the same whether they were appended or put one by one, down to the order in documents", async () => {
    for (const [name, db] of databases) {
      await bothWays(name, db, nodes, AWKWARD.map(aNode));
      await bothWays(name, db, identities, AWKWARD.map(anIdentity));
      await bothWays(name, db, jobs, AWKWARD.map(aJob));
    }
  });
});

async function bothWays<T extends Table>(name: string, db: Database, of: T, rows: Row<T>[]): Promise<void> {
  const read = async () => [
    await selectRows(db.query, of),
    await db.query(`SELECT t::text AS row FROM "${of.name}" t`),
  ];
  await upsertRows(db.query, of, rows);
  const put = await read();
  expect(put[0], name).to.deep.equal(rows);
  await deleteRows(db.query, of, rows);
  expect(await selectRows(db.query, of)).to.deep.equal([]);
  await db.transaction((_, copy) => copyRows(copy, of, rows));
  expect(await read(), name).to.deep.equal(put);
}

function aNode(wgEndpoint: string, index: number): Row<typeof nodes> {
  return {
    ...{ operator: hex(20, 1), index, key: index % 2 === 0 ? null : hex(20, 2), wgKey: null },
    ...{ prefix: index % 2 === 0 ? null : 2n ** 200n, validTo: 2 ** 40, keyVersion: index, wgEndpoint },
    ...{ contentUrl: wgEndpoint, profileCid: "", revoked: index % 2 === 0, epoch: 0 },
    limits: { maxBond: "9", maxActive: 1, cpuMilli: 2, memoryMiB: 3, diskMiB: 4, gpus: 5 },
    ...{ active: 0, cpuMilli: 0, memoryMiB: 0, diskMiB: 0, gpus: 0, declinedAt: 0, touched: true },
  };
}

function anIdentity(contentUrl: string, index: number): Row<typeof identities> {
  const identity = hex(20, index + 1);
  return {
    identity,
    owner: null,
    lastOwner: hex(20, 9),
    deactivated: false,
    contentUrl,
    contentValidTo: BigInt(index),
  };
}

function aJob(matcher: string, index: number): Row<typeof jobs> {
  return {
    ...{ jobId: hex(32, index + 1), state: "posted", request: { zz: matcher, a: index, m: "1" }, job: null },
    ...{ requester: hex(20, 1), payer: null, token: null, matcher: null, spent: -5n, openReplicas: 2 },
    ...{ postedAt: null, matchedAt: 7, postedTx: hex(32, 3), matchedTx: null, cancelledTx: null },
    ...{ firstBlock: 1, firstLog: index },
  };
}
