import { existsSync } from "node:fs";
import { join } from "node:path";
import { MarketError } from "@berth/protocol";
import type { Config } from "../config.ts";
import { attemptStates, publicPhase } from "../core/states.ts";
import { createJournal } from "../store/journal.ts";
import { isLocked, openDatabase } from "../store/open.ts";

export interface StatusAnswer {
  running: boolean;
  dataDir: string;
  /** Newest block that the journal has applied. */
  block: number | null;
  attempts: Record<string, number>;
  jobs: {
    jobId: string;
    replica: number;
    attempt: number;
    state: string;
    phase: string;
    chain: string;
    outcome: string | null;
    message: string;
    charge: string | null;
    resultCid: string | null;
  }[];
  /** Transactions on their way. */
  transactions: number;
}

/** What the journal says, whether the node runs or not. Throws DATA_FOLDER_EMPTY. */
export function status({ dataDir }: Config): StatusAnswer {
  const file = join(dataDir, "journal.db");
  if (!existsSync(file)) {
    throw new MarketError("DATA_FOLDER_EMPTY", `There is no journal in ${dataDir}: no node has run there.`, {
      hint: "Check --data-dir, or start the node.",
    });
  }
  const database = openDatabase(file, { readOnly: true });
  try {
    const { db } = database;
    const journal = createJournal(database);
    const tip = db.prepare("SELECT max(number) AS number FROM blocks").get() as { number: number | null };
    const jobs = journal.jobs().flatMap((job) => {
      const attempt = journal.attempt(job.jobId, job.replica);
      if (attempt === undefined) return [];
      const { state, outcome, message, facts } = attempt;
      const about = {
        jobId: job.jobId,
        replica: job.replica,
        attempt: attempt.attempt,
        state,
        phase: publicPhase[state],
      };
      const result = { charge: facts.claim?.charge ?? null, resultCid: facts.claim?.cid ?? null };
      return [{ ...about, chain: job.chain, outcome, message, ...result }];
    });
    const counts = journal.counts();
    const attempts = Object.fromEntries(
      attemptStates.flatMap((state) => (state in counts ? [[state, counts[state] ?? 0]] : [])),
    );
    return {
      running: isLocked(dataDir),
      dataDir,
      block: tip.number,
      attempts,
      jobs,
      transactions: openTransactions(database.db),
    };
  } finally {
    database.close();
  }
}

function openTransactions(db: ReturnType<typeof openDatabase>["db"]): number {
  const table = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").get();
  if (table === undefined) return 0;
  return (db.prepare("SELECT count(*) AS n FROM outbox WHERE open = 1").get() as { n: number }).n;
}
