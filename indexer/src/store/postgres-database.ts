import { MarketError } from "@berth/protocol";
import pg from "pg";
import type { Logger } from "pino";
import { BEGIN_SNAPSHOT, type Database, type Query } from "./database.ts";
import { inTransaction, isLost, queryOver } from "./postgres-session.ts";

/** Connections that answer questions, and those that transactions have for themselves. */
const READERS = 8;
const WRITERS = 4;
/** How long one question may take, and how long anybody waits for a connection. */
const READ_MS = 10_000;
const CONNECT_MS = 10_000;
const QUERY_CANCELED = "57014";

export interface PostgresOptions {
  log: Logger;
  /** How long one statement of a reader may take, in milliseconds. */
  readMs?: number;
}

/** A PostgreSQL server, for any number of programs at once. Throws DATABASE_UNREACHABLE. */
export async function openPostgres(url: string, { log, readMs = READ_MS }: PostgresOptions): Promise<Database> {
  const readers = new pg.Pool({
    connectionString: url,
    max: READERS,
    statement_timeout: readMs,
    query_timeout: readMs + 1_000, // of a server that says nothing at all
    connectionTimeoutMillis: CONNECT_MS,
  });
  const writers = new pg.Pool({
    connectionString: url,
    max: WRITERS,
    connectionTimeoutMillis: CONNECT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: 1_000,
  });
  for (const pool of [readers, writers]) pool.on("error", (err) => log.warn({ err }, "database connection lost"));
  const end = async () => {
    await Promise.all([readers.end(), writers.end()]);
  };
  try {
    await withClient(readers, async () => {});
  } catch (error) {
    await end();
    throw error;
  }
  const db: Database = {
    query: (sql, params) => withClient(readers, (client) => over(client)(sql, params)),
    transaction: (work) =>
      withClient(writers, (client) => inTransaction(client, queryOver(client, lostSaid), "BEGIN", work)),
    snapshot: (work) =>
      withClient(readers, (client) => inTransaction(client, over(client), `BEGIN ${BEGIN_SNAPSHOT}`, work)),
    script: (sql) =>
      db.transaction(async (query) => {
        await query(sql);
      }),
    close: end,
  };
  return db;
}

/** Of a reader: the pool drops a connection that was ended. */
function over(client: pg.PoolClient): Query {
  return queryOver(client, (error) => {
    if (isLost(error)) client.end().catch(ignore);
    return refused(error);
  });
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

function ignore(): void {}

function isExhausted(pool: pg.Pool): boolean {
  return pool.totalCount >= pool.options.max && pool.idleCount === 0;
}

/** A database that is away for a moment is no reason to end. */
function lostSaid(error: unknown): unknown {
  return isLost(error) ? unreachable(error) : error;
}

/** What a question that failed says to whoever asked it. */
function refused(error: unknown): unknown {
  if (isLost(error)) return unreachable(error);
  if ((error as pg.DatabaseError).code !== QUERY_CANCELED) return error;
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
