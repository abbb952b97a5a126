import type { JobRow } from "../store/journal.ts";

type Which = Pick<JobRow, "jobId" | "replica">;

/** Content bytes that came in for replicas, while they come. A restart forgets it. */
export interface Intake {
  /** `bytes` of `cid` came in by now. */
  note(replica: Which, cid: string, bytes: number): void;
  /** All that came in, over all tries. */
  of(replica: Which): number;
  /** The replica needs nothing more. */
  forget(replica: Which): void;
}

export function createIntake(): Intake {
  const replicas = new Map<string, Map<string, number>>();
  const keyOf = ({ jobId, replica }: Which) => `${jobId}/${replica}`;
  return {
    note(replica, cid, bytes) {
      const key = keyOf(replica);
      const parts = replicas.get(key) ?? new Map<string, number>();
      parts.set(cid, Math.max(parts.get(cid) ?? 0, bytes)); // a second try begins anew
      replicas.set(key, parts);
    },
    of: (replica) => [...(replicas.get(keyOf(replica))?.values() ?? [])].reduce((sum, bytes) => sum + bytes, 0),
    forget: (replica) => void replicas.delete(keyOf(replica)),
  };
}
