import { setImmediate } from "node:timers/promises";
import type { Outbox, OutboxEntry } from "@berth/chain";
import {
  type Address,
  type Deployment,
  type JobId,
  jobMarketAbi,
  type NodeLimits,
  priceOf,
  type Request,
} from "@berth/protocol";
import { encodeFunctionData } from "viem";
import type { HookConfig } from "../config/hook.ts";
import type { Machine, Self } from "../core/ports.ts";
import type { Context } from "../log.ts";
import { askHook } from "../policy/ask-hook.ts";
import { judgePosted, type PostedFacts, type Quote } from "../policy/posted.ts";
import { questionOf } from "../policy/question.ts";
import { reasonUnfit } from "../policy/unfit.ts";
import type { ChainStore, Position, PostedRequest } from "../store/chain-store.ts";
import type { Decisions, Reason } from "../store/decisions.ts";
import type { Journal } from "../store/journal.ts";

export interface AcceptOptions {
  deny: readonly Address[];
  hook: HookConfig | undefined;
  self: Self;
  deployment: Deployment;
  chain: Pick<ChainStore, "postedRequests" | "isPosted">;
  journal: Pick<Journal, "jobsIn">;
  outbox: Pick<Outbox, "get" | "enqueue">;
  decisions: Decisions;
  /** Why the engine could never run such a job. Absent: it runs all that is within the limits. */
  unfit?: Machine["unfit"];
  /** As the operator set them. */
  limits: NodeLimits;
  quotes(): readonly Quote[];
  /** Why there are no quotes; undefined while it is not known yet. */
  whyNone(): string | undefined;
  /** Unix seconds by the chain's clock. */
  now(): number;
}

/** Takes posted requests that fit one of this node's own offers, without anyone between. */
export interface Accepting {
  /** There is news: look at the newest posted requests, and at some of the others in turn. One look at a time. */
  look(): Promise<void>;
  /** Resolves when no look is under way, after the signal. */
  idle(): Promise<void>;
}

/** Seconds for which a request that is over is looked at, so that there is a reason for it; many are never cancelled. */
const LOOK_BACK_SECONDS = 86_400;
/** The most requests in one look: this many of the newest, and this many of the others. Anybody can post. */
const LOOK_AT = 200;
/** Requests that are looked at before other work has its turn. */
const AT_A_TIME = 20;
/** Refusals of the hook that are remembered; the oldest are forgotten. */
const REFUSALS_KEPT = 10_000;
/** Seconds after which a hook that gave no answer is asked again. */
const ASK_AGAIN_SECONDS = 60;

/**
 * The market checks everything again; a request that somebody else took first costs nothing, because a transaction that
 * would revert is not sent. Why a request is not taken is recorded, anew when the reason changes.
 */
export function createAccepting(options: AcceptOptions, context: Context): Accepting {
  const { self, deployment, chain, journal, outbox, decisions, hook, now } = options;
  /** Requests that the hook is not asked about again until then (unix seconds), and why. */
  const refused = new Map<JobId, { reason: Reason; until: number }>();
  /** On their way to be accepted: they will take room too. */
  const taken = new Map<JobId, Request>();
  /** Where the last look at older requests ended; undefined: it came to the oldest. */
  let turn: Position | undefined;
  let running: Promise<void> | undefined;
  let isStale = false;

  return {
    look() {
      isStale = true;
      running ??= (async () => {
        try {
          while (isStale && !context.signal.aborted) {
            isStale = false;
            await lookAtSome();
          }
        } finally {
          running = undefined;
        }
      })();
      return running;
    },
    idle: async () => {
      await running?.catch(() => undefined);
    },
  };

  async function lookAtSome(): Promise<void> {
    const undecided: PostedRequest[] = [];
    for (const jobId of taken.keys()) {
      if (!chain.isPosted(jobId) || hasFailed(await outbox.get(keyOf(jobId)))) taken.delete(jobId);
    }
    for (const [i, one] of inTurn().entries()) {
      if (i % AT_A_TIME === 0) await setImmediate();
      const entry = await outbox.get(keyOf(one.jobId));
      if (entry === undefined) undecided.push(one);
      else if (hasFailed(entry)) leave(one, marketReason(entry));
      else taken.set(one.jobId, one.request);
    }
    const active = journal.jobsIn("active").map((job) => job.terms.job);
    for (const [i, one] of undecided.entries()) {
      if (i % AT_A_TIME === 0) await setImmediate();
      if (context.signal.aborted) return;
      if (await judge(one, active)) taken.set(one.jobId, one.request);
    }
  }

  /** The newest open requests, and those whose turn it is, oldest first. */
  function inTurn(): PostedRequest[] {
    const page = { openSince: now() - LOOK_BACK_SECONDS, limit: LOOK_AT };
    const newest = chain.postedRequests(page);
    const last = newest.length < LOOK_AT ? undefined : newest.at(-1)?.at;
    if (last === undefined) return newest.reverse();
    const before = turn === undefined || isBefore(last, turn) ? last : turn;
    const older = chain.postedRequests({ ...page, before });
    turn = older.length < LOOK_AT ? undefined : older.at(-1)?.at;
    return [...newest, ...older].reverse();
  }

  /** Returns whether the request is accepted. */
  async function judge(one: PostedRequest, owed: PostedFacts["active"]): Promise<boolean> {
    const { jobId, request } = one;
    const active = [...owed, ...taken.values()];
    const { deny, limits } = options;
    const about = { key: self.account.address, deny, limits, active, now: now() };
    const quotes = options.quotes();
    const whyNone = options.whyNone();
    if (quotes.length === 0 && whyNone === undefined) return false; // soon
    const judged = judgePosted(request, { ...about, quotes, whyNone: whyNone ?? "" });
    if ("reason" in judged) return leave(one, judged.reason);
    const { profile, offer } = judged.quote;
    const refusal =
      (await reasonUnfit(options.unfit, request, context)) ??
      (await hookRefusal(jobId, request, priceOf(request, [offer])));
    if (refusal !== undefined) return leave(one, refusal);
    const data = encodeFunctionData({ abi: jobMarketAbi, functionName: "accept", args: [request, offer, []] });
    await outbox.enqueue({ key: keyOf(jobId), to: deployment.market, data });
    context.log.info({ job: jobId, profile }, "posted request accepted");
    return true;
  }

  async function hookRefusal(jobId: JobId, request: Request, price: bigint): Promise<Reason | undefined> {
    if (hook === undefined) return undefined;
    const before = refused.get(jobId);
    if (before !== undefined && now() < before.until) return before.reason;
    const question = questionOf(request, { what: "posted", jobId, price, spec: null });
    const answer = await askHook(hook, question, context);
    if (answer.take) return undefined;
    const until = answer.isFinal ? Number.POSITIVE_INFINITY : now() + ASK_AGAIN_SECONDS;
    refused.set(jobId, { reason: answer.reason, until });
    const [oldest] = refused.keys();
    if (refused.size > REFUSALS_KEPT && oldest !== undefined) refused.delete(oldest);
    return answer.reason;
  }

  function leave({ jobId, request }: PostedRequest, reason: Reason): false {
    const { requester } = request;
    if (decisions.record({ at: now(), jobId, replica: null, what: "posted", requester, ...reason })) {
      context.log.info({ job: jobId, code: reason.code, reason: reason.text }, "posted request left alone");
    }
    return false;
  }
}

function hasFailed(entry: OutboxEntry | undefined): boolean {
  return entry?.state === "reverted" || entry?.state === "failed";
}

function marketReason({ error }: OutboxEntry): Reason {
  const why = error?.message ?? "the transaction failed";
  return { code: "market-refused", text: `The market did not let this node take it: ${why}`, values: { why } };
}

function isBefore([block, log]: Position, [otherBlock, otherLog]: Position): boolean {
  return block < otherBlock || (block === otherBlock && log < otherLog);
}

function keyOf(jobId: JobId): string {
  return `accept:${jobId}`;
}
