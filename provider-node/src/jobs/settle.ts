import { createAlarm, type Outbox, type Rpc, toMarketError } from "@berth/chain";
import { type Claim, type Deployment, type Hex, jobMarketAbi, type Terms } from "@berth/protocol";
import { encodeAbiParameters, encodeFunctionData, getAbiItem } from "viem";
import type { Config } from "../config.ts";
import type { Self } from "../core/ports.ts";
import { batchOf, type Due, settlesAfter } from "../core/settlement.ts";
import type { Context } from "../log.ts";
import type { JobRow, Journal, ReplicaRow } from "../store/journal.ts";
import type { SettlementStore } from "../store/settlements.ts";
import { faultPoint } from "./fault.ts";

export interface SettleOptions {
  rules: Config["transactions"]["settle"];
  self: Pick<Self, "account">;
  rpc: Rpc;
  deployment: Deployment;
  journal: Pick<Journal, "job" | "attempt" | "replicasIn">;
  settlements: SettlementStore;
  outbox: Outbox;
  /** Unix seconds by the chain's clock. */
  now(): number;
}

/** Finalizes this node's results, many in one transaction. */
export interface Settling {
  /** There is news from the chain. */
  poke(): void;
  readonly done: Promise<void>;
}

interface Settleable {
  job: JobRow;
  claim: Claim;
}

/** When the windows of the results on chain close, by replica and state. */
type Closings = Map<string, { replica: ReplicaRow; closesAt: number }>;

/** How often it is looked for results that are due. */
const LOOK_MS = 15_000;
/** Gas of one item of a batch: with a verifier its whole cap has to be left over. */
const [ITEM_GAS, JUDGED_ITEM_GAS] = [150_000n, 450_000n];

/** Looks again and again for results that are due. What fails is looked at afresh the next time. */
export function startSettling(options: SettleOptions, { signal, log }: Context): Settling {
  const alarm = createAlarm();
  const closings: Closings = new Map();
  const done = (async () => {
    while (!signal.aborted) {
      try {
        await refresh(closings, options);
        await settleDue(options, closings, { signal, log });
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ reason: toMarketError(error).message }, "results not settled, trying again");
      }
      await alarm.wait(LOOK_MS, signal);
    }
  })();
  return { poke: alarm.ring, done };
}

async function settleDue(options: SettleOptions, closings: Closings, context: Context): Promise<void> {
  const { rules, now } = options;
  const due: Due<Settleable>[] = [];
  for (const { replica, closesAt } of closings.values()) {
    if (now() <= closesAt) continue;
    const item = await settleable(replica, options);
    if (item !== undefined) due.push({ item, closesAt });
  }
  // Most looks end here: those that are due still wait for others.
  if (batchOf(due, now(), rules).length === 0) return;
  // A verifier that is silent, or a clock ahead of the chain's, is found out before it costs gas.
  const passing = await Promise.all(due.map(async ({ item }) => await wouldPass(item, options, context)));
  const batch = batchOf(
    due.filter((_, i) => passing[i]),
    now(),
    rules,
  );
  if (batch.length > 0) await send(batch, options, context);
}

/** Brings `closings` up to date: worked out once for each state of a result, and forgotten with it. */
async function refresh(closings: Closings, options: SettleOptions): Promise<void> {
  const open = new Set<string>();
  for (const replica of options.journal.replicasIn("submitted", "judging", "disputed")) {
    const name = `${replica.jobId}/${replica.replica}/${replica.chain}`;
    open.add(name);
    if (closings.has(name)) continue;
    const closesAt = await closesAtOf(replica, options);
    if (closesAt !== undefined) closings.set(name, { replica, closesAt });
  }
  for (const name of closings.keys()) if (!open.has(name)) closings.delete(name);
}

/** Undefined while it is not known, or never closes by itself. */
async function closesAtOf(
  { jobId, replica, chain }: ReplicaRow,
  { rpc, deployment, journal }: SettleOptions,
): Promise<number | undefined> {
  const job = journal.job(jobId, replica);
  if (job === undefined) return undefined;
  const args = [jobId, replica] as const;
  const market = { address: deployment.market, abi: jobMarketAbi } as const;
  // No event of the market carries it. Zero: this RPC does not have the result yet.
  const { lastAt } = await rpc.client.readContract({ ...market, functionName: "replicaOf", args });
  return lastAt === 0 ? undefined : settlesAfter(chain, job.terms.job, lastAt);
}

/** Unless something of ours is settling it already, or it was another node that knew the result. */
async function settleable(
  { jobId, replica }: ReplicaRow,
  { journal, settlements, outbox }: SettleOptions,
): Promise<Settleable | undefined> {
  const job = journal.job(jobId, replica);
  const stored = journal.attempt(jobId, replica)?.facts.claim;
  if (job === undefined || stored === undefined) return undefined;
  const key = settlements.keyOf(job);
  const state = key === undefined ? undefined : (await outbox.get(key))?.state;
  // Mined and still open: as an item of a batch it failed alone, or the chain's news of it is on its way.
  const isUnderWay = state === "queued" || state === "signed" || state === "sent" || state === "mined";
  if (isUnderWay) return undefined;
  const { resultHash, resultBytes, charge } = stored;
  return { job, claim: { resultHash, resultBytes: BigInt(resultBytes), charge: BigInt(charge) } };
}

async function wouldPass(
  { job, claim }: Settleable,
  { rpc, deployment, self }: SettleOptions,
  { signal, log }: Context,
): Promise<boolean> {
  try {
    const call = { from: self.account.address, to: deployment.market, data: finalizeData(job.terms, claim) };
    await rpc.request("eth_call", [call, "latest"], { signal });
    return true;
  } catch (error) {
    const { code, message } = toMarketError(error, { action: "finalize", abi: jobMarketAbi });
    if (code !== "REVERTED") throw error;
    log.debug({ job: job.jobId, replica: job.replica, reason: message }, "result is not settled yet");
    return false;
  }
}

async function send(
  batch: readonly Settleable[],
  { deployment, settlements, outbox }: SettleOptions,
  { log }: Context,
): Promise<void> {
  const [first] = batch;
  if (first === undefined) return;
  const data = batch.length === 1 ? finalizeData(first.job.terms, first.claim) : manyData(batch);
  const rows = batch.map(({ job }) => job);
  faultPoint("settling", "before");
  const key = settlements.begin(rows);
  faultPoint("settling", "after");
  await outbox.enqueue({ key, to: deployment.market, data });
  log.info({ key, results: rows.map(({ jobId, replica }) => `${jobId}/${replica}`) }, "settling results");
}

function finalizeData(terms: Terms, claim: Claim): Hex {
  return encodeFunctionData({ abi: jobMarketAbi, functionName: "finalize", args: [terms, claim] });
}

function manyData(batch: readonly Settleable[]): Hex {
  const { inputs } = getAbiItem({ abi: jobMarketAbi, name: "finalize" });
  const items = batch.map(({ job, claim }) => encodeAbiParameters(inputs, [job.terms, claim]));
  const isJudged = batch.some(({ job }) => job.chain === "judging");
  const args = [items, isJudged ? JUDGED_ITEM_GAS : ITEM_GAS] as const;
  return encodeFunctionData({ abi: jobMarketAbi, functionName: "finalizeMany", args });
}
