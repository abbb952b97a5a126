import pg from "pg";
import { BEGIN_SNAPSHOT, type Database } from "../store/database.ts";
import { inTransaction, isLost, queryOver } from "../store/postgres-session.ts";

/** Any number that only Berth indexers use, so that they see each other's lock. */
const LEADER_LOCK = "4207849484";

/** A server that says nothing for so long about one statement is gone, as far as this leader can tell. */
const SILENCE_MS = 60_000;
const CLOSE_MS = 1_000;
const CONNECT_MS = 5_000;

/** The right to write what follows from the chain. One program has it at a time. */
export interface Lease {
  /**
   * Every statement runs on the session that holds the lock: when the session ends the lock is free, and nothing of what
   * the session had not committed by then is ever written.
   */
  db: Database;
  /** Aborts when the session was lost, and the right with it. */
  lost: AbortSignal;
  close(): Promise<void>;
}

/** Somebody who would lead. */
export interface Candidate {
  /** Undefined while another leads. Throws when the server cannot be asked. */
  tryToLead(): Promise<Lease | undefined>;
  close(): Promise<void>;
}

/**
 * The server finds out by itself that a leader's machine is gone: after three seconds without a sign of it. A process that
 * is killed closes its connection, which frees the lock at once.
 */
const SETTINGS = {
  application_name: "berth-indexer leader",
  tcp_keepalives_idle: "1",
  tcp_keepalives_interval: "1",
  tcp_keepalives_count: "2",
  tcp_user_timeout: "3000",
  client_connection_check_interval: "1000",
};

export function createCandidate(url: string): Candidate {
  let waiting: pg.Client | undefined;

  async function connected(): Promise<pg.Client> {
    if (waiting !== undefined) return waiting;
    const client = new pg.Client({
      connectionString: url,
      keepAlive: true,
      keepAliveInitialDelayMillis: 1_000,
      query_timeout: SILENCE_MS,
      connectionTimeoutMillis: CONNECT_MS,
    });
    const forget = () => {
      if (waiting === client) waiting = undefined;
    };
    client.on("error", forget).on("end", forget);
    try {
      await client.connect();
      for (const setting of Object.entries(SETTINGS)) await configure(client, setting);
    } catch (error) {
      await close(client);
      throw error;
    }
    waiting = client;
    return client;
  }

  return {
    async tryToLead() {
      const client = await connected();
      const { rows } = await client.query("SELECT pg_try_advisory_lock($1::bigint) AS got", [LEADER_LOCK]);
      if (rows[0]?.got !== true) return undefined;
      waiting = undefined;
      return leaseOf(client);
    },
    async close() {
      const client = waiting;
      waiting = undefined;
      if (client !== undefined) await close(client);
    },
  };
}

/** One program alone with its database leads for as long as it lives. */
export function soleCandidate(db: Database): Candidate {
  return {
    tryToLead: async () => ({ db, lost: new AbortController().signal, close: async () => {} }),
    close: async () => {},
  };
}

/** A setting that this server does not know, or cannot have where it runs, is no reason not to lead. */
async function configure(client: pg.Client, setting: [name: string, value: string]): Promise<void> {
  await client
    .query("SELECT set_config(name, $2, false) FROM pg_settings WHERE name = $1", setting)
    .catch((error: unknown) => {
      if (isLost(error)) throw error;
    });
}

function leaseOf(client: pg.Client): Lease {
  const lost = new AbortController();
  const lose = () => lost.abort();
  client.on("error", lose).on("end", lose);
  const query = queryOver(client, (error) => {
    if (isLost(error)) {
      lose();
      client.connection.stream.destroy(); // what waits behind it fails at once
    }
    return error;
  });
  const inTurn = createTurns();
  const db: Database = {
    query: (sql, params) => inTurn(() => query(sql, params)),
    transaction: (work) => inTurn(() => inTransaction(client, query, "BEGIN", work)),
    snapshot: (work) => inTurn(() => inTransaction(client, query, `BEGIN ${BEGIN_SNAPSHOT}`, work)),
    script: (sql) =>
      db.transaction(async (run) => {
        await run(sql);
      }),
    close: () => client.end(),
  };
  return { db, lost: lost.signal, close: () => close(client) };
}

/** Politely, and of a server that does not answer by force. */
async function close(client: pg.Client): Promise<void> {
  const timer = setTimeout(() => client.connection.stream.destroy(), CLOSE_MS);
  await client.end().catch(() => {});
  clearTimeout(timer);
}

/** One after the other: statements of others must not get into a transaction. */
function createTurns(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const turn = last.then(work, work);
    last = turn.catch(() => {});
    return turn;
  };
}
