import type { Rpc } from "@berth/chain";
import { type Address, type Deployment, depositOf, jobMarketAbi, MarketError, type Spec } from "@berth/protocol";
import type { HookConfig } from "../config/hook.ts";
import { attemptName } from "../core/attempt-name.ts";
import type { Machine, Self } from "../core/ports.ts";
import type { Veto } from "../core/states.ts";
import type { Images } from "../image/images.ts";
import type { Context } from "../log.ts";
import type { Reason } from "../store/decisions.ts";
import { isDraining } from "../store/drain.ts";
import type { AttemptRow, JobRow, Journal } from "../store/journal.ts";
import type { Database } from "../store/open.ts";
import { askHook } from "./ask-hook.ts";
import { createFreeDecline } from "./free-decline.ts";
import { questionOf } from "./question.ts";
import { reasonUnfit } from "./unfit.ts";

export interface VetoOptions {
  deny: readonly Address[];
  declineAtCost: boolean;
  hook: HookConfig | undefined;
  /** Absent: images need no signatures. */
  isUnsigned?: Images["isUnsigned"] | undefined;
  /** Was gVisor offered to who was matched at `matchedAt`, and does not work here now? Undefined: not tried yet. Absent: never. */
  lacksGvisor?(matchedAt: number): boolean | undefined;
  self: Self;
  rpc: Rpc;
  deployment: Deployment;
  database: Database;
  journal: Journal;
  /** Why the engine could never run such a job. Absent: it runs all that is within the capacity. */
  unfit?: Machine["unfit"];
  /** The spec of a match, for the hook and for the image; throws where it cannot be had in time. */
  fetchSpec(job: JobRow, context: Context): Promise<Spec>;
  /** Unix seconds by the chain's clock. */
  now(): number;
}

/** Why a match should be given back, and whether it may be; null: it is served. Asked while it can be given back. */
export type VetoMatch = (job: JobRow, attempt: AttemptRow, context: Context) => Promise<Veto | null>;

/** Of the accept window, for the spec and the image's signatures: the hook has the rest. */
const SPEC_SHARE = 0.5;

export function createVeto(options: VetoOptions): VetoMatch {
  const { declineAtCost, self, rpc, deployment, journal } = options;
  const freeDecline = createFreeDecline();
  /** Answers that were had before something else failed: the hook is asked once about an attempt. */
  const answers = new Map<string, Reason | null>();

  return async (job, attempt, context) => {
    const name = attemptName(self.runId, attempt);
    const known = answers.get(name);
    const reason = known === undefined ? await reasonAgainst(job, attempt, options, context) : known;
    answers.set(name, reason);
    const veto = reason === null ? null : { reason, mayDecline: await mayDecline(job, attempt, name) };
    answers.delete(name);
    if (veto?.mayDecline === false) {
      const { code, text } = veto.reason;
      context.log.warn({ code, reason: text }, "match kept: declining it would cost (offers.declineAtCost is off)");
    }
    return veto;
  };

  async function mayDecline(job: JobRow, attempt: AttemptRow, name: string): Promise<boolean> {
    // The fee comes out of the bond: where there is none, it is nothing.
    if (declineAtCost || job.terms.job.bond === 0n) return true;
    const { declinedAt } = await rpc.client.readContract({
      address: deployment.market,
      abi: jobMarketAbi,
      functionName: "useOf",
      args: [self.operator, self.index],
    });
    // One that an earlier process gave back may not be on chain yet.
    const isOther = (row: AttemptRow) => row.jobId !== attempt.jobId || row.replica !== attempt.replica;
    if (journal.open().some((row) => row.state === "declined" && isOther(row))) return false;
    return freeDecline.claim(name, declinedAt, options.now());
  }
}

async function reasonAgainst(
  job: JobRow,
  attempt: AttemptRow,
  { deny, hook, isUnsigned, lacksGvisor = () => false, unfit, database, fetchSpec }: VetoOptions,
  context: Context,
): Promise<Reason | null> {
  const { requester, acceptWindow } = job.terms.job;
  if (deny.includes(requester)) {
    return { code: "denied", text: `Requester ${requester} is denied (offers.deny).`, values: { requester } };
  }
  const draining = isDraining(database);
  if (draining !== undefined) {
    const why = draining.reason === "" ? "" : `: ${draining.reason}`;
    return { code: "draining", text: `The node is draining${why}.`, values: { reason: draining.reason } };
  }
  const tooLarge = await reasonUnfit(unfit, job.terms.job, context);
  if (tooLarge !== undefined) return tooLarge;
  if (hook === undefined && isUnsigned === undefined && lacksGvisor(job.matchedAt) === false) return null;
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(acceptWindow * 1000 * SPEC_SHARE)]);
  const spec = attempt.facts.spec ?? (await fetchSpec(job, { ...context, signal }).catch(() => null));
  if (spec?.isolation === "gvisor" && lacksGvisor(job.matchedAt) !== false) {
    if (lacksGvisor(job.matchedAt) === undefined) {
      throw new MarketError("ENGINE_UNAVAILABLE", "Whether gVisor works here is not known yet.", { retryable: true });
    }
    const text = "The job asks for gVisor, which this node offered and can no longer run jobs in.";
    return { code: "cannot-serve", text, values: { isolation: "gvisor" } };
  }
  const unsigned = spec !== null && (await isUnsigned?.(spec.image, { ...context, signal }).catch(() => false));
  context.signal.throwIfAborted();
  if (unsigned === true) {
    const { digest } = spec.image;
    const text = `The image ${digest} has no signature that this node accepts (images.policy).`;
    return { code: "image-unsigned", text, values: { image: digest } };
  }
  if (hook === undefined) return null;
  const facts = { what: "match" as const, jobId: job.jobId, price: depositOf(job.terms), spec };
  const answer = await askHook(hook, questionOf(job.terms.job, facts), context);
  return answer.take ? null : answer.reason;
}
