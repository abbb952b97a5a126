import { ZERO_ADDRESS } from "@berth/protocol";
import type { Command } from "commander";
import type { Run } from "../cli/runner.ts";
import type { Config } from "../config.ts";
import type { Progress } from "../core/progress.ts";
import { attemptStates } from "../core/states.ts";
import { waitingKeys } from "../jobs/rotation.ts";
import { viewJournal } from "../store/journal-view.ts";
import type { OfferingState } from "../store/offering-state.ts";
import { isLocked } from "../store/open.ts";
import { type JobLine, jobLine } from "./jobs.ts";
import { type Live, readLive } from "./live.ts";
import { bytesText, example, facts, timeText } from "./print.ts";

export interface StatusAnswer {
  running: boolean;
  dataDir: string;
  /** Newest block that the journal has applied. */
  block: number | null;
  /** How many replicas are in which state. */
  attempts: Record<string, number>;
  /** Those with something left to do, and the newest of the others. */
  jobs: JobLine[];
  /** Transactions on their way. */
  transactions: number;
  /** Null unless the node drains: it takes nothing new and finishes what it owes. */
  draining: { reason: string; since: number } | null;
  /** What the node last offered, by profile, and what it did not, and why; null before it ran. */
  offering: OfferingState | null;
  /** New keys that wait to be put into use; see `rotate`. */
  waitingKeys: ("hot" | "wireguard")[];
  /** What only a running node can tell: is it ready, its offer, what it tries again. Null when none runs. */
  live: Live | null;
}

/** The most finished jobs that `status` lists; `jobs` lists all. */
const LISTED = 20;

/** `berth-node status` */
export function addStatus(program: Command, run: Run): void {
  program
    .command("status")
    .description("what the node does, and what its journal says; works on a stopped node too")
    .addHelpText("after", example("berth-node status", "watch -n 5 berth-node status"))
    .action((_flags: object, self: Command) =>
      run(self, async ({ config, context }) => {
        const answer = await status(config, context);
        return { json: answer, text: describe(answer) };
      }),
    );
}

/** Throws DATA_FOLDER_EMPTY. */
async function status(config: Config, context: { signal: AbortSignal }): Promise<StatusAnswer> {
  const { dataDir } = config;
  const live = await readLive(dataDir, context);
  return await viewJournal(dataDir, (view) => {
    const counts = view.journal.counts();
    const attempts = Object.fromEntries(
      attemptStates.flatMap((state) => (state in counts ? [[state, counts[state] ?? 0]] : [])),
    );
    const states = attemptStates.filter((state) => state !== "cleaned" && state !== "retried");
    const open = view.jobs({ states, limit: 1000 });
    const over = view.jobs({ states: ["cleaned", "retried"], limit: LISTED });
    const jobs = [...open, ...over].map((entry) => jobLine({ ...entry, live }));
    return {
      ...{ running: isLocked(dataDir), dataDir, block: view.block()?.number ?? null, attempts, jobs },
      ...{ transactions: view.openTransactions(), draining: view.draining() ?? null },
      offering: view.offering() ?? null,
      ...{ waitingKeys: waitingKeys(config), live },
    };
  });
}

function describe(answer: StatusAnswer): string {
  const { running, block, transactions, draining, offering, waitingKeys, live, jobs } = answer;
  const lines: (readonly [string, string])[] = [
    ["running", running ? "yes" : "no"],
    ["block", String(block ?? "none yet")],
    ["transactions under way", String(transactions)],
  ];
  if (draining !== null) {
    const why = draining.reason === "" ? "" : `: ${draining.reason}`;
    lines.push(["draining", `since ${timeText(draining.since)}${why}`]);
  }
  if (waitingKeys.length > 0) lines.push(["keys to be put into use", waitingKeys.join(", ")]);
  if (live !== null) {
    lines.push(["ready", live.ready ? "yes" : "not yet"]);
    lines.push(["offer", "none" in live.offer ? live.offer.none : `until ${timeText(live.offer.expiresAt)}`]);
    lines.push(...offeringLines(offering));
  }
  const troubleOf = ({ jobId, replica }: JobLine) =>
    live?.troubles.find((trouble) => trouble.jobId === jobId && trouble.replica === replica)?.message;
  for (const job of jobs) {
    const parts = [
      job.phase,
      progressText(job.progress),
      `chain: ${job.chain}`,
      job.outcome,
      job.message,
      troubleOf(job),
    ];
    const said = parts.filter((part) => part !== null && part !== undefined && part !== "").join(", ");
    lines.push([`${job.jobId.slice(0, 12)}…/${job.replica}`, said]);
  }
  return facts(lines);
}

/** One line for each profile; a single one that is offered to everybody needs none. */
function offeringLines(offering: OfferingState | null): [string, string][] {
  if (offering === null) return [];
  const { offers, withheld } = offering;
  const names = [...new Set(offers.map(({ profile }) => profile))];
  const offered = names.map((name): [string, string] => {
    const own = offers.filter(({ profile }) => profile === name).map(({ requester }) => requester);
    return [`profile ${name}`, own.includes(ZERO_ADDRESS) ? "offered to everybody" : `offered to ${own.join(", ")}`];
  });
  const not = withheld.flatMap(({ profile, reason }): [string, string][] =>
    profile === null ? [] : [[`profile ${profile}`, `not offered: ${reason}`]],
  );
  return offered.length === 1 && offered[0]?.[1] === "offered to everybody" ? not : [...offered, ...not];
}

function progressText({ phase, runningSeconds, fetchedBytes, deadline }: Progress): string {
  const until = deadline === null ? "" : `until ${timeText(deadline)}`;
  if (runningSeconds !== null) return `for ${runningSeconds} s, ${until}`;
  return [phase === "fetching" && fetchedBytes > 0 ? `${bytesText(fetchedBytes)} so far` : "", until]
    .filter((part) => part !== "")
    .join(", ");
}
