import { type JobId, MarketError, MODE } from "@berth/protocol";
import { chainNow, hasOpenResult, type ReplicaState, storedReplica, tokenAt } from "../chain-reads.ts";
import type { Client, Context } from "../client.ts";
import { formatMoney } from "../format.ts";
import { nodePhase } from "../node-phase.ts";
import { pause } from "../wait.ts";
import { getJob, type Job, type Order } from "./get-job.ts";

/** A job that may not be matched yet. */
export interface Ordered {
  jobId: JobId;
  order: Order;
  /** Unix seconds of the last second in which it can be matched; undefined where that is not known of a matched job. */
  openUntil: number | undefined;
}

/** When what was first seen, in seconds of this machine's clock since the watch began. */
export interface WatchTimes {
  matched: number | undefined;
  running: number | undefined;
  ended: number;
}

/** Every how many milliseconds an unmatched request is explained. */
const EXPLAIN_MS = 10_000;
/** How long an RPC may fail before the watch gives up. */
const PATIENCE_MS = 5 * 60_000;

/**
 * Waits until every replica has a result, or has ended without one; where some have one, those whose time is over are not
 * waited for. The chain's storage decides; the node's and the
 * indexer's words only make the waiting readable.
 * Throws JOB_NOT_MATCHED (with the reasons), JOB_CANCELLED, JOB_NOT_DELIVERED.
 */
export async function watchJob(
  client: Client,
  ordered: Ordered,
  context: Context = {},
  { onMatched }: { onMatched?: (job: Job) => void } = {},
): Promise<{ job: Job; times: WatchTimes }> {
  const { jobId, order } = ordered;
  const { signal } = context;
  const startedAt = performance.now();
  const elapsed = () => (performance.now() - startedAt) / 1000;
  const times: WatchTimes = { matched: undefined, running: undefined, ended: 0 };
  const say = teller(jobId, context);
  let explainAt = performance.now() + EXPLAIN_MS / 5;
  let why = "";
  let job: Job | undefined;
  const patience = createPatience(say);
  const look = async () => {
    const stored = await Promise.all(
      Array.from({ length: order.replicas }, (_, replica) => storedReplica(client, jobId, replica)),
    );
    const states = stored.map(({ state }) => state);
    if (states.includes("cancelled"))
      throw new MarketError("JOB_CANCELLED", "The request was cancelled before anybody took it.");
    if (states.some(isMatched)) {
      if (job === undefined) {
        times.matched = elapsed();
        job = await getJob(client, jobId, context);
        await tellMatched(client, job, say);
        onMatched?.(job);
      }
      if (states.every(isOver)) {
        times.ended = elapsed();
        return { job: await getJob(client, jobId, context), times };
      }
      if (await tellPhases(job, states, say, signal)) times.running ??= elapsed();
      const late = await lateReplicas(client, order, stored);
      for (const replica of late) if (order.replicas > 1) say("run", `replica ${replica}: no result within its time`);
      if (late.length > 0 && states.every((state, replica) => isOver(state) || late.includes(replica))) {
        if (!states.some(hasResult)) throw notDelivered();
        times.ended = elapsed();
        return { job: await getJob(client, jobId, context), times };
      }
    } else {
      job = undefined; // not yet, or the block of the match is gone
      if (performance.now() > explainAt) {
        explainAt = performance.now() + EXPLAIN_MS;
        why = (await explanation(client, jobId, context)) ?? why;
        say("match", why === "" ? "waiting for an offer" : `waiting for an offer: ${why}`, true);
      }
      await assertStillOpen(client, ordered, why, context);
    }
    return undefined;
  };
  for (;;) {
    const over = await patience(look);
    signal?.throwIfAborted();
    if (over !== undefined) return over;
    await pause(client.pollMs, signal);
  }
}

/** An RPC that does not answer says nothing about the job: it is asked again, for a while. */
function createPatience(say: Say): <T>(look: () => Promise<T>) => Promise<T | undefined> {
  let failingSince: number | undefined;
  return async (look) => {
    try {
      const seen = await look();
      failingSince = undefined;
      return seen;
    } catch (error) {
      if (!(error instanceof MarketError) || !error.code.startsWith("RPC_")) throw error;
      failingSince ??= performance.now();
      if (performance.now() - failingSince > PATIENCE_MS) throw error;
      say("run", `${error.message} Asking again.`);
      return undefined;
    }
  };
}

function isMatched(state: ReplicaState): boolean {
  return state !== "none" && state !== "posted" && state !== "cancelled";
}

function isOver(state: ReplicaState): boolean {
  return hasResult(state) || state === "refunded";
}

function hasResult(state: ReplicaState): boolean {
  return hasOpenResult(state) || state === "disputed" || state === "settled";
}

type Say = (phase: "match" | "run", message: string, again?: boolean) => void;

/** Says each thing once, unless asked to repeat it. */
function teller(jobId: JobId, { onProgress }: Context): Say {
  const said = new Set<string>();
  return (phase, message, again = false) => {
    if (said.has(message) && !again) return;
    said.add(message);
    onProgress?.({ phase, message, jobId });
  };
}

async function tellMatched(client: Client, job: Job, say: Say): Promise<void> {
  const token = await tokenAt(client, job.order.token);
  for (const { replica, operator, index, deposit } of job.replicas) {
    const who = job.replicas.length > 1 ? `replica ${replica}: ` : "";
    say("match", `${who}matched to node ${operator}/${index} for at most ${formatMoney(deposit, token)}`);
  }
}

/** Says what the nodes say of themselves. True when one of them runs or has run the command. */
async function tellPhases(
  job: Job,
  states: readonly ReplicaState[],
  say: Say,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const phases = await Promise.all(
    job.replicas.map(async ({ contentUrl, replica, operator }) => {
      if (states[replica] !== "active") return undefined;
      const phase = await nodePhase(contentUrl, job.jobId, replica, signal);
      if (phase !== undefined) {
        const who = job.replicas.length > 1 ? `replica ${replica} (${operator}): ` : "";
        say("run", `${who}${phase.phase}${phase.message === undefined ? "" : ` (${phase.message})`}`);
      }
      return phase?.phase;
    }),
  );
  return (
    phases.some((phase) => phase !== undefined && !["fetching", "preparing"].includes(phase)) || states.some(isOver)
  );
}

async function explanation(client: Client, jobId: JobId, context: Context): Promise<string | undefined> {
  try {
    return (await client.indexer?.explain(jobId, context))?.sentence;
  } catch {
    context.signal?.throwIfAborted();
    return "the indexer does not answer";
  }
}

async function assertStillOpen(
  client: Client,
  { jobId, openUntil }: Ordered,
  why: string,
  context: Context,
): Promise<void> {
  if (openUntil === undefined || (await chainNow(client)) <= openUntil) return;
  const reason = why || (await explanation(client, jobId, context)) || "nobody took it";
  throw new MarketError("JOB_NOT_MATCHED", `The request closed without a match: ${reason}.`, {
    hint: "Nothing was paid. What was deposited is still yours: `berth balance`. A posted request gives its reserve back with `berth cancel`.",
    retryable: true,
  });
}

/** A node that lets its window pass has lost: whoever waits can end it. */
async function lateReplicas(
  client: Client,
  { mode, submitWindow }: Order,
  stored: readonly { state: ReplicaState; matchedAt: number }[],
): Promise<number[]> {
  if (mode !== MODE.batch || !stored.some(({ state }) => state === "active")) return [];
  const now = await chainNow(client);
  return stored.flatMap(({ state, matchedAt }, replica) =>
    state === "active" && now > matchedAt + submitWindow ? [replica] : [],
  );
}

function notDelivered(): MarketError {
  return new MarketError("JOB_NOT_DELIVERED", "The node handed in no result within the time that both sides signed.", {
    hint: "`berth finalize JOB` returns the deposit, and part of the node's bond.",
  });
}
