import type { Address, Hex, JobId } from "@berth/protocol";
import type { Database } from "./open.ts";

/** Why a job was not taken. */
export interface Reason {
  /** Stable, for programs. */
  code: string;
  /** One sentence, for people. */
  text: string;
  /** What is in the sentence. */
  values: Readonly<Record<string, unknown>>;
}

export interface Decision extends Reason {
  /** Unix seconds by the chain's clock. */
  at: number;
  jobId: JobId;
  /** Null for a posted request: nobody was matched. */
  replica: number | null;
  /** `posted`: a posted request was left alone; `match`: a match was given back. */
  what: "posted" | "match";
  requester: Address;
}

/** Why jobs were not taken, newest rows only. */
export interface Decisions {
  /**
   * Writes the decision, unless the last one about the same job says the same; returns whether it was written. Joins a
   * surrounding `atomically`.
   */
  record(decision: Decision): boolean;
  /** Every decision about a job, newest first. */
  get(jobId: Hex): Decision[];
  /** The newest decisions about any job, newest first. */
  recent(count: number): Decision[];
}

const ROWS_KEPT = 10_000;

export function createDecisions({ db, atomically }: Database, rowsKept = ROWS_KEPT): Decisions {
  const newest = "SELECT * FROM decisions WHERE job_id = ? ORDER BY id DESC";
  return {
    record({ at, jobId, replica, what, requester, code, text, values }) {
      return atomically(() => {
        const last = db.prepare(`${newest} LIMIT 1`).get(jobId);
        if (last?.["code"] === code && last["text"] === text && last["replica"] === replica) return false;
        const { lastInsertRowid } = db
          .prepare(
            "INSERT INTO decisions (at, job_id, replica, what, requester, code, text, facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
          )
          .run(at, jobId, replica, what, requester, code, text, JSON.stringify(values));
        db.prepare("DELETE FROM decisions WHERE id <= ?").run(Number(lastInsertRowid) - rowsKept);
        return true;
      });
    },
    get: (jobId) => db.prepare(newest).all(jobId.toLowerCase()).map(toDecision),
    recent: (count) => db.prepare("SELECT * FROM decisions ORDER BY id DESC LIMIT ?").all(count).map(toDecision),
  };
}

function toDecision(row: Record<string, unknown>): Decision {
  return {
    at: Number(row["at"]),
    jobId: row["job_id"] as JobId,
    replica: row["replica"] as number | null,
    what: row["what"] as Decision["what"],
    requester: row["requester"] as Address,
    code: String(row["code"]),
    text: String(row["text"]),
    values: JSON.parse(String(row["facts"])) as Reason["values"],
  };
}
