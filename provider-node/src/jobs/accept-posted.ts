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
import { judgePosted, type Quote } from "../policy/posted.ts";
import { questionOf } from "../policy/question.ts";
import { reasonUnfit } from "../policy/unfit.ts";
import type { ChainStore } from "../store/chain-store.ts";
import type { Decisions, Reason } from "../store/decisions.ts";
import type { Journal } from "../store/journal.ts";

export interface AcceptOptions {
  /** Off: requests are only looked at, so that there is a reason for each. */
  accepts: boolean;
  deny: readonly Address[];
  hook: HookConfig | undefined;
  self: Self;
  deployment: Deployment;
  chain: ChainStore;
  journal: Journal;
  outbox: Outbox;
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
  /** There is news: look at every posted request. Resolves when all were looked at; one look at a time. */
  look(): Promise<void>;
  /** Resolves when no look is under way, after the signal. */
  idle(): Promise<void>;
}

/** Seconds for which a request that is over is looked at, so that there is a reason for it; many are never cancelled. */
const LOOK_BACK_SECONDS = 86_400;
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
  let running: Promise<void> | undefined;
  let isStale = false;

  return {
    look() {
      isStale = true;
      running ??= (async () => {
        try {
          while (isStale && !context.signal.aborted) {
            isStale = false;
            await lookAtAll();
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

  async function lookAtAll(): Promise<void> {
    const posted = chain.postedRequests(now() - LOOK_BACK_SECONDS);
    const known = new Set(posted.map(({ jobId }) => jobId));
    for (const jobId of refused.keys()) if (!known.has(jobId)) refused.delete(jobId);
    const undecided: typeof posted = [];
    /** On their way to be accepted: they will take room too. */
    const taken: Request[] = [];
    for (const one of posted) {
      const entry = await outbox.get(keyOf(one.jobId));
      if (entry === undefined) undecided.push(one);
      else if (entry.state === "reverted" || entry.state === "failed") leave(one, marketReason(entry));
      else taken.push(one.request);
    }
    for (const one of undecided) if (await judge(one, taken)) taken.push(one.request);
  }

  /** Returns whether the request is accepted. */
  async function judge(one: { jobId: JobId; request: Request }, taken: readonly Request[]): Promise<boolean> {
    const { jobId, request } = one;
    const active = [...journal.jobsIn("active").map((job) => job.terms.job), ...taken];
    const { accepts, deny, limits } = options;
    const about = { accepts, key: self.account.address, deny, limits, active, now: now() };
    const quotes = options.quotes();
    const whyNone = options.whyNone();
    if (accepts && quotes.length === 0 && whyNone === undefined) return false; // soon
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
    return answer.reason;
  }

  function leave({ jobId, request }: { jobId: JobId; request: Request }, reason: Reason): false {
    const { requester } = request;
    if (decisions.record({ at: now(), jobId, replica: null, what: "posted", requester, ...reason })) {
      context.log.info({ job: jobId, code: reason.code, reason: reason.text }, "posted request left alone");
    }
    return false;
  }
}

function marketReason({ error }: OutboxEntry): Reason {
  const why = error?.message ?? "the transaction failed";
  return { code: "market-refused", text: `The market did not let this node take it: ${why}`, values: { why } };
}

function keyOf(jobId: JobId): string {
  return `accept:${jobId}`;
}
