import { dataToQuorum, ZERO_ADDRESS } from "@berth/protocol";
import type { Job } from "./get-job.ts";

/** Replicas that came to the same: outcome, exit code and outputs, never logs, times or signatures. */
export interface SameResult {
  replicas: number[];
  outcome: string;
  exitCode: number | null;
  /** The digest of what was decrypted where the outputs are encrypted. */
  outputsCid: string | null;
}

/** How far the replicas of one job agree. It decides nothing: a job may be right and give something else each time. */
export interface Agreement {
  /** The largest group first. */
  groups: SameResult[];
  /** Replicas without a result that verifies. */
  missing: number[];
  /** How many the quorum that was ordered needs; null without one. */
  quorum: number | null;
}

/** What a replica came to; no record where it has none that verifies. */
export interface Compared {
  replica: number;
  record: { outcome: string; exitCode: number | null; outputs: { cid: string } | null } | undefined;
}

/** Compares what the replicas of a job came to. Pure. */
export function compareResults(
  { replicas, verifier, verifierData }: Pick<Job["order"], "replicas" | "verifier" | "verifierData">,
  results: readonly Compared[],
): Agreement {
  const found = results.flatMap(({ replica, record }) => {
    if (record === undefined) return [];
    const { outcome, exitCode, outputs } = record;
    return [{ replica, outcome, exitCode, outputsCid: outputs?.cid ?? null }];
  });
  const same = Map.groupBy(found, ({ replica: _, ...what }) => JSON.stringify(what));
  const groups = [...same.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { replica: _, ...what } = first;
    return [{ replicas: group.map(({ replica }) => replica), ...what }];
  });
  const has = new Set(found.map(({ replica }) => replica));
  const missing = Array.from({ length: replicas }, (_, replica) => replica).filter((replica) => !has.has(replica));
  const quorum = verifier === ZERO_ADDRESS ? null : (dataToQuorum(verifierData)?.agreeing ?? null);
  return { groups: groups.sort((a, b) => b.replicas.length - a.replicas.length), missing, quorum };
}

/** "2 of 3 replicas agree (0, 2); replica 1 has another result". Pure. */
export function agreementSentence({ groups, missing, quorum }: Agreement): string {
  const [largest, ...others] = groups;
  const all = groups.reduce((sum, { replicas }) => sum + replicas.length, missing.length);
  const agreeing = largest?.replicas ?? [];
  const parts = [
    agreeing.length === all
      ? `all ${all} replicas agree`
      : `${agreeing.length} of ${all} replicas agree (${agreeing.join(", ")})`,
    ...others.map(({ replicas }) =>
      replicas.length === 1
        ? `replica ${replicas[0]} differs`
        : `replicas ${replicas.join(", ")} agree on something else`,
    ),
    ...(missing.length === 0 ? [] : [`no verified result of ${missing.join(", ")}`]),
    ...(quorum === null ? [] : [`the quorum needs ${quorum}`]),
  ];
  return parts.join("; ");
}
