import type pg from "pg";

/** Statements that one connection remembers, those that came once among them. */
const REMEMBERED = 256;

/** What the driver keeps of a connection, and does not type. */
interface Connection {
  parsedStatements: Record<string, string | undefined>;
}

/** By text, least recently used first; the name once a text has come again. */
const remembered = new WeakMap<pg.ClientBase, Map<string, string | undefined>>();
let names = 0;

/**
 * Runs one statement on this connection, which nobody else may use meanwhile. A text that comes again is prepared under a
 * name, so that the server parses and plans it once; the server forgets the name when many other texts came since.
 */
export async function runStatement<Row>(
  client: pg.ClientBase,
  sql: string,
  params: readonly unknown[] = [],
): Promise<Row[]> {
  if (params.length === 0) return (await client.query(sql)).rows as Row[];
  const known = remembered.get(client) ?? new Map<string, string | undefined>();
  remembered.set(client, known);
  const name = known.has(sql) ? (known.get(sql) ?? `berth_${++names}`) : undefined;
  known.delete(sql);
  known.set(sql, name);
  if (known.size > REMEMBERED) await forgetOldest(client, known);
  const values = [...params];
  return (await client.query(name === undefined ? { text: sql, values } : { name, text: sql, values })).rows as Row[];
}

async function forgetOldest(client: pg.ClientBase, known: Map<string, string | undefined>): Promise<void> {
  const [oldest, name] = known.entries().next().value ?? [];
  if (oldest === undefined) return;
  known.delete(oldest);
  const { parsedStatements } = (client as unknown as { connection: Connection }).connection;
  if (name === undefined || parsedStatements[name] === undefined) return;
  delete parsedStatements[name];
  await client.query(`DEALLOCATE ${name}`);
}
