import pg from "pg";
import type { Copy, Query } from "./database.ts";
import { runStatement } from "./statements.ts";

/** Statements on one connection, which nobody else may use meanwhile. `explain`: what a failure says to whoever asked. */
export function queryOver(client: pg.ClientBase, explain: (error: unknown) => unknown = (error) => error): Query {
  return async <Row>(sql: string, params?: readonly unknown[]) => {
    try {
      return await runStatement<Row>(client, sql, params);
    } catch (error) {
      throw explain(error);
    }
  };
}

/** After such an error the connection is of no use: the server said its last word, or nothing came any more. */
export function isLost(error: unknown): boolean {
  return !(error instanceof pg.DatabaseError) || error.severity === "FATAL";
}

/** What `work` does with `query` between `begin` and the end of the transaction. */
export async function inTransaction<T>(
  client: pg.Client,
  query: Query,
  begin: string,
  work: (query: Query, copy: Copy) => Promise<T>,
): Promise<T> {
  await query(begin);
  try {
    const result = await work(query, copyOver(client));
    await query("COMMIT");
    return result;
  } catch (error) {
    // Without that the connection is of no use.
    await client.query("ROLLBACK").catch(() => client.end());
    throw error;
  }
}

/** COPY FROM STDIN: the driver has the messages for it, and no call. */
function copyOver(client: pg.ClientBase): Copy {
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
