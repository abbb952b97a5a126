import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import { PGlite } from "@electric-sql/pglite";
import { BEGIN_SNAPSHOT, type Database, type Query } from "./database.ts";
import { lockFolder } from "./folder-lock.ts";

/**
 * PostgreSQL inside this process, kept in `folder`.
 * Throws DATA_FOLDER_IN_USE while another process has it, DATA_FOLDER_UNUSABLE when it cannot be opened.
 */
export async function openPglite(folder: string): Promise<Database> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw unusable(folder, cause);
  }
  const unlock = lockFolder(folder);
  try {
    const db = await PGlite.create(join(folder, "pg"));
    const query: Query = async <Row>(sql: string, params: readonly unknown[] = []) =>
      (await db.query<Row>(sql, [...params])).rows;
    return {
      query,
      transaction: (work) =>
        db.transaction((tx) =>
          work(
            async <Row>(sql: string, params: readonly unknown[] = []) => (await tx.query<Row>(sql, [...params])).rows,
            async (target, lines) => {
              await tx.query(`COPY ${target} FROM '/dev/blob'`, [], { blob: new Blob([lines]) });
            },
          ),
        ),
      snapshot: (work) =>
        db.transaction(async (tx) => {
          await tx.exec(`SET ${BEGIN_SNAPSHOT}`);
          return work(
            async <Row>(sql: string, params: readonly unknown[] = []) => (await tx.query<Row>(sql, [...params])).rows,
          );
        }),
      script: async (sql) => {
        await db.transaction((tx) => tx.exec(sql));
      },
      async close() {
        await db.close();
        unlock();
      },
    };
  } catch (cause) {
    unlock();
    throw unusable(folder, cause);
  }
}

function unusable(folder: string, cause: unknown): MarketError {
  return new MarketError("DATA_FOLDER_UNUSABLE", `The data folder ${folder} cannot be opened.`, {
    hint: "Check its permissions and free space, or give another folder with --data.",
    cause,
  });
}
