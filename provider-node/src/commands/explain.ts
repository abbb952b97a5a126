import type { OutboxEntry } from "@berth/chain";
import { MarketError } from "@berth/protocol";
import type { Command } from "commander";
import { jobIdStart } from "../cli/arguments.ts";
import type { Run } from "../cli/runner.ts";
import type { Config } from "../config.ts";
import { deadlinesOf } from "../core/deadlines.ts";
import { type WaitsFor, waitsFor } from "../core/waits-for.ts";
import type { AttemptRow, JobRow } from "../store/journal.ts";
import { type JournalView, viewJournal } from "../store/journal-view.ts";
import { type Live, readLive } from "./live.ts";
import { example, facts, timeText } from "./print.ts";

const UNDECIDED = "It is on the chain, and this node has not decided yet.";
const NOT_ASKED = "This node takes no posted requests by itself (acceptPosted is off).";

/** Everything that this node knows of one job. Times are unix seconds, amounts decimal strings. */
export interface ExplainAnswer {
  jobId: string;
  taken: boolean;
  /** One sentence: what it waits for, how it ended, or why it was not taken. */
  sentence: string;
  /** Why it was not taken, newest first. */
  decisions: { at: number; replica: number | null; what: string; code: string; text: string; values: object }[];
  replicas: ReplicaAnswer[];
  transactions: TransactionAnswer[];
}

interface ReplicaAnswer {
  replica: number;
  /** What the chain says of it. */
  chain: string;
  matchedAt: number;
  requester: string;
  acceptBy: number;
  startBy: number;
  submitBy: number;
  waitsFor: WaitsFor | null;
  /** The error that a step is being tried again after. Known while the node runs. */
  trouble: string | null;
  attempts: (Pick<AttemptRow, "attempt" | "state" | "since" | "outcome" | "message"> & {
    exitCode: number | null;
    charge: string | null;
    resultCid: string | null;
  })[];
  history: { at: number; attempt: number; what: string }[];
  artifacts: { kind: string; cid: string; bytes: number; keptUntil: number }[];
}

interface TransactionAnswer {
  key: string;
  state: string;
  nonce: number | null;
  /** The one that was mined, else the newest version. */
  hash: string | null;
  block: number | null;
  /** wei: paid once mined, the most it can be while under way. */
  gasCost: string;
  createdAt: number;
  error: { code: string; message: string } | null;
}

/** `berth-node explain JOB` */
export function addExplain(program: Command, run: Run): void {
  program
    .command("explain")
    .description("why a job was not taken, or everything that happened to one that was")
    .argument("<job>", "its id, or the first digits of it")
    .addHelpText("after", example("berth-node explain 0x5f0a2c"))
    .action((text: string, _flags: object, self: Command) =>
      run(self, async ({ config, context }) => {
        const start = jobIdStart(text);
        const live = await readLive(config.dataDir, context);
        const answer = await viewJournal(config.dataDir, (view) => explain(view, start, live, config));
        return { json: answer, text: describe(answer) };
      }),
    );
}

/** Throws JOB_UNKNOWN, JOB_AMBIGUOUS. */
function explain(view: JournalView, start: string, live: Live | null, config: Config): ExplainAnswer {
  const [jobId, ...others] = view.idsLike(start);
  if (jobId === undefined) throw unknownJob(start, view.keptSince());
  if (others.length > 0) {
    throw new MarketError("JOB_AMBIGUOUS", `${others.length + 1} jobs begin with ${start}.`, {
      hint: "Give more digits of the id.",
    });
  }
  const history = view.history(jobId);
  const replicas = view.replicas(jobId).map((job) => replicaOf(job, view, history, live));
  const decisions = view
    .decisions(jobId)
    .map(({ at, replica, what, code, text, values }) => ({ at, replica, what, code, text, values }));
  const transactions = view.transactions(jobId).map(transactionOf);
  const taken = replicas.length > 0;
  const sentence = taken ? stands(replicas) : (decisions[0]?.text ?? (config.acceptPosted ? UNDECIDED : NOT_ASKED));
  return { jobId, taken, sentence, decisions, replicas, transactions };
}

/** @param since unix seconds: what was over before may be forgotten */
function unknownJob(start: string, since: number | undefined): MarketError {
  const elsewhere = "`berth-node jobs` lists what it knows.";
  if (since === undefined) {
    return new MarketError("JOB_UNKNOWN", `This node has never heard of the job ${start}.`, {
      hint: `It was neither posted nor matched to this node since its journal began; ${elsewhere}`,
    });
  }
  return new MarketError("JOB_UNKNOWN", `This node knows nothing of the job ${start}, or not any more.`, {
    hint: `Jobs that were over before ${timeText(since)} are forgotten (journal.retentionDays); ${elsewhere}`,
  });
}

function replicaOf(
  job: JobRow,
  view: JournalView,
  history: ReturnType<JournalView["history"]>,
  live: Live | null,
): ReplicaAnswer {
  const { jobId, replica } = job;
  const attempts = view.attempts(jobId, replica);
  const newest = attempts.at(-1);
  const { acceptBy, startBy, submitBy } = deadlinesOf(job, newest?.facts.spec);
  const trouble = live?.troubles.find((each) => each.jobId === jobId && each.replica === replica);
  return {
    ...{ replica, chain: job.chain, matchedAt: job.matchedAt, requester: job.terms.job.requester },
    ...{ acceptBy, startBy, submitBy },
    waitsFor: newest === undefined ? null : waitsFor(job, newest),
    trouble: trouble?.message ?? null,
    attempts: attempts.map(({ attempt, state, since, outcome, message, facts: { exitCode, claim } }) => ({
      ...{ attempt, state, since, outcome, message, exitCode: exitCode ?? null },
      ...{ charge: claim?.charge ?? null, resultCid: claim?.cid ?? null },
    })),
    history: history.filter((line) => line.replica === replica).map(({ at, attempt, what }) => ({ at, attempt, what })),
    artifacts: view.journal
      .artifacts(jobId, replica)
      .map(({ kind, cid, bytes, keptUntil }) => ({ kind, cid, bytes, keptUntil })),
  };
}

function transactionOf({ key, state, nonce, attempts, mined, gasCost, createdAtMs, error }: OutboxEntry) {
  return {
    ...{ key, state, nonce, hash: mined?.hash ?? attempts.at(-1)?.hash ?? null },
    ...{ block: mined?.blockNumber ?? null, gasCost: String(gasCost), createdAt: Math.floor(createdAtMs / 1000) },
    error: error === null ? null : { code: error.code, message: error.message },
  };
}

function stands(replicas: readonly ReplicaAnswer[]): string {
  return replicas
    .map(({ replica, waitsFor: next, attempts, chain }) => {
      const last = attempts.at(-1);
      if (next !== null) {
        const until = next.until === null ? "" : `, until ${timeText(next.until)} at the latest`;
        return `Replica ${replica} waits for ${next.what}${until}.`;
      }
      const how = last?.outcome ?? (last?.message === "" ? undefined : last?.message) ?? "no outcome";
      return `Replica ${replica} is over: ${how}, ${chain} on chain.`;
    })
    .join(" ");
}

function describe({ jobId, sentence, decisions, replicas, transactions }: ExplainAnswer): string {
  const lines: (readonly [string, string])[] = [
    ["job", jobId],
    ["in short", sentence],
  ];
  for (const { at, what, code, text } of decisions)
    lines.push([`not taken (${what})`, `${timeText(at)}  ${code}  ${text}`]);
  for (const replica of replicas) {
    lines.push([`replica ${replica.replica}`, `${replica.chain}, for ${replica.requester}`]);
    lines.push(["  due", `start ${timeText(replica.startBy)}, result ${timeText(replica.submitBy)}`]);
    if (replica.trouble !== null) lines.push(["  trying again", replica.trouble]);
    for (const { at, attempt, what } of replica.history)
      lines.push([`  attempt ${attempt}`, `${timeText(at)}  ${what}`]);
    for (const { kind, cid, bytes, keptUntil } of replica.artifacts)
      lines.push([`  ${kind}`, `${cid}, ${bytes} bytes, kept until ${timeText(keptUntil)}`]);
  }
  for (const { key, state, hash, block, gasCost, error } of transactions) {
    const what = key.split(":")[0] ?? key;
    const where = block === null ? "" : ` in block ${block}`;
    const why = error === null ? "" : `: ${error.message}`;
    lines.push([`transaction ${what}`, `${state}${where}, ${gasCost} wei of gas, ${hash ?? "not signed yet"}${why}`]);
  }
  return facts(lines);
}
