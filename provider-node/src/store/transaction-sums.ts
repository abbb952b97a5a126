import type { OutboxState } from "@berth/chain";
import type { Database } from "./open.ts";

/** What this node's transactions come to. */
export interface TransactionSums {
  states: Map<string, number>;
  /** wei that mined transactions cost. */
  gasWei: bigint;
  /** Unix milliseconds at which the oldest transaction under way was wanted; null when there is none. */
  oldestPendingMs: number | null;
}

/** Transactions that are over never change: those below the oldest one under way are summed up once. */
export interface TransactionSummary {
  read(): TransactionSums;
  /** Writes down what the oldest `most` of those not written down come to; returns the newest row that now is. */
  writeDown(most: number): number;
}

interface Done {
  states: Map<string, number>;
  gasWei: bigint;
  /** The newest row that is counted. */
  upTo: number;
}

const NAME = "transactions-done";
const pending: readonly string[] = ["queued", "signed", "sent"] satisfies OutboxState[];

export function transactionSummary({ db }: Pick<Database, "db">): TransactionSummary {
  const member = (name: string, as = name) => `json_extract(entry, '$.${name}') AS ${as}`;
  const firstOpen = db.prepare("SELECT min(id) AS id FROM outbox WHERE open = 1");
  const entries = db.prepare(
    `SELECT id, ${member("state")}, ${member("gasCost", "gas")}, ${member("createdAtMs", "created")},
       json_extract(entry, '$.mined') IS NOT NULL AS mined
     FROM outbox WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`,
  );
  const find = db.prepare("SELECT value FROM meta WHERE name = ?");
  const put = db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value");
  let done: Done = { states: new Map(), gasWei: 0n, upTo: 0 };

  return {
    read() {
      const written = readDone();
      if (written.upTo > done.upTo) done = written; // the rows below may be gone
      done = add(done, allBefore(), -1);
      let oldestPendingMs: number | null = null;
      const rows = entries.all(done.upTo, Number.MAX_SAFE_INTEGER, -1);
      for (const row of rows) {
        if (!pending.includes(String(row["state"]))) continue;
        oldestPendingMs = Math.min(oldestPendingMs ?? Number.POSITIVE_INFINITY, Number(row["created"]));
      }
      const { states, gasWei } = sum(rows, done);
      return { states, gasWei, oldestPendingMs };
    },
    writeDown(most) {
      const before = readDone();
      const after = add(before, allBefore(), most);
      if (after.upTo === before.upTo) return before.upTo;
      const { states, gasWei, upTo } = after;
      put.run(NAME, JSON.stringify({ states: [...states], gasWei: String(gasWei), upTo }));
      return upTo;
    },
  };

  function allBefore(): number {
    const { id } = firstOpen.get() as { id: number | null };
    return (id ?? Number.MAX_SAFE_INTEGER) - 1;
  }

  /** Row by row: the entries hold whole transactions. */
  function add(before: Done, upTo: number, most: number): Done {
    return sum(entries.iterate(before.upTo, upTo, most), before);
  }

  function readDone(): Done {
    const row = find.get(NAME) as { value: string } | undefined;
    if (row === undefined) return { states: new Map(), gasWei: 0n, upTo: 0 };
    const { states, gasWei, upTo } = JSON.parse(row.value) as {
      states: [string, number][];
      gasWei: string;
      upTo: number;
    };
    return { states: new Map(states), gasWei: BigInt(gasWei), upTo };
  }
}

function sum(rows: Iterable<Record<string, unknown>>, before: Done): Done {
  const sums = { ...before, states: new Map(before.states) };
  for (const row of rows) {
    const state = String(row["state"]);
    sums.states.set(state, (sums.states.get(state) ?? 0) + 1);
    if (row["mined"] === 1) sums.gasWei += BigInt(String(row["gas"]));
    sums.upTo = Number(row["id"]);
  }
  return sums;
}
