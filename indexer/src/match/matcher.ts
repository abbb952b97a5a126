import {
  currentFees,
  DEFAULT_FEE_POLICY,
  type Outbox,
  type OutboxEntry,
  type OutboxState,
  readHead,
} from "@berth/chain";
import {
  type Address,
  type Deployment,
  type ErrorJson,
  errorToJson,
  type Hex,
  MarketError,
  orderToJson,
  type Request,
} from "@berth/protocol";
import type { Logger } from "pino";
import type { BookOffer } from "../book/book.ts";
import { type Hold, type HoldJson, holdFromJson, holdToJson } from "../book/holds.ts";
import type { LiveBook } from "../book/live-book.ts";
import { withRoot } from "../fairness/published.ts";
import type { Round } from "../fairness/snapshot.ts";
import { createSnapshots, type Seen } from "../fairness/snapshots.ts";
import type { Database } from "../store/database.ts";
import { type Bar, barAfter } from "./bars.ts";
import { type BatchLimits, callOf, failuresOf, gasToAllow, itemLimits, planBatches, wordsOf } from "./batch.ts";
import { createEngine } from "./engine.ts";
import { affordable, type Costed, type GasPolicy, worthOfTip } from "./gas-policy.ts";
import type { Match } from "./match.ts";
import { createRefusals, REFUSAL_MS } from "./refusals.ts";
import { type Refused, type Rehearsed, rehearse, rehearseBatch, type Stage } from "./rehearsal.ts";
import {
  DAY_MS,
  endBatch,
  givenToday,
  loadBatches,
  loadTries,
  type NewTry,
  recordBatch,
  recordRefused,
  type TryEnd,
} from "./tries.ts";

/** Seconds from a decision to the block that holds it. */
const INCLUSION_SECONDS = 5;
/** A round without an event, for what only time changes. */
const IDLE_MS = 1000;
/** Matches tried and sent at once; the next are decided when these are under way. */
const MAX_ROUND = 200;
/** Milliseconds until a match is looked at again whose gas was too dear. */
const POSTPONED_MS = 15_000;
/** A fee that is a quarter higher than when the match was decided is still paid. */
const FEE_HEADROOM_PERCENT = 125n;
/** A batch takes at most this part of a block, so that it finds a place in one, and never more than this. */
const BLOCK_SHARE = 4n;
const MAX_BATCH_GAS = 8_000_000n;
/** Mempools take transactions of at most 128 KiB. */
const MAX_BATCH_BYTES = 96 * 1024;

export interface MatcherOptions {
  db: Database;
  live: LiveBook;
  deployment: Deployment;
  /** Where matches are tried; its `from` is the matcher's account. */
  stage: Stage;
  policy: GasPolicy;
  /** Decides otherwise than this indexer does: for tests of what comes of that. */
  makeEngine?: typeof createEngine;
  /** Given a listener, makes the outbox that the matcher's transactions leave through. */
  openOutbox: (onChange: (entry: OutboxEntry, before: OutboxState) => void) => Outbox;
  /** Is the book as new as the chain? */
  caughtUp: () => boolean;
  /** The newest block in the book; -1 before the first. */
  bookBlock: () => number;
  /** Unix seconds, as the chain counts them. */
  now: () => number;
  signal: AbortSignal;
  log: Logger;
}

export interface Matcher {
  address: Address;
  /** Something changed: look again now. */
  wake(): void;
  /** What matches under way take. */
  holds(): Hold[];
  /** The outbox' last trouble, like no gas money. */
  status(): ReturnType<Outbox["status"]>;
  readonly done: Promise<void>;
}

interface UnderWay {
  hold: Hold;
  offers: Hex[];
}

type Payable = Rehearsed & Costed;

/** Tries, sends once and in batches what the engine decides, and learns from refusals. */
export async function startMatcher(options: MatcherOptions): Promise<Matcher> {
  const { db, live, deployment, stage, policy, caughtUp, bookBlock, now, signal, log } = options;
  const address = stage.from;
  const underWay = new Map<Hex, UnderWay>();
  /** The jobs of each transaction under way, in the places that its failures are told by. */
  const jobsOf = new Map<string, Hex[]>();
  /** Jobs that are not looked at until then (unix milliseconds), because gas is too dear for what they bring. */
  const postponed = new Map<Hex, number>();
  const refusals = createRefusals();
  const engine = (options.makeEngine ?? createEngine)(live.book, refusals);
  const snapshots = await createSnapshots(db);
  /** Over on chain, and still under way here until the book has their block: else they would be decided twice. */
  let ended: OutboxEntry[] = [];
  let trouble: ErrorJson | null = null;
  /** The day of the last warning that the day's gas is lost. */
  let warnedOn = -1;
  let rung = Promise.withResolvers<void>();
  const wake = () => rung.resolve();

  const outbox = options.openOutbox((entry) => {
    if (!isOver(entry)) return;
    ended.push(entry);
    wake();
  });
  outbox.done.catch(() => {}); // seen by whoever waits for `done`, or cannot start
  await resume();
  const done = Promise.all([run(), outbox.done]).then(() => undefined);
  const status = () => ({ ...outbox.status(), lastError: outbox.status().lastError ?? trouble });
  return { address, wake, holds, status, done };

  /** Goes on with what was under way when this process last ended. */
  async function resume(): Promise<void> {
    const rows = await loadTries(db.query, { now: now(), sinceMs: Date.now() - REFUSAL_MS });
    const sent = rows.filter(({ state }) => state === "sent");
    for (const { jobId, bar, atMs, state } of rows) if (state === "failed") refusals.add(jobId, bar as Bar, atMs);
    for (const row of sent) {
      track(row.outboxKey, row.jobId, { hold: holdFromJson(row.holds as HoldJson), offers: row.offers });
    }
    const batches = await loadBatches(db.query);
    const known = new Set(batches.map(({ outboxKey }) => outboxKey));
    const older = sent.filter(({ outboxKey }) => !known.has(outboxKey)); // from before there were batches
    for (const { outboxKey, callData, gasLimit, gasCost } of [
      ...older.map(({ outboxKey }) => ({ outboxKey, callData: null, gasLimit: null, gasCost: undefined })),
      ...batches,
    ]) {
      const data = callData ?? sent.find((row) => row.outboxKey === outboxKey)?.callData ?? "0x";
      const entry = await enqueue(outboxKey, { data, gasLimit, maxGasCost: gasCost });
      if (isOver(entry)) ended.push(entry);
    }
  }

  async function run(): Promise<void> {
    signal.addEventListener("abort", wake, { once: true });
    while (!signal.aborted) {
      try {
        await finishSeen();
        if (caughtUp()) await round();
        trouble = null;
      } catch (error) {
        if (signal.aborted) return; // the outbox stops at the same time; what was noted goes on at the next start
        if (!isRpcTrouble(error)) throw error;
        if (trouble === null) log.warn({ err: error }, "rpc trouble, matching again soon");
        trouble = errorToJson(error);
        stage.rpc.rotate();
        rung = Promise.withResolvers(); // not again at once
      }
      const timer = setTimeout(wake, IDLE_MS);
      await rung.promise;
      clearTimeout(timer);
      rung = Promise.withResolvers();
    }
  }

  async function round(): Promise<void> {
    const at = now() + INCLUSION_SECONDS;
    const nowMs = Date.now();
    refusals.expire(nowMs);
    for (const [jobId, untilMs] of postponed) if (untilMs <= nowMs) postponed.delete(jobId);
    const orders = live.openRequests(at).filter(({ jobId }) => !underWay.has(jobId) && !postponed.has(jobId));
    const matches = engine.decide({ orders, holds: holds(), now: at, matcher: address });
    if (matches.length === 0) return;
    if (matches.length > MAX_ROUND) wake();
    const decided = matches.slice(0, MAX_ROUND);
    const seen = look(decided, at);
    const limits = await sizeLimits();
    const { ready, refused } = await rehearse(decided, stage, limits.item);
    if (refused.length > 0) await refuse(refused);
    const { paid, short } = await costed(ready);
    for (const { match, mostCost, worth } of short) {
      postponed.set(match.order.jobId, nowMs + POSTPONED_MS);
      const figures = { job: match.order.jobId, mostCost: String(mostCost), tipWorth: String(worth) };
      log.info(figures, "match waits until its gas is paid for");
    }
    const alone = ({ match }: Payable) => refusals.mustGoAlone(match.order.jobId);
    for (const batch of planBatches(paid, limits.batch, alone)) await send(batch, seen);
  }

  /** What the decision saw, to be stored when something comes of it; its root goes out with every such match. */
  function look(decided: readonly Match[], at: number): Seen | undefined {
    const { book } = live;
    const round: Round = {
      now: at,
      block: bookBlock(),
      matcher: address,
      paused: book.paused,
      orders: decided.map(({ order: { jobId, request, posted, receivedAtMs, operators } }) => ({
        jobId,
        request: orderToJson(request) as Round["orders"][number]["request"],
        posted,
        receivedAtMs,
        operators,
        balance: String(book.balance(request.payer, request.token)),
        barred: refusals.count(jobId) === 0 ? [] : barredOf(jobId, request),
      })),
      holds: holds().map(holdToJson),
    };
    return snapshots.look(book, book.size, round, Date.now());
  }

  function barredOf(jobId: Hex, request: Request): Hex[] {
    const barred = [...live.book.offers()].filter((offer) => refusals.barsOffer(jobId, live.book, request, offer));
    return barred.map(({ offerHash }) => offerHash);
  }

  /** Notes matches that failed when they were tried: nothing was sent, and no gas was spent. */
  async function refuse(refused: readonly Refused[]): Promise<void> {
    const atMs = Date.now();
    const barred = refused.map((one) => ({ ...toTry(one), error: one.error, bar: blame(one.match, one.error) }));
    await recordRefused(db, barred, atMs);
    for (const { jobId, bar, error } of barred) {
      refusals.add(jobId, bar, atMs);
      log.warn({ job: jobId, reason: error.message }, "match refused when it was tried");
    }
    wake(); // the next best offers, now
  }

  /** Which of them the policy pays gas for, at most at today's fees and a quarter more. */
  async function costed(ready: readonly Rehearsed[]): Promise<{ paid: Payable[]; short: Payable[] }> {
    if (ready.length === 0) return { paid: [], short: [] };
    const { rpc } = stage;
    const fees = await currentFees(rpc, await readHead(rpc, signal), DEFAULT_FEE_POLICY, signal);
    const price = (fees.maxFeePerGas * FEE_HEADROOM_PERCENT) / 100n;
    const payable = ready.map((item) => ({
      ...item,
      mostCost: gasToAllow(item.gas) * price,
      worth: worthOfTip(policy, item.match.order.request),
    }));
    const nowMs = Date.now();
    const given = await givenToday(db.query, nowMs);
    const { paid, short, isDayOver } = affordable(payable, policy, given);
    if (isDayOver) warnOfLoss(given, nowMs);
    return { paid, short };
  }

  /** Once a day. */
  function warnOfLoss(given: bigint, nowMs: number): void {
    const day = Math.floor(nowMs / DAY_MS);
    if (day === warnedOn) return;
    warnedOn = day;
    const figures = { given: String(given), givenPerDay: String(policy.givenPerDay) };
    log.warn(
      figures,
      "nothing is matched for the rest of this day (UTC): more gas was lost to matches that failed than --lost-gas allows",
    );
  }

  async function sizeLimits(): Promise<{ batch: BatchLimits; item: BatchLimits }> {
    const block = await stage.rpc.request("eth_getBlockByNumber", ["latest", false], { signal });
    const blockGas = BigInt((block as { gasLimit: Hex }).gasLimit);
    const share = blockGas / BLOCK_SHARE;
    const gas = share < MAX_BATCH_GAS ? share : MAX_BATCH_GAS;
    return { batch: { gas, bytes: MAX_BATCH_BYTES }, item: itemLimits(blockGas, MAX_BATCH_BYTES) };
  }

  async function send(planned: readonly Payable[], seen: Seen | undefined): Promise<void> {
    const batch = planned.length === 1 ? planned : await succeedTogether(planned);
    if (batch.length === 0) return;
    const call = callOf(batch);
    const data = seen === undefined ? call.data : withRoot(call.data, await seen.store());
    const { gasLimit } = call;
    const maxGasCost = batch.reduce((sum, { mostCost }) => sum + mostCost, 0n);
    const items = batch.map(toTry);
    const callData = data === batch[0]?.callData ? null : data;
    const noted = { atMs: Date.now(), callData, gasLimit, gasCost: maxGasCost };
    const { outboxKey, rows } = await recordBatch(db, items, noted);
    for (const [i, { match }] of batch.entries()) {
      const { jobId, offers, attempt } = rows[i] as (typeof rows)[number];
      track(outboxKey, jobId, { hold: match.hold, offers });
      log.info({ job: jobId, offers, price: String(match.price), attempt, key: outboxKey }, "match decided");
    }
    await enqueue(outboxKey, { data, gasLimit, maxGasCost });
  }

  /** Those that succeed when tried as one batch; the others go alone, in the next round. */
  async function succeedTogether(planned: readonly Payable[]): Promise<Payable[]> {
    const answers = await rehearseBatch(planned, stage);
    for (const [i, { match }] of planned.entries()) {
      if (answers[i] === true) continue;
      refusals.add(match.order.jobId, { kind: "alone" }, Date.now());
      wake();
    }
    return planned.filter((_, i) => answers[i] === true);
  }

  function toTry({ match, callData }: Pick<Rehearsed, "match" | "callData">): NewTry {
    const { order, offers, hold } = match;
    const hashes = offers.map(({ offerHash }) => offerHash);
    return { jobId: order.jobId, offers: hashes, callData, hold, tipWorth: worthOfTip(policy, order.request) };
  }

  async function enqueue(
    key: string,
    call: { data: Hex; gasLimit: bigint | null; maxGasCost: bigint | undefined },
  ): Promise<OutboxEntry> {
    return outbox.enqueue({
      key,
      to: deployment.market,
      data: call.data,
      ...(call.gasLimit === null ? {} : { gasLimit: call.gasLimit }),
      ...(call.maxGasCost === undefined ? {} : { maxGasCost: call.maxGasCost }),
    });
  }

  async function finishSeen(): Promise<void> {
    const seen = ended.filter(({ mined }) => mined === null || mined.blockNumber <= bookBlock());
    for (const entry of seen) {
      await finish(entry);
      ended = ended.filter((other) => other !== entry);
    }
  }

  async function finish(entry: OutboxEntry): Promise<void> {
    const jobs = jobsOf.get(entry.key);
    if (jobs === undefined) return; // only fills a nonce
    const ends = await endsOf(entry, jobs);
    await endBatch(db, entry.key, ends, { hash: entry.mined?.hash ?? null, gasCost: entry.gasCost });
    jobsOf.delete(entry.key);
    for (const { jobId, error, bar, state } of ends) {
      if (bar !== null) refusals.add(jobId, bar, Date.now());
      else if (state === "failed") postponed.set(jobId, Date.now() + POSTPONED_MS);
      if (state === "failed") log.warn({ job: jobId, reason: error?.message }, "match refused");
      if (underWay.delete(jobId)) live.unwatch(jobId);
    }
  }

  /** What became of each match of a transaction that is over. */
  async function endsOf(entry: OutboxEntry, jobs: readonly Hex[]): Promise<TryEnd[]> {
    const done = (jobId: Hex): TryEnd => ({ jobId, state: "done", error: null, bar: null });
    if (entry.state === "final") {
      const failures = jobs.length === 1 ? new Map<number, Hex>() : await failuresIn(entry);
      return jobs.map((jobId, i) => {
        const reason = failures.get(i);
        if (reason === undefined) return done(jobId);
        const error = wordsOf(reason, `match:${jobId}`, stage.abi);
        return { jobId, state: "failed", error, bar: reason === "0x" ? { kind: "alone" } : blameAgain(jobId, error) };
      });
    }
    const error = entry.error ?? errorToJson(new Error("The match failed without a reason."));
    return jobs.map((jobId) => {
      if (error.code === "GAS_COST_EXCEEDED") return { jobId, state: "failed", error, bar: null };
      const bar: Bar = jobs.length === 1 ? blameAgain(jobId, error) : { kind: "alone" };
      return { jobId, state: "failed", error, bar };
    });
  }

  async function failuresIn({ mined }: OutboxEntry): Promise<Map<number, Hex>> {
    const receipt = await stage.rpc.request("eth_getTransactionReceipt", [mined?.hash], { signal });
    if (receipt === null || receipt === undefined) {
      const message = `The RPC has no receipt of ${mined?.hash}, which it had before.`;
      throw new MarketError("RPC_INCONSISTENT", message, { retryable: true });
    }
    return failuresOf((receipt as { logs: unknown[] }).logs, deployment.market);
  }

  function blame({ order, offers }: Match, error: ErrorJson): Bar {
    return barAfter(error, live.book, order.request, offers);
  }

  /** The same for a match that was sent, perhaps by an earlier process: its orders may be gone by now. */
  function blameAgain(jobId: Hex, error: ErrorJson): Bar {
    const order = live.openRequest(jobId, now());
    const current = underWay.get(jobId);
    if (order === undefined || current === undefined) return { kind: "offers", standings: {}, operators: [] };
    const ofOperators = current.hold.nodes.flatMap(({ operator }): BookOffer[] => [
      ...live.book.index.offersOf(operator),
    ]);
    const offers = ofOperators.filter(({ offerHash }) => current.offers.includes(offerHash));
    return barAfter(error, live.book, order.request, offers);
  }

  /** A match that the tables show already is in their sums. */
  function holds(): Hold[] {
    return [...underWay.values()]
      .map(({ hold }) => hold)
      .filter(({ jobId }) => {
        const state = live.chainState(jobId);
        return state === null || state === "posted";
      });
  }

  function track(outboxKey: string, jobId: Hex, entry: UnderWay): void {
    if (!underWay.has(jobId)) live.watch(jobId);
    underWay.set(jobId, entry);
    jobsOf.set(outboxKey, [...(jobsOf.get(outboxKey) ?? []), jobId]);
  }
}

function isOver({ state }: OutboxEntry): boolean {
  return state === "final" || state === "reverted" || state === "failed";
}

/** Did the RPC say nothing about the market, so that asking again helps? */
function isRpcTrouble(error: unknown): boolean {
  return (
    error instanceof MarketError &&
    ["RPC_UNAVAILABLE", "RPC_ERROR", "RPC_INCONSISTENT", "INSUFFICIENT_GAS_FUNDS"].includes(error.code)
  );
}
