import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MarketError } from "@berth/protocol";

/**
 * Takes `folder` for this process; the returned function gives it back. The lock is the operating system's, on a
 * SQLite file, so it ends with the process however that dies. Throws DATA_FOLDER_IN_USE.
 */
export function lockFolder(folder: string): () => void {
  const db = new DatabaseSync(join(folder, "lock.sqlite"));
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    db.close();
    throw new MarketError("DATA_FOLDER_IN_USE", `Another indexer is using the data folder ${folder}.`, {
      hint: "Stop it first, or give this one a folder of its own with --data.",
      cause,
    });
  }
  return () => db.close();
}
