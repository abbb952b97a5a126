import type { Command } from "commander";
import { momentOf, oneOf, whole } from "../cli/arguments.ts";
import type { Run } from "../cli/runner.ts";
import { type Progress, progressOf } from "../core/progress.ts";
import { type AttemptState, attemptStates, publicPhase } from "../core/states.ts";
import { type JobWithAttempt, viewJournal } from "../store/journal-view.ts";
import type { Live } from "./live.ts";
import { example, table, timeText } from "./print.ts";

/** One replica with its newest attempt. */
export interface JobLine {
  jobId: string;
  replica: number;
  attempt: number;
  state: AttemptState;
  /** What the world is told of that state. */
  phase: string;
  /** What the chain says of the replica. */
  chain: string;
  outcome: string | null;
  message: string;
  /** Token units; null without a result. */
  charge: string | null;
  resultCid: string | null;
  requester: string;
  /** Unix seconds. */
  matchedAt: number;
  /** Of the last change of state, in unix seconds. */
  since: number;
  progress: Progress;
}

export interface JobsAnswer {
  jobs: JobLine[];
  /** Unix seconds: jobs that were over before are forgotten. Null while none was. */
  keptSince: number | null;
}

interface JobsFlags {
  state?: string;
  since?: string;
  limit: string;
}

/** States, and the phases that stand for several of them. */
const names = [...new Set([...attemptStates, ...Object.values(publicPhase)])];

/** `berth-node jobs` */
export function addJobs(program: Command, run: Run): void {
  program
    .command("jobs")
    .description("list this node's jobs, newest first")
    .option("--state <state>", `only those in this state: ${names.join(", ")}`)
    .option("--since <time>", "only those matched since: 90m, 24h or 7d ago, or a date")
    .option("--limit <number>", "the most to list", "50")
    .addHelpText("after", example("berth-node jobs --since 24h --state running"))
    .action((flags: JobsFlags, self: Command) =>
      run(self, async ({ config }) => {
        const state = flags.state === undefined ? undefined : oneOf(flags.state, names, "--state");
        const states = attemptStates.filter((each) => each === state || publicPhase[each] === state);
        const now = Math.floor(Date.now() / 1000);
        const since = flags.since === undefined ? undefined : momentOf(flags.since, "--since", now);
        const limit = whole(flags.limit, "--limit");
        const filter = { since, limit, ...(state !== undefined && { states }) };
        const answer: JobsAnswer = await viewJournal(config.dataDir, (view) => ({
          jobs: view.jobs(filter).map(jobLine),
          keptSince: view.keptSince() ?? null,
        }));
        return { json: answer, text: jobsText(answer) };
      }),
    );
}

/** `live` is what the running process says, where it was asked. */
export function jobLine({ job, attempt, live = null }: JobWithAttempt & { live?: Live | null }): JobLine {
  const { state, outcome, message, facts, since } = attempt;
  const now = Math.floor(Date.now() / 1000);
  const isSame = (each: { jobId: string; replica: number }) => each.jobId === job.jobId && each.replica === job.replica;
  return {
    ...{ jobId: job.jobId, replica: job.replica, attempt: attempt.attempt },
    ...{ state, phase: publicPhase[state], chain: job.chain, outcome, message },
    ...{ charge: facts.claim?.charge ?? null, resultCid: facts.claim?.cid ?? null },
    ...{ requester: job.terms.job.requester, matchedAt: job.matchedAt, since },
    progress: progressOf(job, attempt, now, live?.fetched.find(isSame)?.bytes),
  };
}

function jobsText({ jobs, keptSince }: JobsAnswer): string {
  const since = keptSince === null ? "" : timeText(keptSince);
  const forgotten = since && `Jobs that were over before ${since} are forgotten (journal.retentionDays).`;
  if (jobs.length === 0) return `There are no such jobs.${forgotten && ` ${forgotten}`}`;
  const rows = jobs.map(({ jobId, replica, state, outcome, charge, requester, matchedAt }) => [
    ...[jobId, String(replica), state, outcome ?? "", charge ?? "", requester, timeText(matchedAt)],
  ]);
  const list = table(rows, ["job", "replica", "state", "outcome", "charge", "requester", "matched"]);
  return `${list}${forgotten && `\n\n${forgotten}`}`;
}
