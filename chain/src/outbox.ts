import { type Address, type ErrorJson, errorToJson, type Hex, MarketError } from "@berth/protocol";
import type { Logger } from "pino";
import { type Abi, formatTransactionReceipt, type LocalAccount, type TransactionReceipt } from "viem";
import { readHead, readHeader } from "./block-reader.ts";
import { toMarketError } from "./errors.ts";
import { bumpedFees, currentFees, DEFAULT_FEE_POLICY, type FeePolicy, type Fees } from "./fees.ts";
import {
  type AccountView,
  broadcast,
  preflight,
  readAccount,
  readReceipts,
  signAttempt,
  transactionWithNonce,
} from "./outbox-chain.ts";
import { isOpen, type OutboxEntry, type OutboxState, type OutboxStore } from "./outbox-store.ts";
import { type BlockHeader, toQuantity } from "./parse.ts";
import type { Rpc } from "./rpc.ts";
import { backoffMs, createAlarm } from "./wait.ts";

export interface OutboxOptions {
  rpc: Rpc;
  account: LocalAccount;
  chainId: number;
  store: OutboxStore;
  log: Logger;
  signal: AbortSignal;
  feePolicy?: Partial<FeePolicy>;
  /** wei of gas per UTC day; what would exceed it waits for the next day (or fails, see `onBlocked`). */
  dailyGasBudget?: bigint | undefined;
  /** Transactions that the budget does not hold back, though they count in it. */
  isUrgent?: (key: string) => boolean;
  /** Blocks on top of a transaction's block until it is final; 0: as soon as it is mined. */
  confirmations?: number;
  /** Errors to name when a contract refuses. */
  abi?: Abi;
  pollMs?: number;
  /** When there is no money for gas or no budget left: `wait` until there is, or `fail` the entry. */
  onBlocked?: "wait" | "fail";
  /** Throws what speaks against what a call with a gas limit answered when it was tried, just before it is signed. */
  check?: (entry: OutboxEntry, answer: Hex) => void;
  onChange?: (entry: OutboxEntry, before: OutboxState) => void;
}

export interface Transaction {
  /** Deterministic name of the effect, like `submit:<job>:<replica>`. */
  key: string;
  to: Address;
  data: Hex;
  /** wei */
  value?: bigint;
  /** Without it, the estimate plus a fifth. */
  gasLimit?: bigint;
  /** wei; fails with `GAS_COST_EXCEEDED` rather than be signed at a higher cost, and is never bumped beyond it. */
  maxGasCost?: bigint;
}

export interface Outbox {
  /** Idempotent by `key`: returns what is stored. Throws `OUTBOX_KEY_REUSED` when the key stands for another call. */
  enqueue(transaction: Transaction): Promise<OutboxEntry>;
  get(key: string): Promise<OutboxEntry | undefined>;
  /** Throws `REVERTED` or what else ended it, `OUTBOX_UNKNOWN_KEY`, `OUTBOX_STOPPED`, or the signal's reason. */
  wait(key: string, options?: { until?: "mined" | "final"; signal?: AbortSignal }): Promise<TransactionReceipt>;
  /** Look at the chain now instead of at the next poll. */
  poke(): void;
  status(): { open: number; lastError: ErrorJson | null };
  /** Resolves after an abort; rejects with what the store threw. */
  readonly done: Promise<void>;
}

/** Most RPCs keep the state of the last 128 blocks only. */
const MAX_HISTORY = 64;

/**
 * Sends each enqueued transaction exactly once. Signed bytes are stored before they leave, and only those bytes, or
 * versions with the same nonce and a higher fee, are ever broadcast; so a crash at any point cannot send it twice.
 * One outbox per account at a time.
 */
export function createOutbox(options: OutboxOptions): Outbox {
  const { rpc, account, chainId, store, log, signal, dailyGasBudget, abi, check, onChange } = options;
  const isUrgent = options.isUrgent ?? (() => false);
  const { confirmations = 5, pollMs = 1000, onBlocked = "wait" } = options;
  const policy: FeePolicy = { ...DEFAULT_FEE_POLICY, ...options.feePolicy };
  if (rpc.chainId !== chainId) {
    throw new MarketError("WRONG_CHAIN", `The RPC serves chain ${rpc.chainId}, not ${chainId}.`, {
      hint: `Give an RPC of chain ${chainId}.`,
    });
  }
  const alarm = createAlarm();
  const listeners = new Set<() => void>();
  let open = 0;
  let lastError: ErrorJson | null = null;
  /** Why the RPC did not take a transaction at the last look. */
  let refusal: ErrorJson | null = null;
  let stopped: unknown;
  /** Above every nonce this process signed, so that a stale RPC cannot make it sign one twice. */
  let nonceFloor = 0;
  /** Refusals that may come from a transaction in flight, by key: decide again once this nonce is mined. */
  const deferred = new Map<string, number>();
  /** The version that all others wait for, and since when it has been. */
  let nextInLine = { name: "", atMs: 0, atBlock: 0 };
  const takenLooks = new Map<string, number>();
  const broadcastAt = new Map<Hex, Hex>();

  const done = run().then(
    () => stop(new MarketError("OUTBOX_STOPPED", "The outbox was stopped.", { retryable: true })),
    (error: unknown) => {
      stop(error);
      throw error;
    },
  );

  return {
    async enqueue({ key, to, data, value = 0n, gasLimit, maxGasCost }) {
      if (stopped !== undefined) throw stopped;
      const entry = await store.insertIfAbsent({
        key,
        chainId,
        from: account.address,
        to,
        data,
        value,
        gasLimit: gasLimit ?? null,
        ...(maxGasCost === undefined ? {} : { maxGasCost }),
        state: "queued",
        nonce: null,
        attempts: [],
        mined: null,
        error: null,
        gasCost: 0n,
        createdAtMs: Date.now(),
        signedAtMs: null,
      });
      const same =
        entry.to.toLowerCase() === to.toLowerCase() &&
        entry.data.toLowerCase() === data.toLowerCase() &&
        entry.value === value;
      if (!same) {
        throw new MarketError("OUTBOX_KEY_REUSED", `The key ${key} already stands for another transaction.`, {
          hint: "Use one key for one effect.",
        });
      }
      alarm.ring();
      return entry;
    },
    get: async (key) => store.get(key),
    wait,
    poke: alarm.ring,
    status: () => ({ open, lastError }),
    done,
  };

  function stop(reason: unknown): void {
    stopped = reason;
    for (const wake of listeners) wake();
  }

  async function run(): Promise<void> {
    for (const entry of await store.listOpen()) checkOwner(entry);
    let failures = 0;
    while (!signal.aborted) {
      try {
        refusal = null;
        await tick();
        failures = 0;
        lastError = refusal;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof StoreFault) throw error.cause;
        failures += 1;
        const failure = toMarketError(error, { action: "Sending transactions" });
        lastError = errorToJson(failure);
        if (failures === 1) log.warn({ err: failure, open }, "rpc trouble, trying again");
        rpc.rotate();
      }
      const pause = failures > 0 ? backoffMs(failures, pollMs) : pollMs;
      await alarm.wait(open === 0 && failures === 0 ? undefined : pause, signal);
    }
  }

  async function tick(): Promise<void> {
    let entries = await listOpen();
    if (entries.length === 0) return;
    const head = await readHead(rpc, signal);
    const view = await readAccount(rpc, account.address, signal);
    await look(entries, head, view);
    entries = await listOpen();
    await resend(entries, head, view);
    await unstick(entries, head, view);
    await sendQueued(await listOpen(), head, view);
    await listOpen();
  }

  /** Compares what was signed with what the chain has. */
  async function look(entries: OutboxEntry[], head: BlockHeader, view: AccountView): Promise<void> {
    const signed = entries.filter((entry) => entry.attempts.length > 0);
    const hashes = signed.flatMap((entry) => entry.attempts.map(({ hash }) => hash));
    const receipts = await readReceipts(rpc, hashes, signal);
    const headers = new Map<number, Promise<BlockHeader>>();
    const headerAt = (number: number) => {
      const header = headers.get(number) ?? readHeader(rpc, number, signal);
      headers.set(number, header);
      return header;
    };
    for (const entry of signed) {
      const receipt = entry.attempts.map(({ hash }) => receipts.get(hash)).find((found) => found !== undefined);
      if (receipt !== undefined) {
        takenLooks.delete(entry.key);
        const canonical = await headerAt(receipt.blockNumber);
        if (canonical.hash !== receipt.blockHash) continue; // answers from two chains: unknown
        const { gasCost, ...mined } = receipt;
        const isNew = entry.mined?.blockHash !== mined.blockHash || entry.mined.hash !== mined.hash;
        const error = mined.success ? null : isNew ? await whyReverted(entry, mined.blockNumber) : entry.error;
        const deep = head.number - mined.blockNumber >= confirmations;
        const state = deep ? (mined.success ? "final" : "failed") : "mined";
        if (isNew || state !== entry.state) await save({ ...entry, state, mined, gasCost, error }, entry);
      } else if (entry.mined !== null) {
        if (head.number < entry.mined.blockNumber) continue; // an RPC behind, or a shorter chain: unknown
        const canonical = await headerAt(entry.mined.blockNumber);
        if (canonical.hash === entry.mined.blockHash) continue; // the RPC contradicts itself: unknown
        log.warn({ key: entry.key, block: entry.mined.blockNumber }, "transaction was unmined by a reorganisation");
        await save({ ...entry, state: "sent", mined: null, error: null }, entry);
      } else if (entry.nonce !== null && view.latestCount > entry.nonce) {
        await requeueIfTaken(entry, entry.nonce, head);
      }
    }
  }

  /**
   * The nonce is used and no receipt of ours shows. A missing receipt proves nothing, so the transaction that used the
   * nonce is looked up; when it is not ours, nothing that we signed can be mined any more and it is safe to sign again.
   */
  async function requeueIfTaken(entry: OutboxEntry, nonce: number, head: BlockHeader): Promise<void> {
    const looks = (takenLooks.get(entry.key) ?? 0) + 1;
    takenLooks.set(entry.key, looks);
    if ((looks & (looks - 1)) !== 0) return; // ever more rarely: 1st, 2nd, 4th, 8th … look
    const depth = Math.min(confirmations, MAX_HISTORY);
    const winner = await transactionWithNonce(rpc, account.address, nonce, head.number - depth, signal).catch(
      (err: unknown) => {
        signal.throwIfAborted();
        log.warn({ err, key: entry.key, nonce }, "cannot tell which transaction used the nonce");
        return undefined;
      },
    );
    if (winner === undefined || entry.attempts.some(({ hash }) => hash === winner)) return;
    takenLooks.delete(entry.key);
    log.warn({ key: entry.key, nonce, winner }, "another program used this nonce, queued again");
    await save({ ...entry, state: "queued", nonce: null, gasCost: 0n }, entry);
  }

  /** Same bytes again: after a crash before the broadcast, after a reorganisation, when a mempool forgot them. */
  async function resend(entries: OutboxEntry[], head: BlockHeader, view: AccountView): Promise<void> {
    const inFlight = entries.filter((e) => e.nonce !== null).sort((a, b) => (a.nonce ?? 0) - (b.nonce ?? 0));
    for (const entry of inFlight) {
      const last = entry.attempts.at(-1);
      if (last === undefined || last.nonce < view.latestCount) continue;
      const forgotten = view.pendingCount <= last.nonce && broadcastAt.get(last.hash) !== head.hash;
      if (entry.state === "signed" || forgotten) await send(entry, head);
    }
  }

  /** Raises the fee of the transaction that all others wait for, or fills a nonce that nobody has. */
  async function unstick(entries: OutboxEntry[], head: BlockHeader, view: AccountView): Promise<void> {
    const inFlight = entries.filter((e) => e.nonce !== null && e.nonce >= view.latestCount && e.state !== "mined");
    const first = inFlight.toSorted((a, b) => (a.nonce ?? 0) - (b.nonce ?? 0))[0];
    const last = first?.attempts.at(-1);
    if (first === undefined || last === undefined) return;
    const name = `${last.hash}@${view.latestCount}`;
    if (nextInLine.name !== name) nextInLine = { name, atMs: Date.now(), atBlock: head.number };
    const { atMs, atBlock } = nextInLine;
    if (Date.now() - atMs < policy.stuckMs && head.number - atBlock < policy.stuckBlocks) return;
    const fresh = await currentFees(rpc, head, policy, signal);
    if (last.nonce > view.latestCount) {
      if (view.pendingCount === view.latestCount) await fillGap(view.latestCount, fresh, head);
      return;
    }
    const fees = bumpedFees(last, fresh, policy);
    const extra = fees === undefined ? 0n : last.gas * (fees.maxFeePerGas - last.maxFeePerGas);
    const tooDear = fees !== undefined && isTooDear(first, last.gas * fees.maxFeePerGas);
    if (fees === undefined || tooDear || (await overBudget(first, extra))) {
      nextInLine.name = "";
      log.warn({ key: first.key, fee: String(last.maxFeePerGas) }, "transaction is stuck and the fee limit is reached");
      return;
    }
    const attempt = await signAttempt(account, first, last.nonce, last.gas, fees);
    const gasCost = attempt.gas * attempt.maxFeePerGas;
    const bumped = await save({ ...first, state: "signed", attempts: [...first.attempts, attempt], gasCost }, first);
    log.info({ key: first.key, nonce: last.nonce, fee: String(fees.maxFeePerGas) }, "fee raised");
    await send(bumped, head);
  }

  /** A transaction of nothing to ourselves, so that those with higher nonces can be mined. */
  async function fillGap(nonce: number, fees: Fees, head: BlockHeader): Promise<void> {
    const now = Date.now();
    const filler: OutboxEntry = {
      key: `nonce-gap:${nonce}:${now}`,
      chainId,
      from: account.address,
      to: account.address,
      data: "0x",
      value: 0n,
      gasLimit: 21_000n,
      state: "signed",
      nonce,
      attempts: [],
      mined: null,
      error: null,
      gasCost: 21_000n * fees.maxFeePerGas,
      createdAtMs: now,
      signedAtMs: now,
    };
    filler.attempts.push(await signAttempt(account, filler, nonce, 21_000n, fees));
    await guard(() => store.insertIfAbsent(filler));
    log.warn({ nonce }, "filled a nonce that nobody used");
    await send(filler, head);
  }

  async function sendQueued(entries: OutboxEntry[], head: BlockHeader, view: AccountView): Promise<void> {
    const inFlight = entries.filter((e) => e.nonce !== null && e.state !== "mined");
    const nonces = entries.filter((e) => e.nonce !== null).map((e) => (e.nonce as number) + 1);
    let next = Math.max(view.pendingCount, nonceFloor, ...nonces);
    let reserved = inFlight.reduce((sum, e) => sum + e.gasCost + e.value, 0n);
    let fees: Fees | undefined;
    let failure: unknown;
    for (const entry of entries) {
      if (entry.state !== "queued") continue;
      if (inFlight.some((e) => e.state === "signed")) return; // refused by the RPC: do not pile up behind it
      const waitsFor = deferred.get(entry.key);
      if (waitsFor !== undefined && inFlight.some((e) => (e.nonce as number) <= waitsFor)) continue;
      try {
        const gas = await preflight(rpc, entry, inFlight.length > 0 ? "pending" : "latest", abi, signal, check);
        fees ??= await currentFees(rpc, head, policy, signal);
        const gasCost = gas * fees.maxFeePerGas;
        if (isTooDear(entry, gasCost)) throw costsTooMuch(entry.maxGasCost as bigint, gasCost);
        if (view.balance < reserved + gasCost + entry.value) throw noFunds(account.address, gasCost + entry.value);
        if (await overBudget(entry, gasCost)) throw noBudget(dailyGasBudget as bigint);
        const attempt = await signAttempt(account, entry, next, gas, fees);
        const signed: OutboxEntry = {
          ...entry,
          state: "signed",
          nonce: next,
          attempts: [...entry.attempts, attempt],
          error: null,
          gasCost,
          signedAtMs: Date.now(),
        };
        await save(signed, entry);
        deferred.delete(entry.key);
        nonceFloor = next + 1;
        next += 1;
        reserved += gasCost + entry.value;
        inFlight.push(await send(signed, head));
      } catch (error) {
        if (!(error instanceof MarketError)) throw error;
        if (!(await refuse(entry, error, inFlight))) failure ??= error; // unknown: the others still get their turn
      }
    }
    if (failure !== undefined) throw failure;
  }

  /**
   * A revert stops the entry, unless something in flight may cause it; money can still come. Returns false when the
   * error says nothing about the entry.
   */
  async function refuse(entry: OutboxEntry, error: MarketError, inFlight: OutboxEntry[]): Promise<boolean> {
    if (error.code === "REVERTED") {
      if (!deferred.has(entry.key) && inFlight.length > 0) {
        deferred.set(entry.key, Math.max(...inFlight.map((e) => e.nonce as number)));
        return true;
      }
      deferred.delete(entry.key);
      await save({ ...entry, state: "reverted", error: errorToJson(error) }, entry);
    } else if (error.code === "GAS_COST_EXCEEDED") {
      await save({ ...entry, state: "failed", error: errorToJson(error) }, entry);
    } else if (error.code === "INSUFFICIENT_GAS_FUNDS" || error.code === "GAS_BUDGET_EXCEEDED") {
      const state = onBlocked === "fail" ? "failed" : "queued";
      if (state !== entry.state || entry.error?.code !== error.code) {
        await save({ ...entry, state, error: errorToJson(error) }, entry);
      }
    } else return false;
    return true;
  }

  async function send(entry: OutboxEntry, head: BlockHeader): Promise<OutboxEntry> {
    const last = entry.attempts.at(-1);
    if (last === undefined) return entry;
    const answer = await broadcast(rpc, last.raw, signal);
    broadcastAt.set(last.hash, head.hash);
    if (answer !== "accepted") {
      log.warn({ key: entry.key, nonce: last.nonce, reason: answer.refused }, "rpc refused the transaction");
      refusal = { code: "BROADCAST_REFUSED", message: answer.refused, retryable: true };
      return entry;
    }
    return entry.state === "signed" ? save({ ...entry, state: "sent" }, entry) : entry;
  }

  async function whyReverted(entry: OutboxEntry, blockNumber: number): Promise<ErrorJson> {
    const silent = new MarketError("REVERTED", `${entry.key} was mined and reverted, without a reason.`);
    const found = await preflight(rpc, entry, toQuantity(blockNumber), abi, signal).then(
      () => silent,
      (error: unknown) => (error instanceof MarketError && error.code === "REVERTED" ? error : silent),
    );
    return errorToJson(found);
  }

  async function overBudget({ key }: OutboxEntry, extra: bigint): Promise<boolean> {
    if (dailyGasBudget === undefined || isUrgent(key)) return false;
    const now = Date.now();
    return (await guard(() => store.gasCostSince(now - (now % 86_400_000)))) + extra > dailyGasBudget;
  }

  async function wait(
    key: string,
    { until = "final", signal: waitSignal }: { until?: "mined" | "final"; signal?: AbortSignal } = {},
  ): Promise<TransactionReceipt> {
    const changed = createAlarm();
    listeners.add(changed.ring);
    const never = new AbortController().signal;
    try {
      for (;;) {
        waitSignal?.throwIfAborted();
        const entry = await store.get(key);
        if (entry === undefined) throw new MarketError("OUTBOX_UNKNOWN_KEY", `Nothing was enqueued as ${key}.`);
        if (entry.state === "reverted" || entry.state === "failed" || entry.mined?.success === false) {
          throw errorOf(entry);
        }
        let unread = false;
        if (entry.mined !== null && (entry.state === "final" || until === "mined")) {
          const params = [entry.mined.hash];
          const receipt = await rpc
            .request("eth_getTransactionReceipt", params, { signal: waitSignal })
            .catch(() => null);
          if (receipt !== null) return formatTransactionReceipt(receipt as never);
          unread = true;
        }
        if (stopped !== undefined) throw stopped;
        await changed.wait(unread ? pollMs : undefined, waitSignal ?? never);
      }
    } finally {
      listeners.delete(changed.ring);
    }
  }

  async function listOpen(): Promise<OutboxEntry[]> {
    const entries = await guard(() => store.listOpen());
    open = entries.length;
    return entries;
  }

  async function save(entry: OutboxEntry, before: OutboxEntry): Promise<OutboxEntry> {
    await guard(() => store.update(entry));
    if (!isOpen(entry)) forget(entry);
    if (entry.state !== before.state) {
      const { key, nonce, state, error } = entry;
      log.info(
        { key, nonce, from: before.state, to: state, ...(error ? { reason: error.message } : {}) },
        "transaction moved",
      );
    }
    try {
      onChange?.(entry, before.state);
    } catch (err) {
      log.error({ err, key: entry.key }, "a listener of the outbox threw");
    }
    for (const wake of listeners) wake();
    return entry;
  }

  function forget({ key, attempts }: OutboxEntry): void {
    deferred.delete(key);
    takenLooks.delete(key);
    for (const { hash } of attempts) broadcastAt.delete(hash);
  }

  function checkOwner(entry: OutboxEntry): void {
    if (entry.chainId === chainId && entry.from.toLowerCase() === account.address.toLowerCase()) return;
    throw new MarketError(
      "OUTBOX_WRONG_ACCOUNT",
      `The outbox holds transactions of ${entry.from} on chain ${entry.chainId}, not of ${account.address} on ${chainId}.`,
      { hint: "Use the key and chain that the data folder was made with, or a new data folder." },
    );
  }
}

/** Marks what the store threw, so that it stops the outbox instead of being retried. */
class StoreFault extends Error {}

async function guard<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new StoreFault("The outbox could not be stored.", { cause });
  }
}

function errorOf({ key, error }: OutboxEntry): MarketError {
  const { code = "REVERTED", message = `${key} was refused.`, hint, retryable = false } = error ?? {};
  return new MarketError(code, message, { retryable, ...(hint === undefined ? {} : { hint }) });
}

function noFunds(account: Address, needed: bigint): MarketError {
  return new MarketError(
    "INSUFFICIENT_GAS_FUNDS",
    `The account ${account} needs ${needed} wei more than it holds free.`,
    {
      hint: "Send native coins to the account; the transaction goes on by itself.",
      retryable: true,
    },
  );
}

function isTooDear({ maxGasCost }: OutboxEntry, gasCost: bigint): boolean {
  return maxGasCost !== undefined && gasCost > maxGasCost;
}

function costsTooMuch(most: bigint, gasCost: bigint): MarketError {
  return new MarketError("GAS_COST_EXCEEDED", `It would cost ${gasCost} wei of gas, and may cost ${most}.`, {
    hint: "Wait until gas is cheaper, or allow more.",
    retryable: true,
  });
}

function noBudget(budget: bigint): MarketError {
  return new MarketError("GAS_BUDGET_EXCEEDED", `The gas budget of ${budget} wei for today is used up.`, {
    hint: "Raise the daily gas budget, or wait until midnight UTC.",
    retryable: true,
  });
}
