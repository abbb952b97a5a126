import { MarketError } from "@berth/protocol";
import pg from "pg";
import type { Logger } from "pino";
import { BEGIN_SNAPSHOT, type Copy, type Database, type Query } from "./database.ts";
import { runStatement } from "./statements.ts";

/** Any number that only Berth indexers use, so that two of them see each other's lock. */
const WRITER_LOCK = 4_207_849_484;
/** Connections that answer questions, and those that transactions have for themselves. */
const READERS = 8;
const WRITERS = 4;
/** How long one question may take, and may wait for a connection. */
const READ_MS = 10_000;
const QUERY_CANCELED = "57014";

export interface PostgresOptions {
  log: Logger;
  /** How long one statement of a reader may take, in milliseconds. */
  readMs?: number;
}

/**
 * A PostgreSQL server. One indexer writes at a time: the lock is a session's and ends with its connection.
 * Throws DATABASE_UNREACHABLE, DATABASE_IN_USE.
 */
export async function openPostgres(url: string, { log, readMs = READ_MS }: PostgresOptions): Promise<Database> {
  const readers = new pg.Pool({
    connectionString: url,
    max: READERS,
    statement_timeout: readMs,
    connectionTimeoutMillis: readMs,
  });
  const writers = new pg.Pool({ connectionString: url, max: WRITERS });
  for (const pool of [readers, writers]) pool.on("error", (err) => log.warn({ err }, "database connection lost"));
  const end = async () => {
    await Promise.all([readers.end(), writers.end()]);
  };
  const writer = await writers.connect().catch(async (cause: unknown) => {
    await end();
    throw unreachable(cause);
  });
  const { rows } = await writer.query("SELECT pg_try_advisory_lock($1) AS got", [WRITER_LOCK]);
  if (rows[0]?.got !== true) {
    writer.release();
    await end();
    throw new MarketError("DATABASE_IN_USE", "Another indexer is writing to this database.", {
      hint: "Stop it first, or give this one a database of its own.",
    });
  }
  const db: Database = {
    query: (sql, params) => withClient(readers, (client) => over(client, refused)(sql, params)),
    transaction: (work) =>
      withClient(writers, (client) => inTransaction(client, "BEGIN", () => work(over(client), copyOver(client)))),
    snapshot: (work) =>
      withClient(readers, (client) =>
        inTransaction(client, `BEGIN ${BEGIN_SNAPSHOT}`, () => work(over(client, refused))),
      ),
    script: (sql) =>
      db.transaction(async (query) => {
        await query(sql);
      }),
    async close() {
      writer.release();
      await end();
    },
  };
  return db;
}

function over(client: pg.PoolClient, explain: (error: unknown) => unknown = (error) => error): Query {
  return async <Row>(sql: string, params?: readonly unknown[]) => {
    try {
      return await runStatement<Row>(client, sql, params);
    } catch (error) {
      // The server's last word on this connection: the pool drops one that was ended.
      if (error instanceof pg.DatabaseError && error.severity === "FATAL") client.end().catch(ignore);
      throw explain(error);
    }
  };
}

/** A connection may end at any time; whoever uses it hears so by a statement that fails. */
async function withClient<T>(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect().catch((cause: unknown) => {
    throw isExhausted(pool) ? busy(cause) : unreachable(cause);
  });
  client.on("error", ignore);
  try {
    return await work(client);
  } finally {
    client.off("error", ignore);
    client.release();
  }
}

async function inTransaction<T>(client: pg.PoolClient, begin: string, work: () => Promise<T>): Promise<T> {
  await client.query(begin);
  try {
    const result = await work();
    await client.query("COMMIT");
    return result;
  } catch (error) {
    // Without that the connection is of no use, and the pool drops one that has ended.
    await client.query("ROLLBACK").catch(() => client.end());
    throw error;
  }
}

function ignore(): void {}

function isExhausted(pool: pg.Pool): boolean {
  return pool.totalCount >= pool.options.max && pool.idleCount === 0;
}

/** What a question that failed says to whoever asked it. */
function refused(error: unknown): unknown {
  if (!(error instanceof pg.DatabaseError) || error.severity === "FATAL") return unreachable(error);
  if (error.code !== QUERY_CANCELED) return error;
  return new MarketError("QUERY_TOO_SLOW", "The answer takes too long to find.", {
    hint: "Ask for fewer rows, or with a filter that leaves fewer; or try again when there is less to do.",
    retryable: true,
    cause: error,
  });
}

function busy(cause: unknown): MarketError {
  return new MarketError("DATABASE_BUSY", "Too many questions wait for the database.", {
    hint: "Try again in some seconds.",
    retryable: true,
    cause,
  });
}

function unreachable(cause: unknown): MarketError {
  return new MarketError("DATABASE_UNREACHABLE", "The database does not accept a connection.", {
    hint: "Check that the server runs and that DATABASE_URL is right.",
    retryable: true,
    cause,
  });
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
