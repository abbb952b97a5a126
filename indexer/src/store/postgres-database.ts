import { MarketError } from "@berth/protocol";
import pg from "pg";
import type { Logger } from "pino";
import type { Copy, Database, Query } from "./database.ts";

/** Any number that only Berth indexers use, so that two of them see each other's lock. */
const WRITER_LOCK = 4_207_849_484;

/**
 * A PostgreSQL server. One indexer writes at a time: the lock is a session's and ends with its connection.
 * Throws DATABASE_UNREACHABLE, DATABASE_IN_USE.
 */
export async function openPostgres(url: string, { log }: { log: Logger }): Promise<Database> {
  const pool = new pg.Pool({ connectionString: url, max: 8 });
  pool.on("error", (err) => log.warn({ err }, "database connection lost"));
  const writer = await pool.connect().catch(async (cause: unknown) => {
    await pool.end();
    throw new MarketError("DATABASE_UNREACHABLE", "The database does not accept a connection.", {
      hint: "Check that the server runs and that DATABASE_URL is right.",
      retryable: true,
      cause,
    });
  });
  const { rows } = await writer.query("SELECT pg_try_advisory_lock($1) AS got", [WRITER_LOCK]);
  if (rows[0]?.got !== true) {
    writer.release();
    await pool.end();
    throw new MarketError("DATABASE_IN_USE", "Another indexer is writing to this database.", {
      hint: "Stop it first, or give this one a database of its own.",
    });
  }
  const over =
    (client: pg.Pool | pg.PoolClient): Query =>
    async <Row>(sql: string, params: readonly unknown[] = []) =>
      (await (params.length === 0 ? client.query(sql) : client.query(sql, [...params]))).rows as Row[];
  const db: Database = {
    query: over(pool),
    async transaction(work) {
      const client = await pool.connect();
      let broken: Error | undefined;
      try {
        await client.query("BEGIN");
        const result = await work(over(client), copyOver(client));
        await client.query("COMMIT");
        return result;
      } catch (error) {
        await client.query("ROLLBACK").catch((failure: Error) => {
          broken = failure;
        });
        throw error;
      } finally {
        client.release(broken);
      }
    },
    script: (sql) =>
      db.transaction(async (query) => {
        await query(sql);
      }),
    async close() {
      writer.release();
      await pool.end();
    },
  };
  return db;
}

/** COPY FROM STDIN: the driver has the messages for it, and no call. */
function copyOver(client: pg.PoolClient): Copy {
  return async (target, lines) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const query = new pg.Query(`COPY ${target} FROM STDIN`);
    Object.assign(query, {
      callback: (error: Error | null) => (error === null || error === undefined ? resolve() : reject(error)),
      handleCopyInResponse(connection: CopyingConnection) {
        connection.sendCopyFromChunk(Buffer.from(lines));
        connection.endCopyFrom();
      },
    });
    client.query(query);
    await promise;
  };
}

interface CopyingConnection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}
