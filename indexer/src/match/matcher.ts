import type { Outbox, OutboxEntry, OutboxState } from "@berth/chain";
import { type Address, type Deployment, errorToJson, type Hex, jobMarketAbi, operatorTree } from "@berth/protocol";
import type { Logger } from "pino";
import { encodeFunctionData } from "viem";
import type { BookOffer } from "../book/book.ts";
import { type Hold, type HoldJson, holdFromJson } from "../book/holds.ts";
import type { LiveBook } from "../book/live-book.ts";
import type { Database } from "../store/database.ts";
import { type Bar, barAfter } from "./bars.ts";
import { createEngine } from "./engine.ts";
import type { Match } from "./match.ts";
import { createRefusals, REFUSAL_MS } from "./refusals.ts";
import { endTry, loadTries, recordTry } from "./tries.ts";

/** Seconds from a decision to the block that holds it. */
const INCLUSION_SECONDS = 5;
/** A round without an event, for what only time changes. */
const IDLE_MS = 1000;

export interface MatcherOptions {
  db: Database;
  live: LiveBook;
  deployment: Deployment;
  /** The matcher's account. */
  address: Address;
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

/** Sends what the engine decides, once each, and learns from refusals. */
export async function startMatcher(options: MatcherOptions): Promise<Matcher> {
  const { db, live, deployment, address, caughtUp, bookBlock, now, signal, log } = options;
  const underWay = new Map<Hex, UnderWay>();
  const refusals = createRefusals();
  const engine = createEngine(live.book, refusals);
  /** Over on chain, and still under way here until the book has their block: else they would be decided twice. */
  let ended: OutboxEntry[] = [];
  let rung = Promise.withResolvers<void>();
  const wake = () => rung.resolve();

  const outbox = options.openOutbox((entry) => {
    if (!isOver(entry)) return;
    ended.push(entry);
    wake();
  });
  await resume();
  const done = Promise.all([run(), outbox.done]).then(() => undefined);
  return { address, wake, holds, status: outbox.status, done };

  /** Goes on with what was under way when this process last ended. */
  async function resume(): Promise<void> {
    for (const row of await loadTries(db.query, { now: now(), sinceMs: Date.now() - REFUSAL_MS })) {
      if (row.state === "failed") {
        refusals.add(row.jobId, row.bar as Bar, row.atMs);
        continue;
      }
      track(row.jobId, { hold: holdFromJson(row.holds as HoldJson), offers: row.offers });
      const entry = await outbox.enqueue({ key: row.outboxKey, to: deployment.market, data: row.callData });
      if (isOver(entry)) ended.push(entry);
    }
  }

  async function run(): Promise<void> {
    signal.addEventListener("abort", wake, { once: true });
    while (!signal.aborted) {
      try {
        await finishSeen();
        if (caughtUp()) await round();
      } catch (error) {
        if (signal.aborted) return; // the outbox stops at the same time; what was noted goes on at the next start
        throw error;
      }
      const timer = setTimeout(wake, IDLE_MS);
      await rung.promise;
      clearTimeout(timer);
      rung = Promise.withResolvers();
    }
  }

  async function round(): Promise<void> {
    const at = now() + INCLUSION_SECONDS;
    refusals.expire(Date.now());
    const orders = live.openRequests(at).filter(({ jobId }) => !underWay.has(jobId));
    for (const match of engine.decide({ orders, holds: holds(), now: at, matcher: address })) await send(match);
  }

  async function send({ order, offers, price, hold }: Match): Promise<void> {
    const { jobId, request, signature, payerSignature } = order;
    const callData = encodeFunctionData({
      abi: jobMarketAbi,
      functionName: "matchJob",
      args: [
        request,
        signature,
        payerSignature,
        offers.map(({ offer }) => offer),
        offers.map((offer) => offer.signature),
        proofsOf(order.operators, offers),
      ],
    });
    const hashes = offers.map(({ offerHash }) => offerHash);
    const row = await recordTry(db, { jobId, offers: hashes, callData, hold, atMs: Date.now() });
    track(jobId, { hold, offers: hashes });
    log.info({ job: jobId, offers: hashes, price: String(price), attempt: row.attempt }, "match decided");
    await outbox.enqueue({ key: row.outboxKey, to: deployment.market, data: callData });
  }

  async function finishSeen(): Promise<void> {
    const seen = ended.filter(({ mined }) => mined === null || mined.blockNumber <= bookBlock());
    ended = ended.filter((entry) => !seen.includes(entry));
    for (const entry of seen) await finish(entry);
  }

  async function finish(entry: OutboxEntry): Promise<void> {
    const jobId = entry.key.split(":")[1] as Hex;
    const current = underWay.get(jobId);
    const transaction = entry.mined?.hash ?? null;
    if (entry.state === "final") {
      await endTry(db.query, entry.key, { state: "done", transaction, error: null, bar: null });
    } else {
      const error = entry.error ?? errorToJson(new Error("The match failed without a reason."));
      const order = live.openRequest(jobId, now());
      const offers = [...live.book.offers()].filter(({ offerHash }) => current?.offers.includes(offerHash));
      const bar: Bar = order
        ? barAfter(error, live.book, order.request, offers)
        : { kind: "offers", standings: {}, operators: [] };
      await endTry(db.query, entry.key, { state: "failed", transaction, error, bar });
      refusals.add(jobId, bar, Date.now());
      log.warn({ job: jobId, reason: error.message }, "match refused");
    }
    if (current !== undefined) {
      underWay.delete(jobId);
      live.unwatch(jobId);
    }
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

  function track(jobId: Hex, entry: UnderWay): void {
    if (!underWay.has(jobId)) live.watch(jobId);
    underWay.set(jobId, entry);
  }
}

/** For each offer, that its operator is one whom the request allows; nothing where it allows everyone. */
function proofsOf(operators: readonly Address[] | null, offers: readonly BookOffer[]): Hex[][] {
  if (operators === null) return [];
  const tree = operatorTree(operators);
  return offers.map(({ offer }) => tree.proofOf(offer.operator) ?? []);
}

function isOver({ state }: OutboxEntry): boolean {
  return state === "final" || state === "reverted" || state === "failed";
}
