import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { MarketError } from "@berth/protocol";
import { migrate } from "./migrations.ts";

/** The journal's database, and one transaction at a time around everything that belongs together. */
export interface Database {
  readonly db: DatabaseSync;
  /** Runs `work` in one transaction; a call inside a call joins the outer one. */
  atomically<T>(work: () => T): T;
  close(): void;
}

/** Opens (or makes) `journal.db` in `dataDir`. What was written is on disk when a transaction returns. */
export function openJournalFile(dataDir: string): Database {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  return openDatabase(join(dataDir, "journal.db"));
}

/** Opens the journal at `path`; `:memory:` for tests. `asIs`: its tables stay those of the node that may be running. */
export function openDatabase(path: string, options: { readOnly?: boolean; asIs?: boolean } = {}): Database {
  if (options.readOnly !== true && path !== ":memory:") ownOnly(path);
  const db = new DatabaseSync(path, { timeout: 5000, readOnly: options.readOnly ?? false });
  if (options.readOnly !== true) {
    db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON");
    if (options.asIs !== true) migrate(db);
  }
  let depth = 0;
  return {
    db,
    atomically(work) {
      if (depth > 0) return work();
      db.exec("BEGIN IMMEDIATE");
      depth += 1;
      try {
        const result = work();
        db.exec("COMMIT");
        return result;
      } catch (error) {
        if (db.isTransaction) db.exec("ROLLBACK");
        throw error;
      } finally {
        depth -= 1;
      }
    },
    close: () => db.close(),
  };
}

/** Makes a database, or what there is of it, one that its owner alone can open: it holds what jobs were told. */
function ownOnly(path: string): void {
  // SQLite gives the files beside it the same mode. One that exists is not opened: closing it would let go of its locks.
  if (!existsSync(path)) closeSync(openSync(path, "a", 0o600));
  for (const file of [path, `${path}-wal`, `${path}-shm`]) if (existsSync(file)) chmodSync(file, 0o600);
}

/** Held as long as the process lives: the kernel lets go of it after a kill -9 too. */
export interface NodeLock {
  release(): void;
}

/** Makes sure that one process uses the data folder. Throws NODE_RUNNING. */
export function lockDataFolder(dataDir: string): NodeLock {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const pidFile = join(dataDir, "node.pid");
  ownOnly(join(dataDir, "node.lock")); // who can read it could hold it
  const db = new DatabaseSync(join(dataDir, "node.lock"), { timeout: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    db.close();
    throw new MarketError("NODE_RUNNING", `Another berth-node uses ${dataDir}${pidIn(pidFile)}.`, {
      hint: "Stop it first, or give this node a data folder of its own with --data-dir.",
      cause,
    });
  }
  writeFileSync(pidFile, `${process.pid}\n`);
  return {
    release() {
      rmSync(pidFile, { force: true });
      db.close();
    },
  };
}

/**
 * Makes sure that one process of this machine uses a hot key: two would sign with one nonce, and run one job twice. Throws
 * NODE_KEY_IN_USE. Another machine with the same key is not seen; the outbox notices its transactions.
 * @param chainId a test chain beside a real one may share keys
 */
export function lockKey(key: string, chainId: number): NodeLock {
  const isRoot = process.getuid?.() === 0;
  const folder = isRoot ? "/run/berth/keys" : join(tmpdir(), `berth-keys-${process.getuid?.() ?? 0}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const db = new DatabaseSync(join(folder, `${chainId}-${key.toLowerCase()}.lock`), { timeout: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE");
  } catch (cause) {
    db.close();
    throw new MarketError("NODE_KEY_IN_USE", `Another berth-node on this machine uses the hot key ${key}.`, {
      hint: "Stop it, or give this node a key of its own: each node has its own hot key.",
      cause,
    });
  }
  return { release: () => db.close() };
}

/** What a data folder belongs to: mixing two markets, chains or nodes in one would mix their money. */
export interface Belonging {
  chainId: number;
  /** Hash of the chain's first block: tells a devnet that was started afresh from the one before. */
  genesis: string;
  market: string;
  operator: string;
  index: number;
}

/** Claims the journal for `mine`, or throws DATA_FOLDER_STALE when it belongs to something else. */
export function claimJournal({ db, atomically }: Database, mine: Belonging, dataDir: string): void {
  const read = db.prepare("SELECT value FROM meta WHERE name = ?");
  const write = db.prepare("INSERT INTO meta VALUES (?, ?)");
  atomically(() => {
    for (const [name, value] of Object.entries(mine)) {
      const row = read.get(name) as { value: string } | undefined;
      if (row === undefined) {
        write.run(name, String(value));
      } else if (row.value !== String(value)) {
        throw new MarketError(
          "DATA_FOLDER_STALE",
          `${dataDir} belongs to another ${names[name as keyof Belonging]}: ${row.value}, not ${value}.`,
          {
            hint: "Use another data folder with --data-dir. If that chain is gone for good, delete the folder's journal.db* and content; keep the keys.",
          },
        );
      }
    }
  });
}

const names: Record<keyof Belonging, string> = {
  chainId: "chain",
  genesis: "run of this chain (its first block)",
  market: "market",
  operator: "operator",
  index: "node index",
};

function pidIn(file: string): string {
  try {
    return ` (process ${readFileSync(file, "utf8").trim()})`;
  } catch {
    return "";
  }
}

/** Does a process use the data folder? */
export function isLocked(dataDir: string): boolean {
  const file = join(dataDir, "node.lock");
  if (!existsSync(file)) return false;
  const db = new DatabaseSync(file, { timeout: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE; ROLLBACK");
    return false;
  } catch {
    return true;
  } finally {
    db.close();
  }
}
